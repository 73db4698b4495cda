"""BM25 over the candidates of a reranking collection, which has no corpus of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.bm25 import K1
from searchapp.progress import Progress

B = 0.75  # Robertson's. Candidates are of very different lengths; Anserini's 0.4 is made for passages of one size.


class Bm25Reranker:
    """A reranker that counts words, with document frequencies over all the texts it was made from."""

    name = "BM25"
    kind = "bm25"

    def __init__(self, texts: Iterable[str], analyzer: Analyzer | None = None, *, k1: float = K1, b: float = B) -> None:
        import bm25s

        self._analyser = analyzer or Analyzer()
        self.fingerprint = f"bm25-{self._analyser}-{k1}-{b}"
        distinct = list(dict.fromkeys(texts))
        self._row = {text: row for row, text in enumerate(distinct)}
        terms = [self._analyser.terms(text) for text in distinct]
        self._retriever = None
        if any(terms):
            self._retriever = bm25s.BM25(k1=k1, b=b, method="lucene")
            self._retriever.index(terms, show_progress=False)

    def score(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """See ``Reranker``. A document without any word of the query scores 0."""
        scores = []
        for query, group in zip(queries, documents, strict=True):
            rows = [self._row[text] for text in group]
            ids = (
                self._retriever.get_tokens_ids(self._analyser.query_terms(query)) if self._retriever is not None else []
            )
            if self._retriever is not None and len(ids):
                found = self._retriever.get_scores_from_ids(ids)[rows].astype(np.float32)
            else:
                found = np.zeros(len(rows), dtype=np.float32)
            scores.append(found)
            if progress is not None:
                progress.advance(len(group))
        return scores
