"""The FAISS index over reduced vectors: choice of type, training, memory-bounded writing, search.

Row numbers are the FAISS ids. An index holds nothing that the segments do not: it can always be built again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.rescore import ordered
from searchapp.index.ann.rules import Choice, lists_in
from searchapp.index.storage.directory import Draft

if TYPE_CHECKING:
    from searchapp.index.ann.gpu import ExactSearch

TRAINING_ROWS_A_LIST = 40  # FAISS warns below 39
TRAINING_ROWS = 50_000  # for codebooks and quantiser ranges
TRAINING_ROWS_FEW = 8_192  # for 1-bit codes, which need no more than a mean, and codebooks of 16 entries
TRAINING_BYTES = 2 << 30
EMPTY_TYPE = re.compile(r"(HNSW|IVF|NSG|PQ)0+(?![0-9])")
SMALL_BATCH = 16  # queries below which threads cost more than they bring


@cache
def import_faiss() -> Any:
    """Import faiss, or say in one sentence what is missing: neither wheel, or both at once.

    Kept, as looking at the installed packages takes longer than a search.
    """
    installed = [name for name in ("faiss-cpu", "faiss-gpu") if _is_installed(name)]
    if len(installed) == 2:
        raise IndexStoreError(
            "faiss-cpu and faiss-gpu are both installed and overwrite each other; uninstall both, then install "
            "searchapp[cpu] or searchapp[gpu]"
        )
    try:
        import faiss
    except ImportError as error:
        raise IndexStoreError(
            f"faiss cannot be imported ({error}); install it with searchapp[cpu] or searchapp[gpu]"
        ) from error
    return faiss


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_factory(factory: str, dim: int) -> None:
    """Raise IndexStoreError when FAISS does not understand a factory string for vectors of ``dim``."""
    if factory in ("auto", "Flat"):
        return
    if EMPTY_TYPE.search(factory):  # FAISS accepts these, and ends the process when they are used
        raise IndexStoreError(f"--factory {factory!r} asks for an index with nothing in it; give a number above 0")
    faiss = import_faiss()
    try:
        faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, AssertionError) as error:
        raise IndexStoreError(
            f"--factory {factory!r} is no FAISS index for {dim} dimensions ({_last_line(error)}); "
            "give auto, Flat, or a FAISS factory string such as IVF1024,SQ8"
        ) from error


def write_flat(draft: Draft, blocks: Iterator[np.ndarray], rows: int, dim: int) -> None:
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


def train(choice: Choice, sample: np.ndarray, device: str = "cpu") -> Any:
    """Make and train an index on a random sample, float32 (n, dim). Raises IndexStoreError with too few rows."""
    from searchapp.index.ann.gpu import train_on
    from searchapp.index.ann.kmeans import hush

    faiss = import_faiss()
    index = faiss.index_factory(sample.shape[1], choice.factory, faiss.METRIC_INNER_PRODUCT)
    hush(index)
    try:
        train_on(index, sample, device)
    except RuntimeError as error:
        raise IndexStoreError(
            f"--factory {choice.factory} cannot be trained on {len(sample)} vectors ({_last_line(error)}); "
            "give fewer lists, or --factory Flat"
        ) from error
    return index


def training_rows(factory: str, dim: int) -> int:
    """How many random rows a type over ``dim`` dimensions is trained on: few enough to be held in memory."""
    least = TRAINING_ROWS_FEW if "RaBitQ" in factory or factory.endswith("x4fs") else TRAINING_ROWS
    wanted = max(least, TRAINING_ROWS_A_LIST * lists_in(factory))
    return min(wanted, TRAINING_BYTES // (4 * dim))


def add(choice: Choice, index: Any, blocks: Iterator[np.ndarray]) -> None:
    """Add all vectors, block by block. Raises IndexStoreError for a type that cannot number its vectors by row."""
    try:
        for block in blocks:
            index.add(block)
    except RuntimeError as error:
        raise IndexStoreError(
            f"--factory {choice.factory} cannot take the vectors ({_last_line(error)}); give another type, or Flat"
        ) from error


def write_index(draft: Draft, index: Any) -> None:
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
            f"this FAISS type cannot be saved ({_last_line(error)}); give another --factory"
        ) from error
    del buffered
    if failed:
        raise failed[0]


def prove(path: Path, choice: Choice, rows: int, vector: np.ndarray) -> None:
    """Open what was written and look for its first vector; where that fails, remove it and raise IndexStoreError."""
    try:
        opened = open_ann(path, choice.parameters)
        fits = opened.rows == rows
        reason = f"{opened.rows} vectors in it, {rows} expected"
        if choice.factory == "Flat":  # a search would read the whole file into this process's memory
            fits = fits and np.allclose(opened.vector(0), vector[0], atol=1e-5)
        else:
            fits = fits and opened.search(vector, 1)[1].shape == (1, 1)
    except (RuntimeError, IndexStoreError) as error:
        fits, reason = False, _last_line(error)
    if not fits:
        path.unlink(missing_ok=True)
        raise IndexStoreError(
            f"--factory {choice.factory} gives an index that cannot be searched ({reason}); give another"
        )


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


class AnnIndex:
    """A FAISS index opened for searching."""

    def __init__(self, index: Any, parameters: dict[str, int]) -> None:
        self._faiss = import_faiss()
        self._index = index
        self._parameters = parameters

    @property
    def rows(self) -> int:
        """Vectors in the index."""
        return int(self._index.ntotal)

    def vector(self, row: int) -> np.ndarray:
        """The vector of a row as the index has it, float32 (dim,)."""
        vector: np.ndarray = self._index.reconstruct(row)
        return vector

    @property
    def filters(self) -> bool:
        """Whether a row mask can be handed to this type's search."""
        faiss, inner = self._faiss, layers(self._index)[-1]
        if isinstance(inner, faiss.IndexIVF | faiss.IndexHNSW):
            return True
        return isinstance(inner, faiss.IndexFlatCodes) and not isinstance(inner, faiss.IndexFastScan)

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query by inner product: scores float32 and rows int64, both (n, k); -1 for none.

        ``allowed`` is a boolean mask over the rows; only where ``filters`` is true.
        """
        faiss = self._faiss
        before = faiss.omp_get_max_threads()
        if before > 1 and len(queries) < SMALL_BATCH:
            faiss.omp_set_num_threads(1)
        try:
            scores, rows = self._index.search(queries, k, params=self._search_parameters(allowed))
        finally:
            faiss.omp_set_num_threads(before)
        return scores, rows

    def set(self, parameters: dict[str, int]) -> None:
        """Take other search parameters."""
        set_parameters(self._index, parameters)
        self._parameters = parameters

    def _search_parameters(self, allowed: np.ndarray | None) -> Any:
        """FAISS's search parameters for a mask, one for each layer of the index; None without a mask."""
        if allowed is None:
            return None
        faiss = self._faiss
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        *outer, inner = layers(self._index)
        wider = len(allowed) / max(1, int(allowed.sum()))  # so that as many rows are met that pass as without a mask
        if isinstance(inner, faiss.IndexIVF):
            lists = min(inner.nlist, math.ceil(wider * self._parameters.get("nprobe", inner.nprobe)))
            parameters = faiss.SearchParametersIVF(nprobe=lists, sel=selector)
        elif isinstance(inner, faiss.IndexHNSW):
            breadth = min(self.rows, math.ceil(wider * self._parameters.get("efSearch", inner.hnsw.efSearch)))
            parameters = faiss.SearchParametersHNSW(efSearch=breadth, sel=selector)
        else:
            parameters = faiss.SearchParameters(sel=selector)
        for _ in outer:
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        return parameters


