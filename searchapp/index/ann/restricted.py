"""A FAISS index over some rows of another, made of the codes that are there: no training, no vector encoded again.

FAISS's flat 4-bit and 1-bit fast-scan types take no mask, lists with a mask still go through every row of a list, and
a graph that few rows pass leads nowhere. An index of the passing rows alone is searched as fast as it is small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.index.ann.faiss_lib import import_faiss, layers
from searchapp.index.ann.searcher import AnnIndex

BLOCK = 32  # vectors whose 4-bit codes FAISS keeps together
HALF = 16  # of them: the first have the low, the others the high 4 bits of a byte
ORDER = np.array([0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15])  # byte j has vectors ORDER[j] and 16 more
PLACE = np.argsort(ORDER)
GRAPH_SHARE = 0.2  # of the rows, up to which those of a graph are rather gone through one by one
MORE = 1.5  # times as many passing rows gone through in lists as rows without a filter: they lie in other lists
GRAPH_NUMBERS = 1 << 23  # of these rows, at most


@dataclass
class Restricted:
    """An index over ``rows`` (ascending numbers) of another one; results are numbers of the other.

    ``counts`` are the rows in each inverted list, where there are lists; of ``least`` rows at least the lists are
    visited. ``nbytes`` is the memory it holds; ``held`` are objects that FAISS's point to.
    """

    index: AnnIndex
    rows: np.ndarray | None
    nbytes: int
    counts: np.ndarray | None = None
    least: int = 0
    held: list[Any] = field(default_factory=list)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query (fewer where there are fewer): scores and rows (n, k); -1 for none."""
        k = min(k, self.index.rows)
        if self.counts is None:
            scores, found = self.index.search(queries, k)
        else:
            scores, found = self.index.search_lists(queries, k, self.counts, max(self.least, 2 * k))
        return scores, found if self.rows is None else np.where(found < 0, -1, self.rows[found])


def sized(made: Restricted | None) -> tuple[Restricted | None, int]:
    """An index with the bytes it holds."""
    return made, 0 if made is None else made.nbytes


def restricted(whole: AnnIndex, path: Path, rows: np.ndarray, limit: int) -> Restricted | None:
    """An index over ``rows`` (ascending) of the one in the file ``path``, opened as ``whole``.

    None for a type whose codes cannot be told apart by row, where it would take more than ``limit`` bytes, and for a
    graph that so many rows pass that it is rather followed.
    """
    faiss = import_faiss()
    *outer, inner = layers(whole.faiss_index)
    size = getattr(faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else inner, "code_size", 0)
    if not size or not len(rows) or len(rows) * int(size) > limit:
        return None
    if isinstance(inner, faiss.IndexIVF):
        return _of_lists(whole, path, rows)
    if isinstance(inner, faiss.IndexHNSW):
        if len(rows) > GRAPH_SHARE * whole.rows or len(rows) * inner.d > GRAPH_NUMBERS:
            return None
        inner = faiss.downcast_index(inner.storage)
    made = _fast_scan(inner, rows) if isinstance(inner, faiss.IndexFastScan) else _flat(inner, rows)
    if made is None:
        return None
    held: list[Any] = [whole, made]
    for layer in reversed(outer):
        for place in reversed(range(layer.chain.size())):
            held.append(made)
            made = faiss.IndexPreTransform(layer.chain.at(place), made)
    return Restricted(AnnIndex(made, {}), rows, int(size) * len(rows), held=held)


def _flat(inner: Any, rows: np.ndarray) -> Any:
    """An index of codes that lie one after the other."""
    faiss = import_faiss()
    if isinstance(inner, faiss.IndexScalarQuantizer):
        made = faiss.IndexScalarQuantizer(inner.d, inner.sq.qtype, inner.metric_type)
        made.sq, made.code_size = inner.sq, inner.code_size
    elif isinstance(inner, faiss.IndexRaBitQ):
        made = faiss.IndexRaBitQ(inner.d, inner.metric_type)
        _copy_rabitq(inner, made)
    elif isinstance(inner, faiss.IndexFlat):
        made = faiss.IndexFlat(inner.d, inner.metric_type)
    else:
        return None
    made.is_trained = True
    size = int(inner.code_size)
    if made.code_size != size:
        return None
    codes = faiss.rev_swig_ptr(inner.codes.data(), int(inner.ntotal) * size).reshape(-1, size)[rows]
    made.add_sa_codes(codes)
    return made


