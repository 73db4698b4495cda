"""BM25 over the documents of an index, with weights that are made for the words of a query.

A finished weight for each word of each document would be stale with the first document added or deleted, because every
weight depends on the whole corpus. So frequencies are stored, segment by segment, and weights are made from them when a
word is first asked for: adding counts the new documents' words alone, deleting counts nothing, and the statistics are
always those of the documents that are there.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from searchapp.corpus.document import joined
from searchapp.errors import IndexStoreError
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.postings import Postings, term_hash, write_postings
from searchapp.index.lexical.topk import Sums, best
from searchapp.index.lexical.weights import TermWeights, Wanted
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.manifest import Lexical, Manifest, Segment
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer

K1, B = 0.9, 0.4  # Anserini's, which BM25 baselines are mostly run with
TOGETHER = 64, 4_000_000  # queries whose terms are looked for at once, at most, and times rows
NOTHING, SELDOM = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.uint16)
HELD = 20_000_000  # postings whose weights are kept: 160 MB


def add_lexical(
    writer: Writer,
    analyzer: Analyzer | None = None,
    *,
    k1: float | None = None,
    b: float | None = None,
    renew: bool = False,
    stage: Callable[[str], None] | None = None,
) -> Manifest:
    """Bring the BM25 part up to date and commit it: segments without postings, or with damaged ones, are counted.

    What is None stays as it was, or is the default. A change of ``analyzer`` counts all segments again. Where it names
    the stemmer and stop words that are there, an older version of the analysis is kept, but with ``renew``.
    """
    manifest = writer.state
    if manifest.rows == 0:
        raise IndexStoreError(f"{writer.root} is empty; add documents first: searchapp add {writer.root} SOURCE...")
    before = manifest.lexical
    wanted = analyzer or (analyzer_of(before) if before else Analyzer())
    if before is not None and not renew and (wanted.stemmer, wanted.stop_words) == (before.stemmer, before.stop_words):
        wanted = replace(wanted, version=before.analysis)
    part = Lexical(
        files=before.files if before is not None and analyzer_of(before) == wanted else {},
        stemmer=wanted.stemmer,
        stop_words=wanted.stop_words,
        analysis=wanted.version,
        k1=_parameter("k1", k1, before.k1 if before else K1, 0, 1000),
        b=_parameter("b", b, before.b if before else B, 0, 1),
        fusion=before.fusion if before else None,
    )
    after = ensure_postings(writer, manifest.with_files(lexical=part), check=True, stage=stage)
    return manifest if after.lexical == before else writer.commit(after)


def ensure_postings(
    writer: Writer, manifest: Manifest, *, check: bool = False, stage: Callable[[str], None] | None = None
) -> Manifest:
    """The manifest with postings for each of its segments, if it has a BM25 part at all; it is not committed.

    Postings that are there are kept, with ``check`` only where their checksum holds.
    """
    part = manifest.lexical
    if part is None:
        return manifest
    snapshot = Snapshot.of(writer, manifest)
    analyzer, rows, kept = analyzer_of(part), snapshot.documents, {}
    entries: dict[str, FileEntry] = {}
    began = time.perf_counter()
    for number, segment in enumerate(manifest.segments):
        name = part.files.get(segment.documents_file)
        if name is None or (check and snapshot.check([name])):
            if stage is not None and not entries:
                stage(f"counting the words of {manifest.rows:,} documents")
            with writer.draft("lexical") as (name, draft, more):
                write_postings(draft, _passages(rows, number), analyzer)
            entries.update(more)
        kept[segment.documents_file] = name
    if not entries and kept == part.files:
        return manifest
    seconds = {**manifest.build.seconds, **({"words": time.perf_counter() - began} if check else {})}
    build = replace(manifest.build, seconds=seconds)
    return manifest.with_files(lexical=replace(part, files=kept), build=build, files=entries)


def remove_lexical(writer: Writer) -> Manifest:
    """Commit a state without a BM25 part."""
    manifest = writer.state
    if manifest.lexical is None:
        raise IndexStoreError(f"{writer.root} has no BM25 part to remove")
    return writer.commit(manifest.with_files(lexical=None))


def analyzer_of(part: Lexical) -> Analyzer:
    """The analyzer a BM25 part was made with."""
    return Analyzer(part.stemmer, part.stop_words, part.analysis)


def _parameter(name: str, given: float | None, standing: float, low: float, high: float) -> float:
    value = standing if given is None else given
    if not low <= value <= high:
        raise IndexStoreError(f"{name} is {value}; expected {low} to {high}")
    return float(value)


def _passages(rows: DocumentStore, number: int) -> Iterator[str]:
    """Title and text of a segment's documents, one at a time."""
    for title, text in zip(rows.column(number, "title"), rows.column(number, "text"), strict=True):
        yield joined(title.as_py(), text.as_py())


@dataclass(frozen=True)
class Corpus:
    """The statistics of all documents, where these rows are some of them: how many, and their mean length in terms."""

    documents: int
    mean: float


