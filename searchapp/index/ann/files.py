"""The file of a FAISS index: written with bounded memory, opened again at once to see that it can be searched, read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.faiss_lib import import_faiss, last_line, set_parameters
from searchapp.index.ann.gpu import sharded
from searchapp.index.ann.rules import AnnConfig
from searchapp.index.ann.searcher import AnnIndex
from searchapp.index.storage.directory import ChecksumWriter

PREFETCHED = 1 << 28  # bytes of an index up to which it is read ahead when it is opened
AHEAD = 1 << 17  # bytes that one request of the kernel's covers at least; it cuts larger ones


def write_flat(draft: ChecksumWriter, blocks: Iterator[np.ndarray], rows: int, dim: int) -> None:
    """Write an exact inner-product index block by block: never more than one block in memory.

    FAISS itself writes a Flat index only from memory. The file is its own header, taken from an empty index of
    FAISS's making with the row count put in (bytes 8 to 16), then the vectors; ``open_ann`` reads it with FAISS and a
    test compares it with the file FAISS writes.
    """
    faiss = import_faiss()
    header = bytearray(faiss.serialize_index(faiss.IndexFlatIP(dim)).tobytes())
    header[8:16] = np.int64(rows).tobytes()
    header[-8:] = np.uint64(rows * dim).tobytes()  # the length of the codes, in float32 numbers
    draft.write(bytes(header))
    for block in blocks:
        draft.write(np.ascontiguousarray(block, dtype="<f4").tobytes())


def write_index(draft: ChecksumWriter, index: Any) -> None:
    """Serialise a FAISS index into a draft, in pieces. What the draft raises comes out here.

    FAISS's buffered writer writes its last piece when it is destroyed, where Python can only print an error; so the
    callback keeps the first error, and it is raised once the writer is gone.
    """
    faiss = import_faiss()
    failed: list[BaseException] = []

    def write(data: bytes) -> int:
        if not failed:
            try:
                draft.write(data)
            except BaseException as error:
                failed.append(error)
        return len(data)

    writer = faiss.PyCallbackIOWriter(write, 1 << 20)
    buffered = faiss.BufferedIOWriter(writer, 1 << 20)
    try:
        faiss.write_index(index, buffered)
    except RuntimeError as error:
        raise IndexStoreError(
            f"this FAISS type cannot be saved ({last_line(error)}); give another (--factory)"
        ) from error
    del buffered
    if failed:
        raise failed[0]


def check_written(path: Path, config: AnnConfig, rows: int, vector: np.ndarray) -> None:
    """Open a file that was written and search it for its first vector.

    Where that fails, remove the file and raise IndexStoreError: FAISS writes some types that it cannot search.
    """
    try:
        opened = open_ann(path, config.parameters)
        fits = opened.rows == rows
        reason = f"{opened.rows} vectors in it, {rows} expected"
        if config.factory == "Flat":  # a search would read the whole file into this process's memory
            fits = fits and np.allclose(opened.vector(0), vector[0], atol=1e-5)
        else:
            fits = fits and opened.search(vector, 1)[1].shape == (1, 1)
    except (RuntimeError, IndexStoreError) as error:
        fits, reason = False, last_line(error)
    if not fits:
        path.unlink(missing_ok=True)
        raise IndexStoreError(
            f"FAISS type {config.factory} (--factory) gives an index that cannot be searched ({reason}); give another"
        )


def read_whole(path: Path) -> Any:
    """Read a FAISS file into memory, to add to it. Raises IndexStoreError when FAISS cannot read it."""
    faiss = import_faiss()
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise IndexStoreError(f"data/{path.name} is no readable FAISS file ({last_line(error)})") from error


def open_ann(path: Path, parameters: dict[str, int], device: str = "cpu") -> AnnIndex:
    """Open a FAISS file memory-mapped; for ``cuda`` on FAISS's GPUs, where it has some that can search the type.

    Raises IndexStoreError when FAISS cannot read it.
    """
    faiss = import_faiss()
    _prefetch(path)
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise IndexStoreError(
            f"data/{path.name} is no readable FAISS file ({last_line(error)}); "
            "run the same `searchapp build` again: it is made anew from the stored vectors"
        ) from error
    set_parameters(index, parameters)
    if device.startswith("cuda"):
        index = sharded(index)
    return AnnIndex(index, parameters)


def _prefetch(path: Path) -> None:
    """Ask the system to read a file ahead, as FAISS maps it for reading at random and waits for each page alone.

    Codes without lists are copied from there as it is opened: of 19 MB not in memory that takes seconds otherwise. A
    file that is not there, or is large, is left alone.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= PREFETCHED:
                for begin in range(0, size, AHEAD):
                    os.posix_fadvise(file.fileno(), begin, AHEAD, os.POSIX_FADV_WILLNEED)
    except OSError:
        return  # FAISS says what is wrong with it