def _fast_scan(inner: Any, rows: np.ndarray) -> Any:
    """An index of 4-bit codes in blocks; those of 1 bit a dimension have the factors of a vector behind the codes."""
    faiss = import_faiss()
    if isinstance(inner, faiss.IndexPQFastScan):
        made = faiss.IndexPQFastScan(inner.d, inner.M, inner.nbits, inner.metric_type, BLOCK)
        made.pq = inner.pq
    elif isinstance(inner, faiss.IndexRaBitQFastScan):
        made = faiss.IndexRaBitQFastScan(inner.d, inner.metric_type, BLOCK)
        _copy_rabitq(inner, made)
    else:
        return None
    blocks = -(-int(inner.ntotal) // BLOCK)
    size = int(inner.codes.size())
    if not blocks or inner.bbs != BLOCK or size % blocks or made.M2 != inner.M2 or made.code_size != inner.code_size:
        return None
    codes = faiss.rev_swig_ptr(inner.codes.get(), size).reshape(blocks, -1)
    packed = _repacked(codes, int(inner.M2), rows)
    made.codes.resize(packed.size)
    faiss.memcpy(made.codes.get(), faiss.swig_ptr(packed), packed.size)
    made.is_trained, made.ntotal, made.ntotal2 = True, len(rows), BLOCK * len(packed)
    return made


def _copy_rabitq(inner: Any, made: Any) -> None:
    faiss = import_faiss()
    made.rabitq = inner.rabitq
    faiss.copy_array_to_vector(faiss.vector_to_array(inner.center), made.center)
    made.qb, made.centered, made.code_size = inner.qb, inner.centered, inner.code_size


def _repacked(blocks: np.ndarray, parts: int, rows: np.ndarray) -> np.ndarray:
    """Blocks of the codes of some rows. ``blocks`` are FAISS's, uint8 (n, bytes), with ``parts`` codes for a vector.

    The layout is that of FAISS's pq4_pack_codes: 16 bytes for each part, then the same number of bytes for each vector.
    """
    count = -(-len(rows) // BLOCK)
    packed = np.zeros((count, blocks.shape[1]), dtype=np.uint8)
    beside = (blocks.shape[1] - HALF * parts) // BLOCK
    number, place = np.divmod(rows, BLOCK)
    old = blocks[:, : HALF * parts].reshape(len(blocks), parts, HALF)
    nibbles = np.zeros((count * BLOCK, parts), dtype=np.uint8)
    step = max(1, (1 << 24) // parts)
    for begin in range(0, len(rows), step):
        there = slice(begin, begin + step)
        found = old[number[there], :, PLACE[place[there] % HALF]]
        nibbles[begin : begin + len(found)] = np.where(place[there, None] < HALF, found & 15, found >> 4)
    of_block = nibbles.reshape(count, BLOCK, parts)
    joined = of_block[:, ORDER] | of_block[:, ORDER + HALF] << 4
    packed[:, : HALF * parts] = joined.transpose(0, 2, 1).reshape(count, -1)
    if beside:
        factors = blocks[:, HALF * parts :].reshape(len(blocks), BLOCK, beside)[number, place]
        whole = np.zeros((count * BLOCK, beside), dtype=np.uint8)
        whole[: len(rows)] = factors
        packed[:, HALF * parts :] = whole.reshape(count, -1)
    return packed


def _of_lists(whole: AnnIndex, path: Path, rows: np.ndarray) -> Restricted | None:
    """The same lists with these rows alone: the file opened once more, and its lists replaced."""
    faiss = import_faiss()
    opened = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    inner = layers(opened)[-1]
    old = faiss.downcast_InvertedLists(inner.invlists)
    parts = 0
    if isinstance(old, faiss.BlockInvertedLists):
        if old.n_per_block != BLOCK:
            return None
        parts = int(inner.M2)
        size = old.packer.code_size
        packer = old.packer.clone()
        packer.this.disown()  # the lists free it
        new = faiss.BlockInvertedLists(inner.nlist, packer)
    else:
        size = int(old.code_size)
        new = faiss.ArrayInvertedLists(inner.nlist, size)
    passes = np.zeros(whole.rows, dtype=bool)
    passes[rows] = True
    counts = np.zeros(inner.nlist, dtype=np.int64)
    for number in range(inner.nlist):
        length = old.list_size(number)
        if not length:
            continue
        ids = faiss.rev_swig_ptr(old.get_ids(number), length)
        kept = passes[ids]
        counts[number] = chosen = int(kept.sum())
        if not chosen:
            continue
        if parts:
            blocks = -(-length // BLOCK)
            raw = faiss.rev_swig_ptr(old.get_codes(number), blocks * old.block_size).reshape(blocks, -1)
            codes = _repacked(raw, parts, np.flatnonzero(kept))  # an empty list takes whole blocks as they are
        else:
            codes = faiss.rev_swig_ptr(old.get_codes(number), length * size).reshape(length, size)[kept]
        codes, ids = np.ascontiguousarray(codes), np.ascontiguousarray(ids[kept])
        new.add_entries(number, chosen, faiss.swig_ptr(ids), faiss.swig_ptr(codes))
    inner.replace_invlists(new, False)
    for index in layers(opened):
        index.ntotal = len(rows)
    made = AnnIndex(opened, whole.parameters)
    made.set(whole.parameters)
    least = int(MORE * whole.rows * inner.nprobe / inner.nlist)
    return Restricted(made, None, (size + 8) * len(rows), counts, least, held=[new, old])
