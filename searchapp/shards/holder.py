"""What a shard server answers: the verbs of a search over the shards that it holds, by document numbers of the root.

A request names the generation and the shards that are meant; what comes back is of these alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index import Filter
from searchapp.index.lexical.bm25 import Corpus, LexicalIndex
from searchapp.index.masks import Passing
from searchapp.shards.combined import CombinedSnapshot
from searchapp.shards.sharded import ShardedIndex, compared
from searchapp.shards.wire import Message, WireError

MOST_ROWS = 100_000  # documents or vectors of one request
MOST_QUERIES = 1_024
MOST_K = 1_000_000
MOST_FOUND = 10_000_000  # queries times hits of each
KEPT = 16  # sets of shards that are kept open


class PartFilter(Filter):
    """A filter over some documents of an index: a key that these lack, others may have."""

    is_partial = True


class Holder:
    """Some shards of one generation, asked by document numbers. Safe to share between threads."""

    def __init__(self, index: ShardedIndex) -> None:
        snapshot = index.snapshot
        assert isinstance(snapshot, CombinedSnapshot)  # noqa: S101 - a ShardedIndex has no other
        self.index = index
        self._starts = snapshot.starts
        self._bases = np.array([shard.base for shard in snapshot.shards], dtype=np.int64)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """Document numbers of rows; -1 stays."""
        if not len(self._bases):
            return rows
        number = np.clip(np.searchsorted(self._starts, rows, side="right") - 1, 0, len(self._bases) - 1)
        return np.where(rows < 0, -1, rows - self._starts[number] + self._bases[number])

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Rows of document numbers. Raises WireError for one that is in none of these shards."""
        if len(numbers) > MOST_ROWS:
            raise WireError(f"{len(numbers)} documents are asked for; expected {MOST_ROWS} at most")
        place = np.searchsorted(self._bases, numbers, side="right") - 1
        sizes = np.diff(self._starts)
        known = place >= 0
        if known.all() and len(numbers):
            known = numbers - self._bases[place] < sizes[place]
        if not known.all():
            raise WireError("a document is asked for that is in none of these shards")
        rows: np.ndarray = numbers - self._bases[place] + self._starts[place] if len(numbers) else numbers
        return rows

    @cached_property
    def words(self) -> LexicalIndex:
        """BM25 with the statistics of the root."""
        found = self.index.root.statistics
        return LexicalIndex(self.index.snapshot, Corpus(found.documents, found.mean))

    def passing(self, message: Message) -> Passing | None:
        """The rows that pass the filter of a request; None without one."""
        expression = message.facts.get("filter")
        return None if expression is None else self.index.passing(PartFilter(message.fact("filter", str)))


def answer(holder: Holder, message: Message) -> Message:
    """What a request is answered with. Raises WireError for one that is not understood, or SearchAppError."""
    verb = VERBS.get(message.fact("verb", str))
    if verb is None:
        raise WireError(f"there is no verb {message.facts['verb']!r}; the versions of the servers differ")
    return verb(holder, message)


def _size(message: Message, name: str) -> int:
    found = message.fact(name, int)
    if not 0 <= found <= MOST_K:
        raise WireError(f"{name} is {found}; expected 0 to {MOST_K}")
    return int(found)


def _bounded(queries: int, k: int) -> int:
    if queries * k > MOST_FOUND:
        raise WireError(f"{queries} queries ask for {k} hits each; expected {MOST_FOUND:,} in all at most")
    return k


def _queries(holder: Holder, message: Message) -> np.ndarray:
    queries = message.array("queries", "float32", 2)
    if len(queries) > MOST_QUERIES or queries.shape[1] != holder.index.manifest.dim:
        raise WireError(f"queries have shape {queries.shape}; expected vectors of {holder.index.manifest.dim}")
    return queries


def _found(holder: Holder, scores: np.ndarray, rows: np.ndarray) -> Message:
    return Message(arrays={"scores": scores.astype(np.float32, copy=False), "numbers": holder.numbers(rows)})


def _top(holder: Holder, message: Message) -> Message:
    """The first stage of an exact search: the best ``depth`` of unit queries."""
    queries, passing = np.array(_queries(holder, message)), holder.passing(message)
    stage = holder.index.across(_size(message, "k"), passing)
    return _found(holder, *stage.top(queries, max(1, _bounded(len(queries), _size(message, "depth")))))


def _dense(holder: Holder, message: Message) -> Message:
    """A search by vectors, the candidates compared with the stored ones."""
    queries, passing, index = _queries(holder, message), holder.passing(message), holder.index
    candidates = None if message.facts.get("candidates") is None else _size(message, "candidates")
    k = min(max(1, _bounded(len(queries), _size(message, "k"))), index.manifest.documents)
    if k == 0:
        return _found(holder, np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64))
    if passing is None:
        return _found(holder, *index.search_vectors(queries, k, candidates=candidates))
    scores, rows = index.search_passing(queries, k, passing, candidates)
    return _found(holder, *((scores, rows) if candidates == 0 else compared(index.vectors, queries, rows)))