def shortlist(
    stage: AnnIndex | ExactSearch, queries: np.ndarray, depth: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The best allowed rows by the index's own scores; more are asked for where its type takes no mask."""
    covered = stage.rows
    if allowed is None or stage.filters:
        return stage.search(queries, min(depth, covered), allowed)
    there = int(allowed.sum())
    asked = min(covered, math.ceil(1.2 * depth * covered / max(1, there)))
    while True:
        scores, rows = stage.search(queries, asked)
        rows = np.where((rows >= 0) & allowed[np.maximum(rows, 0)], rows, -1)
        if asked == covered or ((rows >= 0).sum(1) >= min(depth, there)).all():
            return ordered(scores, rows, depth)
        asked = min(covered, 4 * asked)


def layers(index: Any) -> list[Any]:
    """An index and those that its vectors are passed on to after a transformation, the outermost first."""
    faiss = import_faiss()
    layers = [index]
    while isinstance(layers[-1], faiss.IndexPreTransform):
        layers.append(faiss.downcast_index(layers[-1].index))
    return layers


def set_parameters(index: Any, parameters: dict[str, int]) -> None:
    """Set search parameters by FAISS's names, such as nprobe and efSearch, wherever in the index they belong."""
    space = import_faiss().ParameterSpace()
    for name, value in parameters.items():
        space.set_index_parameter(index, name, value)


def read_whole(path: Path) -> Any:
    """Read a FAISS file into memory, to add to it. Raises IndexStoreError when FAISS cannot read it."""
    faiss = import_faiss()
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise IndexStoreError(f"data/{path.name} is no readable FAISS file ({_last_line(error)})") from error


def open_ann(path: Path, parameters: dict[str, int], device: str = "cpu") -> AnnIndex:
    """Open a FAISS file memory-mapped; for ``cuda`` on FAISS's GPUs, where it has some that can search the type.

    Raises IndexStoreError when FAISS cannot read it.
    """
    faiss = import_faiss()
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise IndexStoreError(
            f"data/{path.name} is no readable FAISS file ({_last_line(error)}); "
            "run the same `searchapp build` again: it is made anew from the stored vectors"
        ) from error
    set_parameters(index, parameters)
    if device.startswith("cuda"):
        from searchapp.index.ann.gpu import sharded

        index = sharded(index)
    return AnnIndex(index, parameters)
