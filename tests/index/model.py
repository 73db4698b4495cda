"""What an index must be: a dict of documents that is searched by comparing a query with every vector in float64."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tests.index.conftest import HashEncoder

Passes = Callable[[dict], bool]


def write(path: Path, documents: dict[str, dict]) -> str:
    path.write_text("".join(json.dumps({"_id": key, **fields}) + "\n" for key, fields in documents.items()))
    return str(path)


class Model:
    """Documents in the order of their last change, each with its vector as the encoder gives it, rounded to fp16."""

    def __init__(self, encoder: HashEncoder | None = None) -> None:
        self.documents: dict[str, dict] = {}
        self._encoder = encoder or HashEncoder()
        self._vectors: dict[str, np.ndarray] = {}  # by text

    def add(self, documents: dict[str, dict]) -> tuple[int, int, int]:
        """How many are added, changed and unchanged."""
        counts = [0, 0, 0]
        for key, fields in documents.items():
            kind = 0 if key not in self.documents else 2 if self.documents[key] == fields else 1
            counts[kind] += 1
            if kind != 2:
                self.documents.pop(key, None)
                self.documents[key] = dict(fields)
        return counts[0], counts[1], counts[2]

    def delete(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that a document had."""
        return {key for key in ids if self.documents.pop(key, None) is not None}

    def copy(self) -> Model:
        other = Model(self._encoder)
        other.documents, other._vectors = dict(self.documents), self._vectors
        return other

    def cosines(self, queries: np.ndarray, passes: Passes = lambda _: True) -> tuple[list[str], np.ndarray]:
        """The ids that pass, in document order, and the cosine of each query with each, float64 (queries, ids)."""
        kept = {key: fields["text"] for key, fields in self.documents.items() if passes(fields)}
        if new := list({text: None for text in kept.values() if text not in self._vectors}):
            stored = self._encoder.encode_counted(new).vectors.astype(np.float16).astype(np.float64)
            stored /= np.linalg.norm(stored, axis=1, keepdims=True)
            self._vectors |= dict(zip(new, stored, strict=True))
        vectors = np.array([self._vectors[text] for text in kept.values()]).reshape(len(kept), queries.shape[1])
        wide = queries.astype(np.float64)
        return list(kept), wide / np.linalg.norm(wide, axis=1, keepdims=True) @ vectors.T

    def search(self, query: np.ndarray, k: int, passes: Passes = lambda _: True) -> list[tuple[str, float]]:
        """The k best of one query (1, dim), equal ones in document order."""
        names, cosines = self.cosines(query, passes)
        order = np.argsort(-np.round(cosines[0], 6), kind="stable")[:k]
        return [(names[place], float(cosines[0, place])) for place in order]
