"""What ``searchapp bench encode`` compares: our encoder in several precisions, and baselines on the same model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.encoder.export.export import export
from searchapp.errors import SearchAppError

LIBRARIES = ("sentence-transformers", "hf")
BATCH = 32  # the default of both libraries
OURS = "searchapp"


@dataclass
class EncodeBaseline:
    """One program in one precision; ``positions`` counts what its model computed since ``clear``."""

    name: str
    dtype: str
    run: Callable[[Sequence[str]], np.ndarray | None]
    positions: Callable[[], int]
    clear: Callable[[], None]


def ours(encoder: Encoder) -> EncodeBaseline:
    """Our own encoder."""

    def clear() -> None:
        encoder.backend.positions = 0

    name = OURS if encoder.backend.name == "torch" else f"{OURS} --backend {encoder.backend.name}"
    return EncodeBaseline(name, encoder.dtype, encoder.encode, lambda: encoder.backend.positions, clear)


def whole_build(encoder: Encoder, folder: Path) -> EncodeBaseline:
    """From a JSONL file, written beforehand, to a published index."""
    import json

    from searchapp.index import build

    def run(texts: Sequence[str]) -> None:
        path = folder / "texts.jsonl"
        if not path.exists():
            rows = (json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(texts))
            path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        with tempfile.TemporaryDirectory(dir=folder) as place:
            build([str(path)], Path(place) / "index", encoder)

    encoding = ours(encoder)
    return EncodeBaseline(f"{encoding.name}, build to index", encoder.dtype, run, encoding.positions, encoding.clear)


def baseline(name: str, folder: Path, dtype: str, device: str, longest: int) -> EncodeBaseline:
    """A baseline over the exported model in ``folder``; any other name is a sentence-transformers folder of its own.

    Raises SearchAppError when the library is not installed or not known.
    """
    if name == "hf":
        return _transformers(folder, dtype, device, longest)
    return _sentence_transformers(name, folder if name in LIBRARIES else Path(name), dtype, device, longest)


def export_for_baselines(encoder: Encoder, folder: Path) -> Path:
    """Write the model as sentence-transformers reads it, so that every program runs the same weights and tokens."""
    place = folder / "exported"
    if not place.exists():
        export(encoder, place)
    return place


def _sentence_transformers(name: str, folder: Path, dtype: str, device: str, longest: int) -> EncodeBaseline:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise SearchAppError("the rival sentence-transformers is not installed; pip install it") from error
    import torch

    if not (folder / "modules.json").exists():
        known = ", ".join(LIBRARIES)
        raise SearchAppError(f"rival {name!r} is unknown; expected {known}, or a sentence-transformers folder")
    model = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": getattr(torch, dtype)})
    if name in LIBRARIES:
        model.max_seq_length = longest

    def run(texts: Sequence[str]) -> np.ndarray:
        return np.asarray(
            model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
        )

    shown = name if name in LIBRARIES else f"{'/'.join(folder.parts[-2:])} in sentence-transformers"
    return EncodeBaseline(shown, dtype, run, *_counted(model[0]))


def _transformers(folder: Path, dtype: str, device: str, longest: int) -> EncodeBaseline:
    """The loop one writes first: batches in the order given, padded to the longest, mean over the tokens."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()

    def run(texts: Sequence[str]) -> np.ndarray:
        out = []
        with torch.inference_mode():
            for begin in range(0, len(texts), BATCH):
                batch = tokenizer(
                    list(texts[begin : begin + BATCH]), padding=True, truncation=True, max_length=longest,
                    return_tensors="pt",
                ).to(device)  # fmt: skip
                hidden = model(**batch).last_hidden_state.float()
                mask = batch["attention_mask"][..., None].float()
                mean = (hidden * mask).sum(1) / mask.sum(1)
                out.append(torch.nn.functional.normalize(mean, dim=-1).cpu().numpy())
        return np.concatenate(out)

    return EncodeBaseline("hf", dtype, run, *_counted(model))


def _counted(module: Any) -> tuple[Callable[[], int], Callable[[], None]]:
    """Count the positions that pass through a model's embedding table."""
    import torch

    seen = [0]
    table = next(part for part in module.modules() if isinstance(part, torch.nn.Embedding))

    def count(_: Any, inputs: tuple[Any, ...]) -> None:
        seen[0] += inputs[0].numel()

    table.register_forward_pre_hook(count)
    return (lambda: seen[0]), (lambda: seen.__setitem__(0, 0))
