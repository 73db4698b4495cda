"""Cross-encoders: query and document go through the model together, and a linear head makes one score of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from searchapp.encoder.batching import require_known
from searchapp.encoder.checkpoint import Checkpoint
from searchapp.progress import Progress
from searchapp.rerank.pairs import BUDGET, TokenizedPair, pad_right, score_pairs
from searchapp.rerank.prompt import Prompt, role_template, saved_prompt
from searchapp.rerank.weights import SCORE, digest, filler, load_headed, longest

LENGTH = 1_024  # tokens of a pair, where the model takes as many


class CrossEncoder:
    """An encoder (such as BERT) or a decoder (RankLLaMA's way: the state at the last token) with one score.

    Scores are the head's own numbers: a sigmoid, which sentence-transformers puts on top of most, keeps the order but
    makes good ones equal. Pairs are written by the checkpoint's chat template where it has the roles for it, else as
    the tokenizer joins two texts; ``instruction`` is its system message, or stands before the query.
    """

    kind = "head"

    def __init__(
        self, checkpoint: Checkpoint, tokenizer: Any, *, instruction: str | None, length: int, device: str, dtype: str
    ) -> None:
        self.name = checkpoint.name
        self._tokenizer = tokenizer
        self._model = load_headed(checkpoint, SCORE, device=device, dtype=dtype)
        self._limit = longest(tokenizer, self._model.config, length)
        self._instruction = saved_prompt(checkpoint.settings) if instruction is None else instruction
        render = role_template(tokenizer, checkpoint.settings, self._instruction)
        self._prompt = Prompt(tokenizer, render, self._limit, special=False) if render else None
        self._filler = filler(tokenizer, self._model.config.vocab_size)
        precision = str(self._model.dtype)
        self.fingerprint = digest(checkpoint, self.kind, self._limit, self._instruction, precision)

    def score(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """See ``Reranker``."""
        budget = BUDGET[self._model.device.type]
        return score_pairs(self.name, queries, documents, self._tokenize, self._forward, budget, progress)

    def _tokenize(self, queries: Sequence[str], documents: Sequence[str]) -> list[TokenizedPair]:
        if self._prompt is not None:
            return [TokenizedPair(ids) for ids in self._prompt(queries, documents)]
        asked = [f"{self._instruction}{query}" for query in queries] if self._instruction else list(queries)
        found = self._tokenizer(asked, list(documents), truncation="longest_first", max_length=self._limit)
        types = found.get("token_type_ids") or [None] * len(asked)
        return [
            TokenizedPair(np.asarray(ids), None if kinds is None else np.asarray(kinds))
            for ids, kinds in zip(found["input_ids"], types, strict=True)
        ]

    def _forward(self, batch: list[TokenizedPair]) -> np.ndarray:
        import torch

        ids, mask, types = pad_right(batch, self._filler)
        require_known(ids, self._model.config.vocab_size)
        place = self._model.device
        given = {"input_ids": torch.from_numpy(ids).to(place), "attention_mask": torch.from_numpy(mask).to(place)}
        if types is not None:
            given["token_type_ids"] = torch.from_numpy(types).to(place)
        with torch.inference_mode():
            if not isinstance(head := getattr(self._model, "score", None), torch.nn.Linear):
                found: np.ndarray = self._model(**given).logits[:, 0].float().cpu().numpy()
                return found
            # transformers looks for the last token that is not the pad token, which a pad token that is EOS hides; and
            # half precision is too coarse for scores, so the head is applied here
            states = self._model.base_model(**given, use_cache=False).last_hidden_state
            last = states[torch.arange(len(batch), device=place), given["attention_mask"].sum(1) - 1].float()
            return (
                torch.nn.functional.linear(last, head.weight.float(), None if head.bias is None else head.bias.float())[
                    :, 0
                ]
                .cpu()
                .numpy()
            )
