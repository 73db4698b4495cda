"""Writing an index of inverted lists with bounded memory: shuffled to disk in runs, merged into FAISS's own file.

FAISS adds vectors in memory and writes the index from there. Here it is done in three steps:

1. Add a run of vectors to the trained index, append its lists to a temporary file, empty the index.
2. Repeat until all vectors are in the temporary file, each run's lists one after the other.
3. Write the file: the header of the empty index with the number of vectors put in, then list after list, each
   collected from all runs.

The file is byte for byte the one FAISS would have written; a test compares them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from searchapp.index.ann.faiss_lib import import_faiss, layers
from searchapp.index.storage.directory import ChecksumWriter

RUN_BYTES = 256 << 20  # of codes and ids held in memory before a run is written
EMPTY_BYTES = 32  # at the end of an empty index: "ilar", number of lists, bytes a code, "sprs", no sizes
NTOTAL = slice(8, 16)  # the bytes of a FAISS header that hold the number of vectors


@dataclass(frozen=True)
class _SortedRun:
    """Where the lists of one run lie in the temporary file: a list's codes, then its ids, list after list."""

    begin: int
    sizes: np.ndarray  # vectors in each list


def shufflable(index: Any) -> bool:
    """Whether ``write_lists`` can write a trained, empty index: one whose file ends with plain inverted lists."""
    faiss = import_faiss()
    inner = layers(index)[-1]
    if not isinstance(inner, faiss.IndexIVF) or isinstance(inner, faiss.IndexIVFFastScan):
        return False
    return bytes(faiss.serialize_index(index)[-EMPTY_BYTES:][:4]) == b"ilar"


def write_lists(
    draft: ChecksumWriter, index: Any, blocks: Iterator[np.ndarray], work: Path, run_bytes: int = RUN_BYTES
) -> None:
    """Add all blocks (n, dim) to a trained, empty index, numbered by row, and write its file; the index stays empty.

    ``work`` is a folder on a disk that holds the codes once more while they are written.
    """
    faiss = import_faiss()
    parts = layers(index)
    inner = parts[-1]
    head = bytearray(faiss.serialize_index(index).tobytes())
    places = [len(head) - len(faiss.serialize_index(part)) for part in parts]
    a_vector = inner.code_size + 8
    with tempfile.TemporaryFile(dir=work) as shuffle:
        runs: list[_SortedRun] = []
        rows = held = 0
        for block in blocks:
            index.add_with_ids(block, np.arange(rows, rows + len(block)))
            rows, held = rows + len(block), held + len(block)
            if held * a_vector >= run_bytes:
                runs.append(_shuffled(inner, shuffle))
                index.reset()
                held = 0
        if held:
            runs.append(_shuffled(inner, shuffle))
            index.reset()
        for place in places:
            head[place + NTOTAL.start : place + NTOTAL.stop] = np.int64(rows).tobytes()
        draft.write(bytes(head[:-EMPTY_BYTES]))
        _merge(draft, shuffle, runs, inner.nlist, inner.code_size)


def _shuffled(inner: Any, shuffle: IO[bytes]) -> _SortedRun:
    """Append the lists of an index to the temporary file."""
    faiss, lists = import_faiss(), inner.invlists
    begin = shuffle.seek(0, 2)
    sizes = np.array([lists.list_size(number) for number in range(inner.nlist)], dtype=np.int64)
    for number, size in enumerate(sizes.tolist()):
        if size:
            shuffle.write(faiss.rev_swig_ptr(lists.get_codes(number), size * inner.code_size).tobytes())
            shuffle.write(faiss.rev_swig_ptr(lists.get_ids(number), size).tobytes())
    return _SortedRun(begin, sizes)


def _merge(draft: ChecksumWriter, shuffle: IO[bytes], runs: list[_SortedRun], lists: int, code_size: int) -> None:
    """Write the lists of all runs, joined, as FAISS writes ``ArrayInvertedLists``."""
    sizes = sum((run.sizes for run in runs), np.zeros(lists, dtype=np.int64))
    filled = np.flatnonzero(sizes)
    full = len(filled) > lists // 2
    listed = sizes if full else np.column_stack([filled, sizes[filled]]).ravel()
    draft.write(b"ilar" + np.array([lists, code_size], dtype="<u8").tobytes() + (b"full" if full else b"sprs"))
    draft.write(np.uint64(len(listed)).tobytes() + listed.astype("<u8").tobytes())
    starts = [run.begin + np.concatenate([[0], np.cumsum(run.sizes * (code_size + 8))]) for run in runs]
    for number in filled.tolist():
        parts = [
            (int(start[number]), int(run.sizes[number]))
            for run, start in zip(runs, starts, strict=True)
            if run.sizes[number]
        ]
        for begin, size in parts:
            shuffle.seek(begin)
            draft.write(shuffle.read(size * code_size))
        for begin, size in parts:
            shuffle.seek(begin + size * code_size)
            draft.write(shuffle.read(size * 8))
