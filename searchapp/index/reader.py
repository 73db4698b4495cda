"""One index opened for reading: candidates from FAISS, exact rescoring from the stored vectors, documents by row.

Rows that came after the FAISS index was made are compared exactly beside it; rows that are gone are never found.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from searchapp.corpus.document import Document
from searchapp.errors import IndexStoreError
from searchapp.index.ann.brute_force import BLOCK_NUMBERS, BruteForce
from searchapp.index.ann.direct import Beside, DirectSearch
from searchapp.index.ann.files import open_ann
from searchapp.index.ann.first_stage import Indexed, Unindexed
from searchapp.index.ann.gpu import ExactSearch, devices, fits
from searchapp.index.ann.masked import EXACT_NUMBERS, KEPT_NUMBERS, RESTRICTED_BYTES, Kept, Masked, best_passing
from searchapp.index.ann.pca import Pca, read_pca
from searchapp.index.ann.rescore import FirstStage, best, ordered
from searchapp.index.ann.restricted import Restricted, restricted, sized
from searchapp.index.ann.rules import STANDARD
from searchapp.index.ann.searcher import AnnIndex
from searchapp.index.columns import Columns
from searchapp.index.filter import Filter
from searchapp.index.lexical.bm25 import LexicalIndex
from searchapp.index.masks import Masks, Passing
from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.hashes import ID
from searchapp.index.storage.ids import digest
from searchapp.index.storage.manifest import Ann, Lexical, Manifest
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.vectors import Vectors, unit
from searchapp.unicode import find_surrogate

log = logging.getLogger(__name__)

GONE = 0.05  # the share of rows deleted, up to which candidates that are gone are few
SAMPLE = 1_000  # documents that tell how the cosines with a query are spread: their deviation is known to 3 %
FEW = 20_000  # rows passing a filter below which they are simply all compared
ONCE_NUMBERS = 1 << 22  # numbers (rows x dim) that are compared in less time than it takes to import FAISS
BRUTE_FORCE = Ann("", "Flat", rows=0, candidates=0)  # stands for the FAISS index where every row is compared exactly


@dataclass(frozen=True)
class Coverage:
    """Which part of an index has answered: shards and documents that were asked, of how many; the missing shards."""

    shards: tuple[int, int]
    documents: tuple[int, int]
    missing: tuple[str, ...] = ()


class VectorIndex:
    """The vectors and documents of one manifest. It stays that state while writers move on."""

    is_remote = False  # whether documents and vectors are read from other machines

    def __init__(self, snapshot: Snapshot, device: str = "cpu") -> None:
        self.snapshot = snapshot
        self.device = device
        self.manifest: Manifest = snapshot.manifest
        self._is_new = True  # no query has come
        self._documents = snapshot.manifest.documents
        self._depths: dict[tuple[int, int | None], int] = {}

    @classmethod
    def open(cls, path: str | Path, device: str = "cpu") -> VectorIndex:
        """Open a finished index; with ``device`` cuda its first stage is searched on GPUs, where it fits there.

        Raises IndexStoreError for one that is missing, damaged or not built to the end.
        """
        snapshot = Snapshot.open(Path(path), ready=True)
        index = cls(snapshot, device)
        if index.manifest.state != "ready":
            why = f" ({snapshot.notices[0]})" if snapshot.notices else ""
            raise IndexStoreError(
                f"{path} is not ready: {index.manifest.rows} documents are embedded, the index over them is not "
                f"there{why}; run the same `{index.manifest.made_by}` again, it goes on from here"
            )
        log.info("opened %s: %d documents, generation %d", path, index.manifest.documents, index.manifest.number)
        return index

    @property
    def rows(self) -> DocumentStore:
        """The documents by row."""
        return self.snapshot.documents

    @property
    def vectors(self) -> Vectors:
        """The stored vectors by row."""
        return self.snapshot.vectors

    @cached_property
    def ann(self) -> AnnIndex | ExactSearch:
        """The FAISS index, opened when first searched; on GPUs that can hold them, all its vectors instead."""
        if self.manifest.ann is None:
            raise IndexStoreError(f"{self.snapshot.root} has no search index; run the same `searchapp build` again")
        rows = self.manifest.ann.rows
        if fits(rows, self.manifest.dim, self.device):
            return ExactSearch(self.vectors.blocks(), rows, devices(self.device))
        return open_ann(self.snapshot.path(self.manifest.ann.file), self.manifest.ann.parameters, self.device)

    @property
    def indexed_rows(self) -> int:
        """How many vectors the FAISS index holds."""
        return self.ann.rows

    @cached_property
    def reduction(self) -> Pca | None:
        """The projection that queries go through, if there is one."""
        part = self.manifest.reduction
        if part is None or isinstance(self.ann, ExactSearch):  # which has the vectors as they are
            return None
        return read_pca(self.snapshot.path(part.file), (self.manifest.dim, part.dim), part.explained_variance)

    @cached_property
    def lexical(self) -> LexicalIndex:
        """BM25 over the same rows. Raises IndexStoreError where the index has no such part."""
        return LexicalIndex(self.snapshot)

    @cached_property
    def columns(self) -> Columns:
        """The documents' metadata by key, for filters."""
        return Columns(self.rows.fields(), self.rows.prove)

    @property
    def alive(self) -> np.ndarray | None:
        """Boolean mask over the rows, false where a row is deleted; None where none is."""
        return self.snapshot.alive

    @cached_property
    def sampled(self) -> np.ndarray:
        """Unit vectors of at most ``SAMPLE`` random documents, float32; the same ones each time."""
        blocks = list(self.vectors.among(self.alive).sampled_blocks(SAMPLE))
        return np.concatenate(blocks) if blocks else np.zeros((0, self.manifest.dim), dtype=np.float32)

    def allowed(self, filter: Filter | None = None) -> np.ndarray | None:
        """Boolean mask over the rows that are there and pass a filter; None where that is all of them."""
        return self.alive if filter is None else self.passing(filter).mask

    def passing(self, filter: Filter) -> Passing:
        """The rows that are there and pass a filter, kept for the next search with the same expression."""

        def make() -> np.ndarray:
            mask = filter.mask(self.columns, lambda number: self.rows.column(number, "metadata"))
            return mask if self.alive is None else mask & self.alive

        return self._masks.passing(filter.expression, make)

    @cached_property
    def _masks(self) -> Masks:
        return Masks()

    def ids(self) -> np.ndarray:
        """The id of every row, an array of strings; None where the row is gone."""
        parts = [self.rows.ids(number) for number in range(len(self.manifest.segments))]
        names = np.array([name for part in parts for name in part], dtype=object)
        if self.alive is not None:
            names[~self.alive] = None
        return names

    def read(self, rows: Iterable[int]) -> list[Document]:
        """The documents of some rows, in their order."""
        return [self.rows.read(row) for row in rows]

    def row_of(self, identifier: str) -> int | None:
        """The row of the document with an id; None where there is none."""
        if find_surrogate(identifier) is None:
            rows = np.flatnonzero(self.snapshot.hashes()[ID] == np.uint64(digest(identifier)))
            for row in rows.tolist():
                if (self.alive is None or self.alive[row]) and self.rows.read(row).id == identifier:
                    return int(row)
        return None

    def count(self, filter: Filter | None = None) -> int:
        """How many documents there are, or pass a filter."""
        return self.manifest.documents if filter is None else self.passing(filter).count

    @property
    def words(self) -> Lexical:
        """What is recorded of the BM25 part. Raises IndexStoreError where a search by words is not possible."""
        return self.lexical.part

    def search_words(
        self, queries: Sequence[str], k: int, *, filter: Filter | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query by BM25, as ``LexicalIndex.search`` gives them."""
        allowed = None if filter is None else self.allowed(filter)  # deleted documents have no postings
        return self.lexical.search(queries, k, allowed=allowed)

    def word_scores(self, query: str, rows: np.ndarray) -> np.ndarray:
        """The BM25 score of each row (int64, ascending), as ``LexicalIndex.scores`` gives it."""
        return self.lexical.scores(query, rows)

    def for_request(self, seconds: float | None = None) -> VectorIndex:
        """What one request asks: this object itself, where all is on this machine."""
        return self

    @property
    def coverage(self) -> Coverage | None:
        """Which part of the index answers this request; None where all of it does."""
        return None

    def search_vectors(
        self, queries: np.ndarray, k: int, *, candidates: int | None = None, filter: Filter | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query vector (n, dim), best first: cosines float32 and rows int64, both (n, k).

        Where the index is reduced or compressed, ``candidates`` rows (default: as the index was made) are taken from it
        and rescored with the stored vectors; 0 returns its own scores. Rows are -1, and scores -inf, past the last hit.
        Equal scores stand in document order. ``k`` larger than the number of documents is cut to it. The first query,
        alone and in a process that has not imported FAISS yet, is compared with every vector where they are few: that
        is exact, and over before FAISS would be imported.
        """
        k = self._checked(queries, k)
        if k == 0:
            return np.zeros((len(queries), 0), dtype=np.float32), np.zeros((len(queries), 0), dtype=np.int64)
        is_first, self._is_new = self._is_new, False
        if filter is None:
            if is_first and candidates is None and self._is_over_before_faiss(len(queries)):
                return self.search_rows(queries, k, self.alive, indexed=0)
            if (depth := self._depths.get((k, candidates))) is None:
                depth = self._depths[k, candidates] = self._direct_depth(k, candidates)
            if depth >= 0 and (found := self._directly(queries, k, depth)) is not None:
                return found
            indexed = self.manifest.rows - self.manifest.unindexed_rows
            return self.search_rows(queries, k, self.alive, candidates=candidates, indexed=indexed)
        return self.search_passing(queries, k, self.passing(filter), candidates)

    def _checked(self, queries: np.ndarray, k: int) -> int:
        """``k``, cut to the number of documents. Raises IndexStoreError for queries or a number that cannot be."""
        if queries.ndim != 2 or queries.shape[1] != self.manifest.dim:
            raise IndexStoreError(
                f"query vectors have shape {queries.shape}, the index holds vectors of {self.manifest.dim} dimensions"
            )
        if k < 1:
            raise IndexStoreError(f"k is {k}; ask for at least 1 hit")
        return min(k, self._documents)

    def search_passing(
        self, queries: np.ndarray, k: int, passing: Passing, candidates: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """``search_vectors`` among the rows that pass a filter; k is at most the number of documents."""
        if candidates != 0 and (found := self._search_passing(queries, k, passing, candidates)) is not None:
            return found
        indexed = 0 if passing.count <= FEW else self.manifest.rows - self.manifest.unindexed_rows
        return self.search_rows(queries, k, passing.mask, candidates=candidates, indexed=indexed)

    def _is_over_before_faiss(self, queries: int) -> bool:
        """Whether comparing with every vector takes less time than the import of FAISS, which would come now."""
        numbers = self.manifest.rows * self.manifest.dim
        return queries == 1 and numbers <= ONCE_NUMBERS and self.device == "cpu" and "faiss" not in sys.modules

    def _direct_depth(self, k: int, candidates: int | None) -> int:
        """How many candidates the direct way rescores; -1 where there is none, or it is not what is asked for."""
        depth = self.rescore_depth(k, candidates)
        return depth if (depth > 0) != self.is_exact and self._direct is not None else -1

    def _directly(self, queries: np.ndarray, k: int, depth: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The hits of all rows that are there; None where ``search_rows`` has to find them."""
        direct = self._direct
        if direct is None:
            return None
        if len(queries) == 1:
            return direct.search(queries[0], k, depth)
        if (found := direct.many(queries, k, depth)) is None:
            return None
        scores, rows, sure = found
        if not sure.all():
            indexed = self.manifest.rows - self.manifest.unindexed_rows
            scores[~sure], rows[~sure] = self.search_rows(
                queries[~sure], k, self.alive, candidates=depth or None, indexed=indexed
            )
        return scores, rows

    def _search_passing(
        self, queries: np.ndarray, k: int, passing: Passing, candidates: int | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """``search_vectors`` among rows that pass; None where ``search_rows`` is the way to go."""
        queries = unit(np.array(queries, dtype=np.float32, order="C"))
        if (found := self._search_kept(queries, k, passing)) is not None:
            return found
        count, ann = passing.count, self.manifest.ann
        few = count <= FEW
        if ann is None or isinstance(self.ann, ExactSearch):
            return None
        opened, path, within = self.ann, self.snapshot.path(ann.file), passing.rows[: passing.before(ann.rows)]

        def alone() -> Restricted | None:
            return passing.once("codes", lambda: sized(restricted(opened, path, within, RESTRICTED_BYTES)))

        if few and alone() is None:
            return None
        exact = ann.is_exact and not candidates
        beside = Unindexed(self._brute_force, passing.rows[len(within) :])
        mask = passing.mask[: ann.rows]
        first = Masked(opened, self.reduction, mask, len(within), alone, beside, ann.is_exact, k)
        depth = ann.rescore_depth(k, candidates)
        if exact or candidates:
            return best(first, self.vectors, queries, k, depth, count, exact=exact)
        return best_passing(first, self.vectors, queries, k, depth, count)

    def _search_kept(self, queries: np.ndarray, k: int, passing: Passing) -> tuple[np.ndarray, np.ndarray] | None:
        """Unit queries among rows that are few enough to be kept in memory and compared; None where they are not."""
        numbers, ann = passing.count * self.manifest.dim, self.manifest.ann
        if passing.count > FEW or numbers > (KEPT_NUMBERS if ann is None or ann.is_exact else EXACT_NUMBERS):
            return None
        kept = passing.once("vectors", lambda: (self.vectors.gather(passing.rows), 4 * numbers))
        return best(Kept(kept, passing.rows), self.vectors, queries, k, k, passing.count, exact=True)

    def search_rows(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None,
        *,
        candidates: int | None = None,
        indexed: int,
        end: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """``search_vectors`` with FAISS for the first ``indexed`` rows (all it has, or 0), exactly for those after.

        ``allowed`` is a mask over the rows (None: all); only rows before ``end`` are searched, by default all.
        """
        queries = unit(np.array(queries, dtype=np.float32, order="C"))
        end = self.manifest.rows if end is None else end
        ann = self._scored_by(indexed)
        first = self._first_stage(k, allowed, indexed, end, ann)
        depth = ann.rescore_depth(k, candidates)
        exact = ann.is_exact and not candidates
        if not exact and not depth:
            return ordered(*first.top(queries, k), k)
        limit = end if allowed is None else int(allowed[:end].sum())
        return best(first, self.vectors, queries, k, depth, limit, exact=exact)

    def _scored_by(self, indexed: int) -> Ann:
        """What says how exact the first stage is and how deep to rescore: the FAISS index, or exact comparison."""
        if not indexed or self.manifest.ann is None:
            return BRUTE_FORCE
        if isinstance(self.ann, ExactSearch):  # which compares in half precision
            return replace(self.manifest.ann, candidates=max(self.manifest.ann.candidates, STANDARD))
        return self.manifest.ann

    def first_stage(self, k: int, allowed: np.ndarray | None) -> FirstStage:
        """What finds candidates among all rows that ``allowed`` (None: all) lets pass."""
        indexed = self.manifest.rows - self.manifest.unindexed_rows
        return self._first_stage(k, allowed, indexed, self.manifest.rows, self._scored_by(indexed))

    def warm(self) -> None:
        """Open what a search needs."""
        _ = self.columns.names
        if self.manifest.ann is not None:
            _ = self.ann

    def _first_stage(self, k: int, allowed: np.ndarray | None, indexed: int, end: int, ann: Ann) -> FirstStage:
        rows = np.arange(indexed, end) if allowed is None else np.flatnonzero(allowed[indexed:end]) + indexed
        unindexed = Unindexed(self._brute_force, rows)
        if not indexed:
            return unindexed
        within = None if allowed is None else allowed[:indexed]
        return Indexed(self.ann, self.reduction, within, unindexed, k, ann.is_exact)

    @cached_property
    def _direct(self) -> DirectSearch | None:
        """The way of queries without a filter; None where there is no FAISS index to go through, or a GPU has it."""
        manifest = self.manifest
        if manifest.ann is None or not isinstance(self.ann, AnnIndex) or self.device.startswith("cuda"):
            return None
        fresh = np.arange(manifest.rows - manifest.unindexed_rows, manifest.rows)
        if len(fresh) * manifest.dim > BLOCK_NUMBERS or manifest.rows - manifest.documents > GONE * manifest.rows:
            return None
        rows = fresh if self.alive is None else fresh[self.alive[fresh]]
        beside = Beside(self.vectors.gather(rows), rows) if len(rows) else None
        return DirectSearch(
            self.ann, self.reduction, self.vectors, alive=self.alive, documents=manifest.documents,
            beside=beside, exact=manifest.ann.is_exact,
        )  # fmt: skip

    @cached_property
    def _brute_force(self) -> BruteForce:
        return BruteForce(self.vectors, self.manifest.rows - self.manifest.unindexed_rows)

    @property
    def is_exact(self) -> bool:
        """Whether the index's own scores are cosines, so that a search rescores nothing."""
        return self.manifest.ann is None or self.manifest.ann.is_exact

    def rescore_depth(self, k: int, candidates: int | None = None) -> int:
        """How many candidates ``search_vectors`` rescores for a query, where there are so many; 0: none."""
        return (self.manifest.ann or BRUTE_FORCE).rescore_depth(k, candidates)
