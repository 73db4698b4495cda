"""Where a document can be opened: the path and line of a file, or an address."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from searchapp.index.storage.manifest import Manifest
    from searchapp.search import Hit

ADDRESS = re.compile(r"https?://\S+")


def place_of(manifest: Manifest, hit: Hit) -> str:
    """``path:line`` as terminals and editors open it, relative where that is below the current folder; or the address.

    Metadata of no file of the index's sources are given as they stand; "" where there are none.
    """
    file, line, page = (hit.metadata.get(key) for key in ("file", "line", "page"))
    if isinstance(file, str) and file.strip():
        found = next((path for path in _candidates(manifest, hit, file) if path.is_file()), None)
        shown = file if found is None else _shown(found)
        if isinstance(page, int):
            return f"{shown}, page {page}"
        return f"{shown}:{line}" if isinstance(line, int) and not isinstance(line, bool) else shown
    address = hit.metadata.get("url")
    return address if isinstance(address, str) and ADDRESS.fullmatch(address) else ""


def _candidates(manifest: Manifest, hit: Hit, file: str) -> Iterator[Path]:
    """The paths that a hit's file can have by the sources of the index."""
    if "\0" in file:
        return
    name = hit.id.rpartition("#")[0] or hit.id
    for source in manifest.sources:
        if source.kind == "folder" and name in (f"{source.label}/{file}", file):
            yield Path(source.path) / file
        elif source.kind == "text" and name in (source.label, file):
            yield Path(source.path)
        elif source.kind == "python":
            yield Path(sysconfig.get_paths()["stdlib"]) / file


def _shown(path: Path) -> str:
    """A path as it is typed here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):  # OSError: the current folder is gone
        return str(path)
