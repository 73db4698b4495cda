"""An index that is asked in words: the stored vectors together with the encoder that made them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index import VectorIndex
from searchapp.progress import Progress
from searchapp.search.contents import Contents
from searchapp.search.hit import Answer, Hit, Hits, Place
from searchapp.search.mode import meaning
from searchapp.search.options import SearchOptions, prepare, require_texts, require_unicode
from searchapp.search.ranking import Stage
from searchapp.search.typed import ranked, understood

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.rerank import Reranker

log = logging.getLogger(__name__)


class Index(Contents):
    """A finished index and its encoder, which is loaded when the first query comes.

    Safe to share between threads: every request sees one state of the index from its first step to its last, also
    while another thread calls ``refresh``. What it holds and how it is changed: ``searchapp.search.contents``.
    """

    def __init__(self, vectors: VectorIndex, encoder: Encoder | None = None, device: str = "auto") -> None:
        super().__init__(vectors, encoder, device)
        self._rerankers: dict[str, Reranker] = {}

    @overload
    def search(self, query: str, k: int = ..., **options: Any) -> Hits: ...
    @overload
    def search(self, query: list[str], k: int = ..., **options: Any) -> list[Hits]: ...
    @overload
    def search(self, query: np.ndarray, k: int = ..., **options: Any) -> Hits | list[Hits]: ...
    def search(self, query: str | list[str] | np.ndarray, k: int = 10, **options: Any) -> Hits | list[Hits]:
        """Return the k best hits of a query, or such a list for each of several; options as ``answer`` takes them.

        A query may be a vector (dim,), and several an array (n, dim), of the encoder that made the index: no model is
        loaded then.

        >>> import searchapp, tempfile
        >>> texts = {"a": "bees make honey", "b": "ants dig tunnels"}
        >>> index = searchapp.build(texts, tempfile.mkdtemp(), vectors=[[1, 0], [0, 1]], progress=False)
        >>> [hit.id for hit in index.search("tunnels of ants", k=1)]
        ['b']
        """
        single = isinstance(query, str) or (isinstance(query, np.ndarray) and query.ndim == 1)
        queries: Sequence[str] | np.ndarray = [query] if isinstance(query, str) else query
        if isinstance(queries, np.ndarray):
            queries = np.atleast_2d(queries)
        hits = [Hits(answer.hits) for answer in self.answer(queries, k, **options)]
        return hits[0] if single else hits

    def answer(
        self,
        queries: Sequence[str] | np.ndarray,
        k: int = 10,
        options: SearchOptions | None = None,
        *,
        vectors: Any = None,
        progress: Progress | None = None,
        **changes: Any,
    ) -> list[Answer]:
        """Search several queries at once; fewer than k hits come back where fewer documents are there or pass.

        ``changes`` are fields of ``SearchOptions``, over those of ``options``: ``answer(queries, hybrid=True)``.
        ``progress`` hears of the pairs a reranker has scored. Raises SearchAppError for an empty query, for text that
        is not valid Unicode, and for numbers out of range; TypeError for a change that is no field. Queries may be
        vectors (n, dim) as well, which say nothing to BM25 nor to a reranker; their answers have "" for a query.
        ``vectors`` (n, dim), or (dim,) of a single query, stand beside queries in words in place of those that the
        encoder would make of them. Where no model made the index, and no vector is given, the mode auto is bm25.

        >>> import searchapp, tempfile
        >>> texts = {"a": "bees make honey", "b": "ants dig tunnels"}
        >>> index = searchapp.build(texts, tempfile.mkdtemp(), vectors=[[1, 0], [0, 1]], progress=False)
        >>> [answer] = index.answer(["honey"], vectors=[1, 0], mode="hybrid")
        >>> answer.mode, answer.hits[0].id
        ('hybrid', 'a')
        """
        asked = options or SearchOptions()
        if changes:
            asked = replace(asked, **changes)
        mode = asked.mode
        if isinstance(queries, np.ndarray):
            if vectors is not None:
                raise SearchAppError(
                    "the queries are vectors already; leave `vectors` out, or give the queries in words"
                )
            _require_no_words(asked)
            vectors, texts, mode = queries, [""] * len(queries), "dense"
        else:
            texts = list(queries)
            require_texts(texts)
        if vectors is not None:
            vectors = _checked_vectors(vectors, len(texts))
            if mode == "auto" and asked.hybrid is None and self.vectors.manifest.lexical is not None:
                mode = "hybrid"
        if asked.instruction is not None:
            require_unicode("instruction", asked.instruction)
        index = self.vectors  # the one state that this request sees, whatever a refresh in another thread does
        prepared = prepare(index, k, asked, mode=mode)
        plan = prepared.plan
        if asked.rerank is not None:
            plan = replace(plan, reranker=self._reranker(asked.rerank))
        encoder = self.encoder if plan.dense and vectors is None else None  # loaded before the clock starts
        began = time.perf_counter()
        literal = asked.literal or isinstance(queries, np.ndarray)
        typed = [understood(index, text, plan, literal=literal) for text in texts]
        if encoder is not None:
            vectors = encoder.encode_queries([one.text for one in typed], asked.instruction)
        encoded = time.perf_counter()
        rankings = ranked(index, typed, vectors, plan, progress)
        hits = [hits_of(index, one.stages, one.query) for one in rankings]
        spent = 0.0
        for stages in {id(one.stages): one.stages for one in rankings}.values():
            spent += sum(stage.seconds for stage in stages if stage.name == "reranked")
            for stage in stages:
                log.debug("%s: %d queries in %.1f ms", stage.name, len(stage.rows), 1000 * stage.seconds)
        searched = time.perf_counter() - encoded - spent
        said = prepared.meaning if plan.reranker is None else meaning("", None, plan.reranker.name)
        times = encoded - began, searched, spent
        return [
            Answer(text, hits[number], *times, prepared.mode, said, typed[number].notices, typed[number].words)
            for number, text in enumerate(texts)
        ]

    def _reranker(self, given: str | Reranker) -> Reranker:
        if not isinstance(given, str):
            return given
        with self._loading:
            if given not in self._rerankers:
                from searchapp.rerank import load_reranker

                self._rerankers = {given: load_reranker(given, device=self._device)}
            return self._rerankers[given]


def hits_of(index: VectorIndex, stages: Sequence[Stage], query: int) -> tuple[Hit, ...]:
    """The hits of query number ``query``: what the last stage left, with its text and its place in every stage."""
    last = stages[-1]
    rows = last.rows[query]
    if rows.size and rows[-1] < 0:
        rows = rows[rows >= 0]
    count = len(rows)
    standing = [
        (stage.name, stage.first(query, count) if stage is last else stage.places(query, rows)) for stage in stages
    ]
    scores, stage = last.scores[query, :count].tolist(), last.name
    found = []
    for number, document in enumerate(index.read(rows.tolist())):
        places = {}
        for name, at in standing:
            rank, score = at[number]
            if score is not None:
                places[name] = Place(rank, score)
        found.append(Hit(document.id, scores[number], document.title, document.text, document.metadata, stage, places))
    return tuple(found)


def _require_no_words(asked: SearchOptions) -> None:
    if asked.hybrid or asked.rerank is not None or asked.mode not in ("auto", "dense"):
        raise SearchAppError(
            "queries given as vectors have no words; leave out mode, hybrid and rerank, or give texts, with the "
            "vectors beside them as `vectors`"
        )


def _checked_vectors(given: Any, count: int) -> np.ndarray:
    """Vectors of queries as an array (count, dim). Raises SearchAppError for what is none."""
    vectors = np.asarray(given)
    if vectors.ndim == 1 and count == 1:
        vectors = vectors[None]
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or len(vectors) != count:
        raise SearchAppError(
            f"the query is an array {vectors.shape} of {vectors.dtype}; expected numbers (dim,), or (n, dim) for many"
        )
    if not np.isfinite(vectors).all():
        raise SearchAppError("a query vector holds what is no number; expected finite numbers")
    return vectors
