"""FAISS as a library: its import, the layers of its indexes, its search parameters, its factory strings."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from searchapp.errors import IndexStoreError

EMPTY_TYPE = re.compile(r"(HNSW|IVF|NSG|PQ)0+(?![0-9])")


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
    from importlib import metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


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


def check_factory(factory: str, dim: int) -> None:
    """Raise IndexStoreError when FAISS does not understand a factory string for vectors of ``dim``."""
    if factory in ("auto", "Flat"):
        return
    if EMPTY_TYPE.search(factory):  # FAISS accepts these, and ends the process when they are used
        raise IndexStoreError(
            f"FAISS type {factory!r} (--factory) asks for an index with nothing in it; give a number above 0"
        )
    faiss = import_faiss()
    try:
        faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, AssertionError) as error:
        raise IndexStoreError(
            f"{factory!r} (--factory) is no FAISS index for {dim} dimensions ({last_line(error)}); "
            "give auto, Flat, or a FAISS factory string such as IVF1024,SQ8"
        ) from error


def last_line(error: BaseException) -> str:
    """The last line of an error's text, where FAISS says what it found; the error's type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
