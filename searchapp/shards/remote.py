"""A root whose shards are on other machines: the same interface as an index, answered by shard servers.

A query carries its generation, and each of its steps is asked of all shards: what they find is merged as on one
machine. The coordinator has the root manifest and the manifests of the shards, which are small, and no document.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from searchapp.corpus.document import Document
from searchapp.errors import IndexStoreError, SearchAppError
from searchapp.index import Filter, Snapshot, VectorIndex
from searchapp.index.ann.rescore import best
from searchapp.index.filter import FilterError
from searchapp.index.lexical.bm25 import analyzer_of
from searchapp.index.reader import SAMPLE, Coverage
from searchapp.index.storage.manifest import Lexical
from searchapp.index.storage.manifest_json import load
from searchapp.index.storage.vectors import unit, widen
from searchapp.shards.combined import CombinedSnapshot
from searchapp.shards.peers import LostShardsError, PeerAddress, Peers
from searchapp.shards.place import LocalPlace
from searchapp.shards.root import Root, generations, load_root, root_name
from searchapp.shards.sharded import Found, merged
from searchapp.shards.wire import Message

SECONDS = 2.0  # for a shard to answer one step
MOST_KEPT = 1_000_000  # frequencies of terms, counts of filters
LOOK = 1.0  # seconds for a server to say what it holds
LOOKED_AT = 3  # generations that may be the newest that all servers hold


class Cluster:
    """The shard servers, and how they are asked: ``seconds`` a step; ``require_all`` refuses what misses shards."""

    def __init__(
        self,
        addresses: Sequence[PeerAddress],
        token: str | None = None,
        *,
        seconds: float = SECONDS,
        require_all: bool = True,
    ) -> None:
        if not addresses:
            raise SearchAppError("no shard server is named; give --peer URL=SHARD,SHARD")
        self.peers = Peers(addresses, token)
        self.seconds = seconds
        self.require_all = require_all
        self.behind: str | None = None  # why a newer generation than the chosen one does not answer
        self._chosen: int | None = None

    def newest(self, path: Path) -> int:
        """The newest generation that servers hold all shards of; where they hold none, the one before stays.

        Servers are told to hold the newest that all of its shards can be opened of, and which one answers now.
        Raises OSError where the root cannot be read.
        """
        place = LocalPlace(path)
        there = generations(place)
        if there and there[0] == self._chosen:
            self.behind = None
        elif there:
            roots = [load_root(place, generation, where=str(path)) for generation in there[:LOOKED_AT]]
            held, openable = self._said(there, None)
            wanted = next((root.generation for root in roots if not _lacking(root, openable)), None)
            if wanted is not None and wanted != self._chosen:
                held, _ = self._said(there, wanted)
            complete = next((root.generation for root in roots if not _lacking(root, held)), None)
            self._chosen = self._chosen if complete is None else complete
            self.behind = None if self._chosen == there[0] else self._why(roots[0], openable)
        if self._chosen is None or not there or self._chosen > there[0]:
            return there[0] if there else 0
        return self._chosen

    def open(self, path: Path) -> RemoteIndex:
        """The generation that ``newest`` chose last. Raises IndexStoreError where the root cannot be read.

        It is not looked for anew: servers that were told twice to go on would hold the one that answers now no more.
        """
        place = LocalPlace(path)
        chosen = self._chosen if self._chosen in generations(place) else None
        generation = self.newest(path) if chosen is None else chosen
        root = load_root(place, generation or None, where=str(path))
        parts = []
        for shard in root.shards:
            try:
                data = place.get(shard.file)
                if hashlib.sha256(data).hexdigest() != shard.sha256:
                    raise IndexStoreError(f"{path / shard.file} is not the manifest that was published; copy it again")
                manifest = load(path / shard.file)
            except OSError as error:
                raise IndexStoreError(
                    f"{path / shard.file} cannot be read; a coordinator needs the root manifest and those of its shards"
                ) from error
            parts.append(Snapshot(path / shard.folder, manifest))
        snapshot = CombinedSnapshot(path, root, root.shards, parts)
        snapshot.watch(place.path(root_name(root.generation)).open("rb"))
        return RemoteIndex(snapshot, root, self)

    def _said(self, there: Sequence[int], wanted: int | None) -> tuple[_Shards, _Shards]:
        """The shards of each generation that servers hold, and that they can open; they are told which is wanted."""
        held: _Shards = {}
        openable: _Shards = {}
        facts = {"verb": "held", "wanted": wanted, "serving": self._chosen}
        for peer in self.peers.all:
            try:
                said = peer.ask(Message({name: value for name, value in facts.items() if value is not None}), LOOK)
                now, able = said.facts.get("held"), said.facts.get("there")
                if now is None or able is None:  # a server of an older version says the shards of its newest alone
                    names = said.fact("shards", list)
                    now = [[number, names] for number in said.fact("generations", list)]
                    able = [[number, names] for number in there]
                for found, pairs in ((held, now), (openable, [*now, *able])):
                    for number, names in pairs:
                        found.setdefault(int(number), set()).update(name for name in names if peer.holds(name))
            except (OSError, SearchAppError, TypeError, ValueError):
                continue
            peer.failed = float("-inf")
        return held, openable

    def _why(self, newest: Root, openable: _Shards) -> str:
        """Why the newest generation does not answer, and what to do."""
        lacking = _lacking(newest, openable)
        named = [name for name in lacking if any(peer.holds(name) for peer in self.peers.all)]
        unnamed = [name for name in lacking if name not in named]
        parts = [f"generation {newest.generation} is there, but does not answer yet"]
        if named:
            parts.append(f"no server has its shards {', '.join(named[:8])}: copy them, or start their servers")
        if unnamed:
            parts.append(
                f"no --peer is named for its shards {', '.join(unnamed[:8])}: name them, and give them to a server "
                "with --shards (t stands for what was added)"
            )
        return "; ".join(parts)


_Shards = dict[int, set[str]]  # names of shards by generation


def _lacking(root: Root, shards: _Shards) -> list[str]:
    """The shards of a root that are not among these of its generation."""
    return [shard.name for shard in root.shards if shard.rows and shard.name not in shards.get(root.generation, ())]


class _Kept:
    """What is the same for all requests to one generation. Safe between threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.frequencies: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.sample: np.ndarray | None = None


