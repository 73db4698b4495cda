"""The interface of all rerankers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from searchapp.progress import Progress


class Reranker(Protocol):
    """Scores the candidates of queries. ``load_reranker`` makes one from a model.

    ``name`` is the model as the user named it, ``kind`` one of ``KINDS`` of ``searchapp.rerank.loading``;
    ``fingerprint`` is a digest of everything that decides a score.
    """

    name: str
    kind: str
    fingerprint: str

    def score(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """Scores of each query's documents, in their order: float32, higher is better, finite.

        ``documents[i]`` are the texts to score for ``queries[i]``, in the order of the stage before, which only
        listwise rerankers look at. All queries are batched together. Scores of different queries, and those of
        different rerankers, are not comparable unless the kind says so.
        """
        ...
