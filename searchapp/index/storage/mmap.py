"""Files mapped into memory one after the other, so that a row of any of them is found by one addition.

Python's own ``mmap`` puts each file wherever there is room, and holds it open; then a search looks for its candidates
file by file. Here a range of addresses is reserved first and the files are mapped into it, each from a new page on.
Small files behind the others, which would leave a gap before them, are read into memory there instead, without one.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.filesystem import read_at

MAP_FIXED = 0x10  # the same on Linux and macOS; Python does not name it
FAILED = ctypes.c_void_p(-1).value
READ = 1 << 24  # bytes of files read into memory so that they lie right behind those that are mapped
CAN_MAP = hasattr(mmap, "MAP_ANONYMOUS") and os.name == "posix"  # not on Windows, where rows are read by a call each


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


class MappedFiles:
    """``bytes``: uint8 over all of the files, read-only; file ``i`` begins at ``starts[i]``.

    ``sizes`` are the bytes that each has at least. A file that is mapped begins where a page does. Those behind the
    first one that does not fill its last page are read into memory one right after the other, where they have at most
    ``read`` bytes. Raises IndexStoreError for one that is missing or shorter. The files are not kept open; what is
    mapped stays readable when they are removed, as long as ``bytes`` or a view of it lives.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int], read: int = 0) -> None:
        self.starts, mapped = _places(sizes, read)
        end = int(self.starts[-1]) + sizes[-1] if len(sizes) else 0
        whole = _page_end(end) or mmap.PAGESIZE
        libc = _libc()
        try:
            address = _checked(libc.mmap(None, whole, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _unreserved(), -1, 0))
        except OSError as error:
            raise IndexStoreError(
                f"{whole:,} bytes of vectors cannot be mapped ({error}); raise the limit of this process's addresses "
                "(ulimit -v)"
            ) from error
        held = (ctypes.c_ubyte * whole).from_address(address)
        weakref.finalize(held, libc.munmap, address, whole).atexit = False
        joint = int(self.starts[mapped]) // mmap.PAGESIZE * mmap.PAGESIZE if mapped < len(sizes) else whole
        if joint < whole:  # the page in which the last mapped file ends is read as well
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED
            _checked(libc.mmap(address + joint, whole - joint, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0))
        room = memoryview(held).cast("B")
        for path, size, start in zip(paths, sizes, self.starts.tolist(), strict=True):
            try:
                with path.open("rb", buffering=0) as file:
                    found = os.fstat(file.fileno()).st_size
                    if found < size:
                        raise IndexStoreError(f"{path} has {found:,} bytes, {size:,} were expected; {_mend(path)}")
                    kept = max(0, min(size, joint - start))
                    if kept:
                        flags = mmap.MAP_SHARED | MAP_FIXED
                        _checked(libc.mmap(address + start, kept, mmap.PROT_READ, flags, file.fileno(), 0))
                    if kept < size and read_at(file, room[start + kept : start + size], kept) < size - kept:
                        raise OSError("it ended before its end")
            except OSError as error:
                raise IndexStoreError(f"{path} cannot be read ({error}); {_mend(path)}") from error
        if hasattr(mmap, "MADV_RANDOM"):  # read the pages asked for, not their neighbours
            libc.madvise(address, whole, mmap.MADV_RANDOM)
        self.bytes: np.ndarray = np.ctypeslib.as_array(held)
        self.bytes.flags.writeable = False


def _places(sizes: Sequence[int], read: int) -> tuple[np.ndarray, int]:
    """Where each file begins, int64, and how many files are mapped; those behind them are read."""
    pages = [_page_end(size) for size in sizes]
    starts = np.concatenate([[0], np.cumsum(pages)]).astype(np.int64)[: len(sizes)]
    first = next((number + 1 for number, size in enumerate(sizes) if size != pages[number]), len(sizes))
    if not 0 < sum(sizes[first:]) <= read:
        return starts, len(sizes)
    begin = int(starts[first - 1]) + sizes[first - 1]
    starts[first:] = begin + np.concatenate([[0], np.cumsum(sizes[first:])])[:-1]
    return starts, first


def _page_end(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _unreserved() -> int:
    """The flag that lets a range of addresses count as no memory."""
    return 0x4000 if sys.platform.startswith("linux") else 0


def _checked(address: int | None) -> int:
    if address is None or address == FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"no mapping: {os.strerror(number)}")
    return address


def _mend(path: Path) -> str:
    return f"mend it with `searchapp verify {path.parent.parent} --repair`"