def _terms(message: Message) -> list[list[str]]:
    asked: list[list[str]] = message.fact("terms", list)
    if len(asked) > MOST_QUERIES or not all(
        isinstance(words, list) and all(isinstance(word, str) for word in words) for words in asked
    ):
        raise WireError("terms are no lists of words")
    return asked


def _known(message: Message, terms: Sequence[Sequence[str]]) -> dict[str, int]:
    """How many documents of the root have each term."""
    known: dict[str, Any] = message.fact("frequencies", dict)
    if any(type(known.get(word)) is not int for words in terms for word in words):
        raise WireError("the frequency of a term is missing")
    return known


def _frequencies(holder: Holder, message: Message) -> Message:
    """How many documents have each term."""
    [terms] = _terms(message)[:1] or [[]]
    return Message(arrays={"frequencies": np.array(holder.words.frequencies(terms), dtype=np.int64)})


def _words(holder: Holder, message: Message) -> Message:
    """A search by words."""
    terms, passing = _terms(message), holder.passing(message)
    allowed = None if passing is None else passing.mask
    k = max(1, min(_bounded(len(terms), _size(message, "k")), holder.index.manifest.documents))
    return _found(holder, *holder.words.search_terms(terms, k, allowed=allowed, frequencies=_known(message, terms)))


def _points(holder: Holder, message: Message) -> Message:
    """The BM25 score of each document for one query."""
    terms, rows = _terms(message), holder.rows(message.array("numbers", "int64", 1))
    scores = holder.words.scores_of(terms[0] if terms else [], rows, _known(message, terms))
    return Message(arrays={"scores": scores})


def _vectors(holder: Holder, message: Message) -> Message:
    """The stored vectors of documents."""
    rows = holder.rows(message.array("numbers", "int64", 1))
    return Message(arrays={"vectors": holder.index.vectors.stored(rows)})


def _sample(holder: Holder, message: Message) -> Message:
    """The stored vectors of documents by their place among those that are there."""
    places = message.array("places", "int64", 1)
    vectors = holder.index.vectors.among(holder.index.alive)
    if len(places) > MOST_ROWS or len(places) and not 0 <= places.min() <= places.max() < vectors.count:
        raise WireError(f"places are beyond the {vectors.count} documents that are there")
    return Message(arrays={"vectors": vectors.stored(vectors.nth(places))})


def _documents(holder: Holder, message: Message) -> Message:
    """Documents."""
    rows = holder.rows(message.array("numbers", "int64", 1)).tolist()
    found = [[one.id, one.title, one.text, dict(one.metadata)] for one in holder.index.read(rows)]
    return Message({"documents": found})


def _find(holder: Holder, message: Message) -> Message:
    """The number of the document with an id, -1 where there is none."""
    row = holder.index.row_of(message.fact("id", str))
    return Message(arrays={"numbers": holder.numbers(np.array([-1 if row is None else row], dtype=np.int64))})


def _count(holder: Holder, message: Message) -> Message:
    """How many documents pass a filter, and what keys it names that none of these has."""
    filter = PartFilter(message.fact("filter", str))
    passing = holder.index.passing(filter)
    known = {name.partition(":")[2] for name in holder.index.columns.names if not name.startswith("other:")}
    return Message({"count": passing.count, "unknown": sorted(filter.names - known)})


VERBS: dict[str, Callable[[Holder, Message], Message]] = {
    "top": _top, "dense": _dense, "frequencies": _frequencies, "words": _words, "points": _points,
    "vectors": _vectors, "sample": _sample, "documents": _documents, "find": _find, "count": _count,
}  # fmt: skip


class Held:
    """One generation of the shards that this server holds; sets of them are put together as they are asked for."""

    def __init__(self, index: ShardedIndex) -> None:
        self.index = index
        self.generation = index.root.generation
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], Holder] = OrderedDict()
        snapshot = index.snapshot
        assert isinstance(snapshot, CombinedSnapshot)  # noqa: S101 - a ShardedIndex has no other
        self._snapshot = snapshot
        self.names = tuple(shard.name for shard in snapshot.shards)

    def of(self, names: Sequence[str]) -> Holder:
        """These shards. Raises SearchAppError for one that is not here."""
        key = tuple(name for name in self.names if name in set(names))
        if missing := sorted(set(names) - set(self.names)):
            raise SearchAppError(f"this server does not hold the shard {missing[0]}; it holds {', '.join(self.names)}")
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = Holder(self.index if key == self.names else self._some(key))
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _some(self, names: Sequence[str]) -> ShardedIndex:
        every = zip(self._snapshot.shards, self._snapshot.parts, strict=True)
        pairs = [pair for pair in every if pair[0].name in names]
        shards, parts = [shard for shard, _ in pairs], [part for _, part in pairs]
        snapshot = CombinedSnapshot(self._snapshot.root, self.index.root, shards, parts)
        return ShardedIndex(snapshot, self.index.root, self.index.device)
