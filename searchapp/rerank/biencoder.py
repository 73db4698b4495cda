"""Reranking by cosine: another encoder than the one that found the candidates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from searchapp.encoder import Encoder
from searchapp.progress import Progress

TOGETHER = 4_096  # texts that are looked at together
KEPT = 16_384  # vectors of documents that are kept; the oldest go first


class BiEncoder:
    """Scores are cosines, -1 to 1. Queries get the encoder's query instruction, documents get none of it."""

    kind = "bi-encoder"

    def __init__(self, encoder: Encoder, instruction: str | None = None) -> None:
        self.name = encoder.checkpoint.name
        asked = encoder.settings.query_instruction if instruction is None else instruction
        self.fingerprint = f"{encoder.fingerprint['sha256']}-{encoder.dtype}-{asked!r}"
        self._encoder = encoder
        self._instruction = instruction
        self._kept: dict[bytes, np.ndarray] = {}

    def score(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """See ``Reranker``. A document that several queries share is encoded once, and its vector kept for a while."""
        asked = self._encoder.encode_queries(list(queries), self._instruction)
        scores: list[np.ndarray] = []
        begin = 0
        while begin < len(queries):
            end, texts = begin, dict.fromkeys(documents[begin])
            while end + 1 < len(queries) and len(texts) < TOGETHER:
                end += 1
                texts.update(dict.fromkeys(documents[end]))
            vectors = self._vectors(list(texts))
            places = {text: place for place, text in enumerate(texts)}
            for number in range(begin, end + 1):
                chosen = vectors[[places[text] for text in documents[number]]]
                scores.append((chosen @ asked[number]).astype(np.float32))
                if progress is not None:
                    progress.advance(len(documents[number]))
            begin = end + 1
        return scores

    def _vectors(self, texts: list[str]) -> np.ndarray:
        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        new = [place for place, key in enumerate(keys) if key not in self._kept]
        found = np.zeros((len(texts), self._encoder.dim), dtype=np.float32)
        found[new] = self._encoder.encode_documents([texts[place] for place in new])
        for place, key in enumerate(keys):
            if key in self._kept:
                found[place] = self._kept[key]
        self._kept.update((keys[place], found[place].copy()) for place in new)
        for key in [*self._kept][: max(0, len(self._kept) - KEPT)]:
            del self._kept[key]
        return found
