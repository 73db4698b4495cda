"""An encoder and a reranker whose work is done by the model's thread, in slices, between other requests' work.

What the library does with several texts of one request (passages, explanations, reranking) takes one of these, so that
it waits its turn like everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.encoder.encoder import Encoded
from searchapp.progress import Progress
from searchapp.rerank import Reranker
from searchapp.serve.model_thread import CHARACTERS_A_TOKEN, Lane, ModelThread, Ticket

PART = 256  # texts between two words on how far a long job is
PAIRS = 8  # pairs a slice of a reranker has


class LaneEncoder:
    """Encodes as an ``Encoder`` does. It must not be used in the model's thread, which it waits for."""

    def __init__(self, thread: ModelThread, lane: Lane, encoder: Encoder, ticket: Ticket) -> None:
        self._thread, self._lane, self._encoder, self._ticket = thread, lane, encoder, ticket
        self.tokens = 0  # that the model has read for it

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_queries(self, texts: str | Sequence[str], instruction: str | None = None) -> np.ndarray:
        """See ``Encoder.encode_queries``."""
        return self.encode(texts, self._encoder.settings.query_instruction if instruction is None else instruction)

    def encode_documents(self, texts: str | Sequence[str]) -> np.ndarray:
        """See ``Encoder.encode_documents``."""
        return self.encode(texts, self._encoder.settings.document_instruction)

    def encode_counted(
        self,
        texts: Sequence[str],
        instruction: str | None = None,
        *,
        progress: Progress | None = None,
        dtype: Any = np.float32,
    ) -> Encoded:
        """See ``Encoder.encode_counted``; ``progress`` advances by ``PART`` texts."""
        before, parts = self.tokens, [np.zeros((0, self._encoder.dim), dtype=dtype)]
        for start in range(0, len(texts), PART):
            some = texts[start : start + PART]
            parts.append(self.encode(some, instruction).astype(dtype))
            if progress is not None:
                progress.advance(len(some))
        return Encoded(np.concatenate(parts), self.tokens - before)

    def encode(self, texts: str | Sequence[str], instruction: str | None = None) -> np.ndarray:
        """Unit vectors float32 (n, dim) of texts, in their order."""
        inputs = self._encoder.inputs([texts] if isinstance(texts, str) else list(texts), instruction)
        encoding = self._thread.submit(self._lane, self._encoder, inputs, self._ticket).result()
        self.tokens += int(encoding.tokens.sum())
        return encoding.vectors


class LaneReranker:
    """Scores as a reranker does: ``PAIRS`` pairs at a time where it looks at each alone, a whole list where not."""

    def __init__(self, thread: ModelThread, lane: Lane, reranker: Reranker, ticket: Ticket) -> None:
        self._thread, self._lane, self._reranker, self._ticket = thread, lane, reranker, ticket
        self.name, self.kind, self.fingerprint = reranker.name, reranker.kind, reranker.fingerprint

    def score(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """See ``Reranker.score``."""
        return [self._of_one(query, texts) for query, texts in zip(queries, documents, strict=True)]

    def _of_one(self, query: str, texts: Sequence[str]) -> np.ndarray:
        step = max(1, len(texts)) if self.kind == "listwise" else PAIRS
        parts: list[np.ndarray] = []
        for start in range(0, len(texts), step):
            some = list(texts[start : start + step])
            cost = sum(len(text) for text in some) / CHARACTERS_A_TOKEN

            def score(some: list[str] = some) -> np.ndarray:
                return self._reranker.score([query], [some])[0]

            parts.append(self._thread.call(self._lane, self._ticket, score, cost).result())
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
