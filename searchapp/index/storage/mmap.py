"""Files mapped into memory one after the other, so that a row of any of them is found by one addition.

Python's own ``mmap`` puts each file wherever there is room, and holds it open; then a search looks for its candidates
file by file. Here a range of addresses is reserved first and the files are mapped into it, each from a new page on.
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

MAP_FIXED = 0x10  # the same on Linux and macOS; Python does not name it
FAILED = ctypes.c_void_p(-1).value
CAN_MAP = hasattr(mmap, "MAP_ANONYMOUS") and os.name == "posix"  # not on Windows, where rows are read by a call each


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


class MappedFiles:
    """``bytes``: uint8 over all of the files, read-only; file ``i`` begins at ``starts[i]``, the start of a page.

    ``sizes`` are the bytes that each has at least. Raises IndexStoreError for one that is missing or shorter. The files
    are not kept open; what is mapped stays readable when they are removed, as long as ``bytes`` or a view of it lives.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int]) -> None:
        pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
        self.starts = np.concatenate([[0], np.cumsum(pages)]).astype(np.int64)[:-1]
        whole = sum(pages) or mmap.PAGESIZE
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
        for path, size, start in zip(paths, sizes, self.starts.tolist(), strict=True):
            try:
                with path.open("rb") as file:
                    found = os.fstat(file.fileno()).st_size
                    if found < size:
                        raise IndexStoreError(f"{path} has {found:,} bytes, {size:,} were expected; {_mend(path)}")
                    if size:
                        flags = mmap.MAP_SHARED | MAP_FIXED
                        _checked(libc.mmap(address + start, size, mmap.PROT_READ, flags, file.fileno(), 0))
            except OSError as error:
                raise IndexStoreError(f"{path} cannot be read ({error}); {_mend(path)}") from error
        if hasattr(mmap, "MADV_RANDOM"):  # read the pages asked for, not their neighbours
            libc.madvise(address, whole, mmap.MADV_RANDOM)
        self.bytes: np.ndarray = np.ctypeslib.as_array(held)
        self.bytes.flags.writeable = False


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