class LexicalIndex:
    """BM25 (Lucene's variant) over the rows of one state, with its statistics or those of a larger ``corpus``.

    ``live`` bool (rows,) masks deleted documents out of results and statistics; None where none is deleted. Raises
    IndexStoreError for an index without this part, or where it does not cover all of its documents.
    """

    def __init__(self, snapshot: Snapshot, corpus: Corpus | None = None) -> None:
        manifest, part = snapshot.manifest, snapshot.manifest.lexical
        if part is None:
            raise IndexStoreError(
                f"{snapshot.root} has no BM25 part, which a search by words needs; "
                f"add it with `searchapp lexical {snapshot.root}`"
            )
        if any(segment.documents_file not in part.files for segment in manifest.segments):
            raise IndexStoreError(
                f"the BM25 part of {snapshot.root} lacks some of its documents; "
                f"complete it with `searchapp lexical {snapshot.root}`"
            )
        self.part = part
        self.rows = manifest.rows
        self.analyzer = analyzer_of(part)
        self._live = snapshot.alive
        self._segments: Sequence[Segment] = manifest.segments
        self._snapshot = snapshot
        self._corpus = corpus
        self._lock = Lock()  # of the weights that are kept
        self._kept: OrderedDict[str, TermWeights] = OrderedDict()
        self._held = 0
        self._sums = Sums(self.rows)

    def search(
        self, queries: Sequence[str], k: int, *, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query, best first: BM25 scores float32 and rows int64, both (n, k).

        A document without any word of the query is no hit: rows are -1, and scores -inf, past the last. Equal scores
        stand in row order. ``allowed`` bool (rows,) leaves documents out of the results, though not of the statistics.
        """
        return self.search_terms([self.analyzer.query_terms(query) for query in queries], k, allowed=allowed)

    def search_terms(
        self,
        asked: Sequence[Sequence[str]],
        k: int,
        *,
        allowed: np.ndarray | None = None,
        frequencies: Mapping[str, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """``search`` by the terms of each query; ``frequencies`` say how many documents of the corpus have each."""
        scores = np.full((len(asked), k), -np.inf, dtype=np.float32)
        rows = np.full((len(asked), k), -1, dtype=np.int64)
        step = max(1, min(TOGETHER[0], TOGETHER[1] // max(1, self.rows)))
        for begin in range(0, len(asked), step):
            part = asked[begin : begin + step]
            terms = self._terms_of({term: None for words in part for term in words}, frequencies)
            for number, words in enumerate(part, begin):
                found = best([terms[term] for term in words], k, self._sums, allowed)
                scores[number, : len(found[0])], rows[number, : len(found[1])] = found
        return scores, rows

    def scores(self, query: str, rows: np.ndarray) -> np.ndarray:
        """The BM25 score of each row (int64, ascending) for a query, float32; 0 without any word of it."""
        return self.scores_of(self.analyzer.query_terms(query), rows)

    def scores_of(
        self, words: Sequence[str], rows: np.ndarray, frequencies: Mapping[str, int] | None = None
    ) -> np.ndarray:
        """``scores`` by the terms of a query; ``frequencies`` as ``search_terms`` takes them."""
        terms, wanted = self._terms_of(dict.fromkeys(words), frequencies), Wanted(rows.astype(np.int32))
        found = {word: term.at(wanted) for word, term in terms.items()}
        total = np.zeros(len(rows), dtype=np.float32)
        for word in words:
            total += found[word]
        return total

    @property
    def terms(self) -> int:
        """How many terms the documents that are there have together."""
        lengths = self._statistics[1]
        return int((lengths if self._live is None else lengths[self._live]).sum(dtype=np.int64))

    def known(self, terms: Sequence[str]) -> np.ndarray:
        """Which of these terms some segment holds, bool (n,); a term of deleted documents alone counts."""
        hashes = np.array([term_hash(term) for term in terms], dtype=np.uint64)
        found = np.zeros(len(terms), dtype=bool)
        for postings in self._files:
            found |= postings.holds(hashes)
        return found

    def frequencies(self, terms: Sequence[str]) -> list[int]:
        """How many of the documents that are there hold each term."""
        return [len(rows) for rows in self._postings(terms)[0]]

    def rows_of(self, term: str) -> np.ndarray:
        """The rows that hold a term, int32, ascending."""
        return self._weight(term)[0]

    def weights_of(self, term: str) -> tuple[np.ndarray, np.ndarray]:
        """The rows that hold a term, int32, ascending, and what it adds to the score of each, float32."""
        return self._weight(term)

    def texts(self, rows: np.ndarray) -> Iterator[str]:
        """Title and text of rows, as their words were counted."""
        documents = self._snapshot.documents
        for row in rows.tolist():
            document = documents.read(row)
            yield joined(document.title, document.text)

    def contributions(self, query: str, row: int) -> list[tuple[str, float]]:
        """Each term of the query with what it adds to the score of a row, in the order of the query."""
        counted: dict[str, float] = {}
        for term in self.analyzer.query_terms(query):
            rows, weights = self._weight(term)
            place = int(np.searchsorted(rows, row))
            weight = float(weights[place]) if place < len(rows) and rows[place] == row else 0.0
            counted[term] = counted.get(term, 0.0) + weight
        return list(counted.items())

    def problems(self) -> list[str]:
        """What is wrong with the postings, one line each; none where every document's words add up to its length."""
        found = []
        for segment, postings in zip(self._segments, self._files, strict=True):
            if not postings.adds_up():
                found.append(
                    f"data/{self.part.files[segment.documents_file]} does not add up to its documents' lengths"
                )
        return found

    def _weight(self, term: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows (int32, ascending) that hold a term, and its weight in each (float32)."""
        found = self._terms_of([term])[term]
        return found.rows, found.weights

    def _terms_of(self, words: Iterable[str], frequencies: Mapping[str, int] | None = None) -> dict[str, TermWeights]:
        """The weights of terms, by term; those of the last ones used are kept."""
        found: dict[str, TermWeights] = {}
        lacking = []
        key = self._key(frequencies)
        with self._lock:
            for term in words:
                if (kept := self._kept.get(key(term))) is not None:
                    self._kept.move_to_end(key(term))
                    found[term] = kept
                else:
                    lacking.append(term)
        if not lacking:
            return found
        counts = [None if frequencies is None else frequencies[term] for term in lacking]
        made = dict(zip(lacking, map(self._weighed, *self._postings(lacking), counts), strict=True))
        with self._lock:
            for term, weights in made.items():
                # Another thread may have been faster; and of words that no document has there is no end.
                if len(weights) and key(term) not in self._kept:
                    self._kept[key(term)] = weights
                    self._held += weights.size
            while self._held > HELD and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].size
        return found | made

    @staticmethod
    def _key(frequencies: Mapping[str, int] | None) -> Callable[[str], str]:
        """What the weights of a term are kept under: they are others where other documents have it."""
        if frequencies is None:
            return str
        return lambda term: f"{term}\0{frequencies[term]}"

    def _weighed(self, rows: np.ndarray, frequencies: np.ndarray, documents: int | None = None) -> TermWeights:
        """The weights of a term, which stands so often in these rows; in ``documents`` of the corpus (None: in these).

        Lucene's variant of BM25: Kamphuis et al., "Which BM25 do you mean?", ECIR 2020, table 1.
        """
        count, lengths, _ = self._statistics
        having = len(rows) if documents is None else documents
        idf = np.log(1 + (count - having + 0.5) / (having + 0.5))
        often = frequencies.astype(np.float64)
        norms = self._norms.take(lengths.take(rows))
        return TermWeights.of(rows, (idf * often / (often + norms)).astype(np.float32), self.rows)

    def _postings(self, terms: Sequence[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of each term the rows (int32) of the documents that are there and hold it, and how often each does."""
        hashes = np.array([term_hash(term) for term in terms], dtype=np.uint64)
        held: list[tuple[list[int], list[np.ndarray], list[np.ndarray]]] = [([], [NOTHING], [SELDOM]) for _ in terms]
        for segment, postings in zip(self._segments, self._files, strict=True):
            for number, documents, often in postings.find(hashes):
                part = held[number]
                part[0].append(segment.base)
                part[1].append(documents)
                part[2].append(often)
        rows, frequencies = [], []
        for bases, found, often_found in held:
            row, often = np.concatenate(found), np.concatenate(often_found)
            row += np.repeat(np.array(bases, dtype=np.int32), list(map(len, found[1:])))
            if self._live is not None:
                kept = self._live[row]
                row, often = row.compress(kept), often.compress(kept)
            rows.append(row)
            frequencies.append(often)
        return rows, frequencies

    @cached_property
    def _files(self) -> list[Postings]:
        return [
            Postings(self._snapshot.path(self.part.files[item.documents_file]), item.count) for item in self._segments
        ]

    @cached_property
    def _statistics(self) -> tuple[int, np.ndarray, float]:
        """How many documents are there, the length of each row in terms, and the mean length of those there."""
        lengths = np.concatenate([np.zeros(0, dtype=np.int32), *(postings.lengths for postings in self._files)])
        there = lengths if self._live is None else lengths[self._live]
        if self._corpus is not None:
            return self._corpus.documents, lengths, self._corpus.mean
        return len(there), lengths, max(float(there.mean()) if len(there) else 0.0, 1e-9)

    @cached_property
    def _norms(self) -> np.ndarray:
        """What stands beside the frequency in the weight of a term, by the length of the document."""
        _, lengths, mean = self._statistics
        every = np.arange(int(lengths.max(initial=0)) + 1)
        norms: np.ndarray = self.part.k1 * (1 - self.part.b + self.part.b * every / mean)
        return norms


def with_fusion(writer: Writer, fusion: dict[str, Any]) -> Manifest:
    """Commit how the dense and the lexical side are to be fused in this index when nothing else is asked for."""
    manifest = writer.state
    if manifest.lexical is None:
        raise IndexStoreError(
            f"{writer.root} has no BM25 part, so there is nothing to fuse; "
            f"add it with `searchapp lexical {writer.root}`"
        )
    return writer.commit(manifest.with_files(lexical=replace(manifest.lexical, fusion=fusion)))
