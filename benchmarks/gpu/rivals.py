"""Other programs that encode with the same weights: sentence-transformers, and the loop one writes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.internals import rival_folder, tokenizer
from benchmarks.gpu.texts import LONGEST

BATCH = 32  # what both take by default
Encode = Callable[[Sequence[str]], np.ndarray]


def sentence_transformers(decoder: Any, device: str, work: Path) -> Encode:
    """sentence-transformers over a decoder in memory: loaded with another, which is then put out for it."""
    from sentence_transformers import SentenceTransformer

    decoder.set_attn_implementation("sdpa")
    model = SentenceTransformer(str(rival_folder(work)), device=device)
    replaced = [name for name, module in model[0].named_children() if hasattr(module, "config")]
    if len(replaced) != 1:
        raise RuntimeError(f"sentence-transformers' first module holds {len(replaced)} models; expected one")
    setattr(model[0], replaced[0], decoder)
    model.max_seq_length = LONGEST + 8

    def encode(texts: Sequence[str]) -> np.ndarray:
        found = model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)

    if encode(["one"]).shape[1] != decoder.config.hidden_size:
        raise RuntimeError("sentence-transformers did not take the decoder that was given to it")
    return encode


def plain(decoder: Any, device: str) -> Encode:
    """Batches in the order given, padded to the longest, mean over the tokens, each brought back as it is done."""
    decoder.set_attn_implementation("sdpa")
    cut = tokenizer()

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> np.ndarray:
        found = []
        for begin in range(0, len(texts), BATCH):
            batch = cut(
                list(texts[begin : begin + BATCH]), padding=True, truncation=True, max_length=LONGEST + 8,
                return_tensors="pt",
            ).to(device)  # fmt: skip
            states = decoder(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state.float()
            mask = batch["attention_mask"][..., None].float()
            mean = (states * mask).sum(1) / mask.sum(1)
            found.append(torch.nn.functional.normalize(mean, dim=-1).cpu().numpy())
        return np.concatenate(found)

    return encode
