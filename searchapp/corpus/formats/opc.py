"""What Word and PowerPoint files share: relations between the parts of a package, and what a document says of itself.

Source: ECMA-376, part 2 (open packaging conventions), 5th edition 2021.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from searchapp.corpus.formats.markup import run, tidy
from searchapp.corpus.formats.reading import Facts, Limits
from searchapp.corpus.formats.zipped import Zipped

_PROPERTIES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://schemas.openxmlformats.org/package/2006/metadata/core-properties": "cp",
}


class Relation(NamedTuple):
    """Where a part of a package points: the last word of the relation's type, and the name of another part."""

    type: str
    target: str


def relations(package: Zipped, part: str, limits: Limits) -> dict[str, Relation]:
    """The relations of a part (of the package: ``""``) to others of the package, by id; none where it has none."""
    folder, name = posixpath.split(part)
    listed = posixpath.join(folder, "_rels", f"{name}.rels")
    if listed not in package:
        return {}
    handler = _Relations(folder)
    run(package.chunks(listed), handler, limits, {})
    return handler.found


def first_of(found: Mapping[str, Relation], type: str, otherwise: str = "") -> str:
    """The target of the first relation of a type."""
    return next((relation.target for relation in found.values() if relation.type == type), otherwise)


def core_facts(package: Zipped, limits: Limits, mime: str) -> Facts:
    """Title, author, date and language of the package's core properties; empty where they are missing."""
    part = first_of(relations(package, "", limits), "core-properties")
    values: dict[str, str] = {}
    if part in package:
        handler = _Values()
        run(package.chunks(part), handler, limits, _PROPERTIES)
        values = handler.values
    return Facts(
        title=values.get("dc:title", ""),
        author=values.get("dc:creator", ""),
        date=values.get("dcterms:created", "") or values.get("dcterms:modified", ""),
        language=values.get("dc:language", ""),
        mime=mime,
    )


class _Relations:
    def __init__(self, folder: str) -> None:
        self.found: dict[str, Relation] = {}
        self._folder = folder

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name != "Relationship" or attributes.get("TargetMode") == "External":
            return
        target = unquote(attributes.get("Target", ""))
        full = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"{self._folder}/{target}")
        type = attributes.get("Type", "").rpartition("/")[2]
        self.found[attributes.get("Id", "")] = Relation(type, full.lstrip("/"))

    def end(self, name: str) -> None:
        pass

    def text(self, data: str) -> None:
        pass


class _Values:
    """The text of each element that has no elements in it, by its name; of several the first."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._held: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._held.clear()

    def end(self, name: str) -> None:
        if text := tidy("".join(self._held)).replace("\n", " "):
            self.values.setdefault(name, text)
        self._held.clear()

    def text(self, data: str) -> None:
        self._held.append(data)
