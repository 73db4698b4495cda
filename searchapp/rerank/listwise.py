"""A causal language model is shown a numbered list of documents and writes the numbers in a better order.

Long lists go through a window from the end to the front, so that a good document can rise all the way: Sun et al., "Is
ChatGPT Good at Search?" (RankGPT), EMNLP 2023, section 3.2. One prompt a window, greedy; what the model writes is read
leniently, as small models write the numbers they like.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from searchapp.encoder.batching import plan_batches, require_known
from searchapp.encoder.checkpoint import Checkpoint
from searchapp.errors import ModelError
from searchapp.progress import Progress
from searchapp.rerank.pairs import BUDGET, pad_left
from searchapp.rerank.prompt import chat_of, shorten
from searchapp.rerank.weights import LANGUAGE, digest, filler, load_headed, longest

WINDOW, STRIDE = 20, 10
LENGTH = 8_192  # tokens of a prompt with its answer, where the model takes as many
PASSAGE = 300  # tokens of one document
ANSWER = 6  # tokens written for one document: a bracket, two digits, a bracket, " >"
SYSTEM = "You are an assistant that puts search results in order of their relevance to a query."


class Listwise:
    """Scores are places counted from the end: the document put first of n gets n, the last 1; no more than that."""

    kind = "listwise"

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Any,
        *,
        instruction: str | None,
        length: int,
        device: str,
        dtype: str,
        window: int = WINDOW,
        stride: int = STRIDE,
    ) -> None:
        if not 1 <= stride <= window or window < 2:
            raise ModelError(f"window {window} and stride {stride} do not go together; expected 1 <= stride <= window")
        self.name = checkpoint.name
        self._tokenizer = tokenizer
        self._model = load_headed(checkpoint, LANGUAGE, device=device, dtype=dtype)
        self._window, self._stride = window, stride
        self._chat = chat_of(tokenizer)
        self._instruction = instruction
        limit = longest(tokenizer, self._model.config, length)
        fixed = len(self._ids(self._ask("", [""] * window)))
        self._answer = ANSWER * window + 8
        room = limit - fixed - self._answer
        self._query_limit = min(PASSAGE, room // 4)
        self._passage = min(PASSAGE, (room - self._query_limit) // window)
        if self._passage < 8:
            raise ModelError(
                f"{checkpoint.name} takes {limit} tokens, too few for {window} documents at once; use another model"
            )
        self._filler = filler(tokenizer, self._model.config.vocab_size)
        self._positions = "position_ids" in inspect.signature(self._model.forward).parameters
        details = (self.kind, limit, window, stride, self._ask("Q", ["D"]), str(self._model.dtype))
        self.fingerprint = digest(checkpoint, *details)

    def score(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """See ``Reranker``. The same window of all queries is asked together."""
        asked = [self._cut(query, self._query_limit) for query in queries]
        shown = [[self._cut(text, self._passage) for text in texts] for texts in documents]
        orders = [list(range(len(texts))) for texts in documents]
        ends = [len(texts) for texts in documents]
        while waiting := [number for number, end in enumerate(ends) if end > 0]:
            spans = [(number, max(0, ends[number] - self._window), ends[number]) for number in waiting]
            prompts = [
                self._ids(self._ask(asked[number], [shown[number][place] for place in orders[number][start:end]]))
                for number, start, end in spans
            ]
            for (number, start, end), answer in zip(spans, self._generate(prompts), strict=True):
                before = orders[number][start:end]
                orders[number][start:end] = [before[place] for place in read_order(answer, end - start)]
                if start == 0:
                    ends[number] = 0
                    if progress is not None:
                        progress.advance(len(documents[number]))
                else:
                    ends[number] = ends[number] - self._stride
        scores = []
        for order in orders:
            points = np.zeros(len(order), dtype=np.float32)
            points[order] = np.arange(len(order), 0, -1, dtype=np.float32)
            scores.append(points)
        return scores

    def _ask(self, query: str, texts: Sequence[str]) -> str:
        count = len(texts)
        listed = "\n".join(f"[{number}] {text}" for number, text in enumerate(texts, 1))
        task = f"{self._instruction}\n" if self._instruction else ""
        user = (
            f"{task}Query: {query}\n\nDocuments:\n{listed}\n\n"
            f"Put the {count} documents in order, the most relevant to the query first. Write nothing but all of the "
            "numbers, like this: [2] > [1] > [3]"
        )
        return self._chat(SYSTEM, user) if self._chat is not None else f"{SYSTEM}\n\n{user}\n\nOrder:"

    def _ids(self, text: str) -> np.ndarray:
        return np.asarray(self._tokenizer(text, add_special_tokens=self._chat is None)["input_ids"])

    def _cut(self, text: str, most: int) -> str:
        """One line of at most so many tokens."""
        line = " ".join(text.split())
        excess = len(self._tokenizer(line, add_special_tokens=False)["input_ids"]) - most
        return shorten(self._tokenizer, line, excess) if excess > 0 else line

    def _generate(self, prompts: Sequence[np.ndarray]) -> list[str]:
        import torch
        from transformers import GenerationConfig

        model, place = self._model, self._model.device
        saved = getattr(model, "generation_config", None)
        ends = getattr(saved, "eos_token_id", None) if saved is not None else None
        how = GenerationConfig(
            max_new_tokens=self._answer,
            do_sample=False,
            use_cache=True,
            eos_token_id=self._tokenizer.eos_token_id if ends is None else ends,
            pad_token_id=self._filler,
        )
        answers = [""] * len(prompts)
        for chosen in plan_batches([len(ids) + self._answer for ids in prompts], 4 * BUDGET[place.type]):
            ids, mask, _ = pad_left([prompts[number] for number in chosen], self._filler)
            require_known(ids, model.config.vocab_size)
            with torch.inference_mode():  # `generate` counts positions from the mask itself
                written = model.generate(
                    torch.from_numpy(ids).to(place),
                    attention_mask=torch.from_numpy(mask).to(place),
                    generation_config=how,
                )
            texts = self._tokenizer.batch_decode(written[:, ids.shape[1] :].cpu(), skip_special_tokens=True)
            for number, text in zip(chosen, texts, strict=True):
                answers[number] = text
        return answers


def read_order(answer: str, count: int) -> list[int]:
    """Read an order of ``count`` documents, numbered from 1, as places from 0; always a permutation.

    Numbers in brackets count, or all numbers where none is in brackets; what a model thinks aloud does not. Numbers
    that name no document or come again are passed over; documents that are not named keep their order behind the
    others.
    """
    text = answer.rpartition("</think>")[2]
    numbers = re.findall(r"\[\s*([0-9]+)\s*\]", text) or re.findall(r"(?<![0-9.])([0-9]+)(?![0-9])", text)
    places = dict.fromkeys(int(number) - 1 for number in numbers if len(number) < 7 and 1 <= int(number) <= count)
    return [*places, *(place for place in range(count) if place not in places)]
