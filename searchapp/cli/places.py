"""Where documents can be opened: the path and line of a file, or an address."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from searchapp.index.storage.manifest import Manifest
    from searchapp.search import Hit

ADDRESS = re.compile(r"https?://\S+")
TABLES = ("jsonl", "beir", "csv", "tsv")
PDF = "application/pdf"
BEIR = ("corpus.jsonl", "corpus.jsonl.gz")


@dataclass(frozen=True)
class Spot:
    """A place as it is shown: ``path:line`` as terminals and editors open it, or an address; "" where there is none.

    ``path`` is the file, where it is there, and ``line`` its line, or ``fragment`` the place in it as addresses have
    it: ``page=3``, the name of an anchor.
    """

    text: str = ""
    path: Path | None = None
    line: int | None = None
    fragment: str = ""


def spots(manifest: Manifest, hits: Sequence[Hit]) -> list[Spot]:
    """Where each of some hits can be opened; paths are relative where that is below the current folder.

    Metadata of no file of the index's sources are given as they stand. Records of a table or a list are looked up in
    its file by their ids.
    """
    found = [_spot(manifest, hit) for hit in hits]
    unknown = {hit.id for hit, spot in zip(hits, found, strict=True) if not spot.text}
    records = _records(manifest, unknown) if unknown else {}
    return [records.get(hit.id, spot) if not spot.text else spot for hit, spot in zip(hits, found, strict=True)]


def _spot(manifest: Manifest, hit: Hit) -> Spot:
    file, line, page, anchor = (hit.metadata.get(key) for key in ("file", "line", "page", "anchor"))
    if isinstance(file, str) and file.strip():
        found = next((path for path in _candidates(manifest, hit, file) if path.is_file()), None)
        shown = file if found is None else _shown(found)
        if found is None and isinstance(address := hit.metadata.get("url"), str) and ADDRESS.fullmatch(address):
            shown = address
        if isinstance(page, int) and hit.metadata.get("mime") == PDF:
            return Spot(f"{shown}#page={page}", found, fragment=f"page={page}")
        if isinstance(page, int):
            return Spot(f"{shown}, page {page}", found)
        if isinstance(anchor, str) and anchor and line is None:
            return Spot(f"{shown}#{anchor}", found, fragment=anchor)
        if isinstance(line, int) and not isinstance(line, bool):
            return Spot(f"{shown}:{line}", found, line)
        return Spot(shown, found)
    address = hit.metadata.get("url")
    return Spot(address) if isinstance(address, str) and ADDRESS.fullmatch(address) else Spot()


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


def _records(manifest: Manifest, ids: set[str]) -> dict[str, Spot]:
    """The lines of records, by their ids, in the tables and lists among the sources of the index."""
    tables = [source for source in manifest.sources if source.kind in TABLES]
    if not tables:
        return {}
    from searchapp.corpus.record_lines import record_lines

    found: dict[str, Spot] = {}
    for source in tables:
        path = Path(source.path)
        if not path.exists():
            continue
        if source.kind == "beir":
            path = next((path / name for name in BEIR if (path / name).is_file()), path)
        for identifier, line in record_lines(path, source.kind, ids - found.keys()).items():
            found[identifier] = Spot(f"{_shown(path)}:{line}", path, line)
    return found


def _shown(path: Path) -> str:
    """A path as it is typed here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):  # OSError: the current folder is gone
        return str(path)
