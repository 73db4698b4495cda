"""What a query costs while the vectors' files are not in memory, told from a few reads of these files.

Times are measured with files that the system holds in memory. A query whose candidates have to be read from disk takes
longer by a page fault for each page they lie on: ``warm + pages x page``. The pages are counted for candidates of the
calibration queries, as neighbours share some; what one takes is measured on the files themselves, after asking the
system to drop them. The codes are all read by the first queries, once: that is told apart.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp.encoder.free_memory import machine_memory
from searchapp.index.ann.calibration import TIMED, CalibrationQueries, MeasuredIndex, OperatingPoint
from searchapp.index.storage.vectors import Vectors

FILES, READS = 8, 24  # files read from, and pages read at random from each
RANGE = 32 << 20  # bytes of a file that are dropped: the system lets go of whole runs of pages alone
LEAST = 4  # groups of reads below which nothing is said
IN_MEMORY = 0.75  # of the machine's memory that files can stay in
ROWS = 256  # whose pages are counted to know those of a row


@dataclass(frozen=True)
class ColdReads:
    """Milliseconds to read one page of the vectors' files at random, and bytes a millisecond to read on and on."""

    page: float
    rate: float


def measure_reads(files: Sequence[Path]) -> ColdReads | None:
    """Read pages of files that are not in memory; None where the system keeps them there, or does not say.

    A page is read as a search does it, by a fault in a mapping that is read at random. Each file gives one mean; what
    is returned is the median of these, as other programs disturb some.
    """
    if not hasattr(os, "posix_fadvise") or not hasattr(mmap, "MADV_RANDOM"):
        return None
    rng = np.random.default_rng(0)
    spread = np.linspace(0, len(files) - 1, min(FILES, len(files))).astype(int)
    groups: list[float] = []
    for number in spread.tolist():
        for _ in range(max(1, FILES // len(spread))):
            groups += _faults(files[number], rng)
    if len(groups) < LEAST:
        return None
    rates = [rate for number in spread.tolist()[:LEAST] if (rate := _rate(files[number]))]
    return ColdReads(float(np.median(groups)), float(np.median(rates))) if rates else None


def row_milliseconds(reads: ColdReads | None, vectors: Vectors) -> float:
    """What reading a candidate adds to a query on average, as far as the vectors do not fit into memory; often 0."""
    memory, stored = machine_memory(), 2 * vectors.rows * vectors.dim
    if reads is None or memory is None or not stored:
        return 0.0
    missing = max(0.0, 1 - IN_MEMORY * memory / stored)
    rows = np.random.default_rng(0).integers(0, vectors.rows, ROWS)
    pages = float(np.mean([vectors.pages(row) for row in rows[:, None]]))
    return missing * pages * reads.page


def cold_costs(
    reads: ColdReads | None, index: MeasuredIndex, vectors: Vectors, queries: CalibrationQueries,
    point: OperatingPoint, size: float,
) -> dict[str, float]:  # fmt: skip
    """What ``measured`` of a manifest says of files that are not in memory; nothing where it was not measured.

    ``cold_milliseconds`` is a query whose candidates are all read from disk, ``pages`` how many it reads of
    ``page_milliseconds`` each; ``load_milliseconds`` is reading all codes, ``size`` bytes, once.
    """
    if reads is None:
        return {}
    pages = 0.0
    if point.candidates:
        index.ann.set(point.parameters)
        _, found = index.top(queries.queries[:TIMED], min(point.candidates, index.count))
        pages = float(np.mean([vectors.pages(rows[rows >= 0]) for rows in found]))
    return {
        "cold_milliseconds": point.milliseconds + pages * reads.page,
        "pages": pages,
        "page_milliseconds": reads.page,
        "load_milliseconds": size / reads.rate,
    }


def with_point(measured: Mapping[str, float], before: int, point: OperatingPoint) -> dict[str, float]:
    """``measured`` with what another point changes: pages go with its candidates, of which there were ``before``."""
    found = dict(measured)
    if "cold_milliseconds" in found:
        found["pages"] *= point.candidates / before if before else 1.0
        found["cold_milliseconds"] = point.milliseconds + found["pages"] * found["page_milliseconds"]
    return found


def _faults(path: Path, rng: np.random.Generator) -> list[float]:
    """The mean milliseconds of reading some pages of a file that are not in memory; empty where most of it is."""
    with path.open("rb") as file:
        size = _dropped(file.fileno())
        if size < READS * mmap.PAGESIZE:
            return []
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
            mapped.madvise(mmap.MADV_RANDOM)
            absent = absent_pages(mapped)
            if len(absent) < READS:
                return []
            chosen = rng.choice(absent, READS, replace=False).tolist()
            began = time.perf_counter()
            for page in chosen:
                mapped[page * mmap.PAGESIZE]
            return [1_000 * (time.perf_counter() - began) / READS]


def _rate(path: Path) -> float | None:
    """Bytes a millisecond of reading a file from its start, as far as it is not in memory."""
    with path.open("rb") as file:
        size = _dropped(file.fileno())
        if not size:
            return None
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
            absent = len(absent_pages(mapped))
            began = time.perf_counter()
            for place in range(0, size, mmap.PAGESIZE):
                mapped[place]
            spent = 1_000 * (time.perf_counter() - began)
    return absent * mmap.PAGESIZE / spent if 2 * absent * mmap.PAGESIZE > size else None


def _dropped(descriptor: int) -> int:
    """Ask the system to forget the start of an open file; returns how many bytes that is."""
    size = min(RANGE, os.fstat(descriptor).st_size)
    os.posix_fadvise(descriptor, 0, size, os.POSIX_FADV_DONTNEED)
    return size


def absent_pages(mapped: mmap.mmap) -> np.ndarray:
    """The numbers of the pages of a mapping that are not in memory; empty where the system does not say."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mincore"):
        return np.empty(0, dtype=np.int64)
    whole = np.frombuffer(mapped, dtype=np.uint8)
    states = np.zeros(-(-len(whole) // mmap.PAGESIZE), dtype=np.uint8)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    failed = libc.mincore(whole.ctypes.data, len(whole), states.ctypes.data)
    del whole  # a mapping with views of it cannot be closed
    return np.flatnonzero((states & 1) == 0) if not failed else np.empty(0, dtype=np.int64)