class RemoteIndex(VectorIndex):
    """One generation over shard servers. ``for_request`` gives what one request asks, which may lack shards."""

    is_remote = True

    def __init__(
        self,
        snapshot: CombinedSnapshot,
        root: Root,
        cluster: Cluster,
        kept: _Kept | None = None,
        missing: frozenset[str] = frozenset(),
        until: float | None = None,
    ) -> None:
        super().__init__(snapshot)
        self.root = root
        self.cluster = cluster
        self._until = until
        self._missing = missing
        self._kept = kept or _Kept()
        self._names = tuple(shard.name for shard in root.shards if shard.rows and shard.name not in missing)
        self._starts = snapshot.starts

    def for_request(self, seconds: float | None = None) -> RemoteIndex:
        """What one request asks, with so many seconds for all of it."""
        until = None if seconds is None else time.monotonic() + seconds
        return self._again(self._missing, until)

    def without(self, names: Iterable[str]) -> RemoteIndex:
        """What the same request asks without some shards."""
        return self._again(self._missing | set(names), self._until)

    def after(self, lost: LostShardsError) -> RemoteIndex:
        """What the same request asks when shards were lost. Raises the loss where all are required, or none is left."""
        left = set(self._names) - set(lost.names)
        if self.cluster.require_all or not left or left == set(self._names):
            raise lost
        return self.without(lost.names)

    def _again(self, missing: frozenset[str], until: float | None) -> RemoteIndex:
        snapshot = self.snapshot
        assert isinstance(snapshot, CombinedSnapshot)  # noqa: S101 - as it was made with
        return RemoteIndex(snapshot, self.root, self.cluster, self._kept, missing, until)

    @property
    def coverage(self) -> Coverage:
        """The shards and documents that this request asks, of all."""
        lacking = [shard for shard in self.root.shards if shard.name in self._missing]
        shards, documents = len(self.root.shards), self.root.statistics.documents
        there = documents - sum(shard.documents for shard in lacking)
        names = tuple(shard.name for shard in lacking)
        return Coverage((shards - len(lacking), shards), (there, documents), names)

    def warm(self) -> None:
        """Nothing is opened here."""

    def refuse(self) -> NoReturn:
        """Raise IndexStoreError for what only the machines with the shards can do."""
        raise IndexStoreError(
            f"the documents of {self.snapshot.root} lie on other machines; this is not asked over them: ask one that "
            "has the files"
        )

    @property
    def rows(self) -> NoReturn:
        """Raise IndexStoreError."""
        self.refuse()

    @property
    def columns(self) -> NoReturn:
        """Raise IndexStoreError."""
        self.refuse()

    @property
    def lexical(self) -> NoReturn:
        """Raise IndexStoreError."""
        self.refuse()

    @property
    def alive(self) -> NoReturn:
        """Raise IndexStoreError."""
        self.refuse()

    @property
    def ann(self) -> NoReturn:
        """Raise IndexStoreError."""
        self.refuse()

    def ids(self) -> np.ndarray:
        """No ids: they are not collected over machines."""
        return np.zeros(0, dtype=object)

    @cached_property
    def vectors(self) -> RemoteVectors:  # type: ignore[override]
        """The stored vectors by document number."""
        return RemoteVectors(self)

    @property
    def words(self) -> Lexical:
        """What is recorded of the BM25 part."""
        part = self.manifest.lexical
        if part is None:
            raise IndexStoreError(f"{self.snapshot.root} has no BM25 part, which a search by words needs")
        return part

    def read(self, rows: Iterable[int]) -> list[Document]:
        """The documents of some numbers, in their order, in one step."""
        numbers = np.array(list(rows), dtype=np.int64)
        found: list[Any] = [None] * len(numbers)
        for places, message in self._by_number("documents", numbers):
            for place, (identifier, title, text, metadata) in zip(
                places.tolist(), message.fact("documents", list), strict=True
            ):
                found[place] = Document(identifier, text, title, metadata)
        return found

    def row_of(self, identifier: str) -> int | None:
        """The number of the document with an id; None where there is none."""
        found = [int(one.array("numbers", "int64", 1)[0]) for one in self._all("find", id=identifier)]
        number = max(found, default=-1)
        return None if number < 0 else number

    def count(self, filter: Filter | None = None) -> int:
        """How many documents there are in the shards that are asked, or pass a filter.

        Raises FilterError for a key that no document has.
        """
        if filter is None:
            return self.coverage.documents[0]
        if not self._missing and (known := self._kept.counts.get(filter.expression)) is not None:
            return known
        parts = self._all("count", filter=filter.expression)
        lacking = set.intersection(*(set(one.fact("unknown", list)) for one in parts)) if parts else set()
        if lacking:
            name = sorted(lacking)[0]
            at = filter.expression.find(name) + 1 or None
            raise FilterError(f"--filter names {name!r}, which no document has", at)
        count = sum(int(one.fact("count", int)) for one in parts)
        if not self._missing:
            with self._kept.lock:
                _bounded(self._kept.counts)[filter.expression] = count
        return count

    def search_vectors(
        self, queries: np.ndarray, k: int, *, candidates: int | None = None, filter: Filter | None = None
    ) -> Found:
        """``ShardedIndex.search_vectors`` over the shards of all servers."""
        k = self._checked(queries, k)
        there = self.count(filter) if k else 0
        if k == 0:
            return np.zeros((len(queries), 0), dtype=np.float32), np.zeros((len(queries), 0), dtype=np.int64)
        expression = None if filter is None else filter.expression
        if self.is_exact and not candidates:
            asked = unit(np.array(queries, dtype=np.float32, order="C"))
            return best(_First(self, k, expression), self.vectors, asked, k, k, there, exact=True)
        if candidates == 0 and len(self.root.shards) > 1 and not self.root.shared:
            raise IndexStoreError(
                f"the shards of {self.snapshot.root} were trained apart, so that their own scores do not compare; "
                "leave candidates 0 out, then exact ones do"
            )
        arrays = {"queries": np.array(queries, dtype=np.float32)}
        return merged(self._found("dense", arrays, k=k, candidates=candidates, filter=expression), len(queries), k)

    def search_words(self, queries: Sequence[str], k: int, *, filter: Filter | None = None) -> Found:
        """BM25 with the statistics of the whole root."""
        if filter is not None:
            self.count(filter)  # a mistake in it is said
        analyzer = analyzer_of(self.words)
        terms = [list(analyzer.query_terms(query)) for query in queries]
        expression = None if filter is None else filter.expression
        known = self._frequencies(terms)
        return merged(self._found("words", {}, terms=terms, frequencies=known, k=k, filter=expression), len(queries), k)

    def word_scores(self, query: str, rows: np.ndarray) -> np.ndarray:
        """The BM25 score of each document (numbers, ascending) for a query, float32."""
        terms = [list(analyzer_of(self.words).query_terms(query))]
        scores = np.zeros(len(rows), dtype=np.float32)
        for places, message in self._by_number("points", rows, terms=terms, frequencies=self._frequencies(terms)):
            scores[places] = message.array("scores", "float32", 1)
        return scores

    @property
    def sampled(self) -> np.ndarray:
        """Unit vectors of at most ``SAMPLE`` random documents, those that one index would take."""
        if self._kept.sample is not None:
            return self._kept.sample
        count = self.manifest.documents
        places = np.arange(count)
        if count > SAMPLE:
            places = np.sort(np.random.default_rng(0).choice(count, size=SAMPLE, replace=False))
        ends = np.cumsum([shard.documents for shard in self.root.shards])
        shard = np.searchsorted(ends, places, side="right")
        first = {one.name: number for number, one in enumerate(self.root.shards)}
        parts: dict[int, np.ndarray] = {}

        def make(names: tuple[str, ...]) -> Message:
            before, wanted = 0, []
            for name in names:
                number = first[name]
                began = int(ends[number]) - self.root.shards[number].documents
                wanted.append(places[shard == number] - began + before)
                before += self.root.shards[number].documents
            return self._message("sample", names, {"places": np.concatenate(wanted).astype(np.int64)})

        for names, message in self._gathered(self._names, make):
            chosen = np.flatnonzero(np.isin(shard, [first[name] for name in names]))
            for place, vector in zip(chosen.tolist(), message.array("vectors", "float16", 2), strict=True):
                parts[place] = vector
        stored = np.array([parts[place] for place in sorted(parts)], dtype=np.float16).reshape(-1, self.manifest.dim)
        sample = unit(widen(stored))
        if not self._missing:
            self._kept.sample = sample
        return sample

    def _frequencies(self, terms: Sequence[Sequence[str]]) -> dict[str, int]:
        """How many documents of the shards that are asked have each term; kept where that is all shards."""
        wanted = dict.fromkeys(word for words in terms for word in words)
        found = {word: known for word in wanted if (known := self._kept.frequencies.get(word)) is not None}
        if lacking := [word for word in wanted if word not in found]:
            counts = np.zeros(len(lacking), dtype=np.int64)
            for message in self._all("frequencies", terms=[lacking]):
                counts += message.array("frequencies", "int64", 1)
            made = dict(zip(lacking, counts.tolist(), strict=True))
            if not self._missing:
                with self._kept.lock:
                    _bounded(self._kept.frequencies).update(made)
            found |= made
        return found

    def _found(self, verb: str, arrays: dict[str, np.ndarray], **facts: Any) -> list[Found]:
        found = []
        for one in self._all(verb, arrays, **facts):
            scores, numbers = one.array("scores", "float32", 2), one.array("numbers", "int64", 2)
            if scores.shape != numbers.shape or (numbers.size and numbers.max() >= self.root.rows):
                raise IndexStoreError("a shard server answers with what cannot be; the versions of the servers differ")
            found.append((scores, numbers))
        return found

    def _all(self, verb: str, arrays: dict[str, np.ndarray] | None = None, **facts: Any) -> list[Message]:
        """What all shards answer."""
        found = self._gathered(self._names, lambda names: self._message(verb, names, arrays or {}, **facts))
        return [message for _, message in found]

    def _by_number(self, verb: str, numbers: np.ndarray, **facts: Any) -> list[tuple[np.ndarray, Message]]:
        """What the shards of some documents answer, each for its own; with the places of these."""
        shard = np.searchsorted(self._starts, numbers, side="right") - 1
        names = [one.name for one in self.root.shards]
        wanted = [names[number] for number in np.unique(shard).tolist()]
        if lost := [name for name in wanted if name in self._missing]:
            raise LostShardsError(lost, "they are gone from this request")

        def places(some: tuple[str, ...]) -> np.ndarray:
            return np.flatnonzero(np.isin(shard, [names.index(name) for name in some]))

        def make(some: tuple[str, ...]) -> Message:
            return self._message(verb, some, {"numbers": numbers[places(some)].astype(np.int64)}, **facts)

        return [(places(some), message) for some, message in self._gathered(wanted, make)]

    def _message(self, verb: str, names: Sequence[str], arrays: dict[str, np.ndarray], **facts: Any) -> Message:
        return Message({"verb": verb, "generation": self.root.generation, "shards": list(names), **facts}, arrays)

    def _gathered(
        self, names: Sequence[str], make: Callable[[tuple[str, ...]], Message]
    ) -> list[tuple[tuple[str, ...], Message]]:
        until = time.monotonic() + self.cluster.seconds
        return self.cluster.peers.gather(names, make, until if self._until is None else min(until, self._until))


@dataclass(frozen=True)
class _First:
    """The first stage of an exact search over shard servers."""

    index: RemoteIndex
    k: int
    filter: str | None

    def top(self, queries: np.ndarray, depth: int) -> Found:
        """The best documents of unit queries, as a ``FirstStage`` gives them."""
        parts = self.index._found("top", {"queries": queries}, k=self.k, depth=depth, filter=self.filter)
        return merged(parts, len(queries), min(depth, sum(part[1].shape[1] for part in parts)))


class RemoteVectors:
    """A ``Stored`` whose vectors are read from shard servers, by document number."""

    def __init__(self, index: RemoteIndex) -> None:
        self.dim = index.manifest.dim
        self._index = index

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of the given documents, float16 (len(rows), dim)."""
        found = np.empty((len(rows), self.dim), dtype=np.float16)
        for places, message in self._index._by_number("vectors", np.asarray(rows)):
            found[places] = message.array("vectors", "float16", 2)
        return found

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 (len(rows), dim) of the given documents."""
        return unit(widen(self.stored(rows)))


def _bounded(kept: dict[str, int]) -> dict[str, int]:
    if len(kept) >= MOST_KEPT:
        kept.clear()
    return kept
