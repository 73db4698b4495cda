"""Zip packages written by hand, and what a reader made of a file as short text."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.reading import Facts, Limits, Reader

LIMITS = Limits()
SHORT = {
    BlockKind.HEADING: "H", BlockKind.TEXT: "T", BlockKind.LIST_ITEM: "L", BlockKind.TABLE_ROW: "R", BlockKind.CODE: "C",
    BlockKind.QUOTE: "Q", BlockKind.SIGNATURE: "S",
}  # fmt: skip
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
ODF = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
    'xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0"'
)
CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="O/b.opf"/></rootfiles></container>'
)


def package(path: Path, parts: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def word(path: Path, body: str, **parts: str) -> Path:
    """A Word document with this body and these further parts of ``word/``."""
    kinds = {"styles": "styles", "footnotes": "footnotes", "endnotes": "endnotes"}
    links = "".join(f'<Relationship Id="{name}" Type="x/{kinds[name]}" Target="{name}.xml"/>' for name in parts)
    content = {
        "word/document.xml": f"<w:document {W}><w:body>{body}</w:body></w:document>",
        "word/_rels/document.xml.rels": f"<Relationships>{links}</Relationships>",
    }
    return package(path, content | {f"word/{name}.xml": text for name, text in parts.items()})


def odf(path: Path, body: str, **parts: str) -> Path:
    content = f"<office:document-content {ODF}><office:body>{body}</office:body></office:document-content>"
    return package(path, {"content.xml": content, **{f"{name}.xml": text for name, text in parts.items()}})


def book(path: Path, *chapters: str, **parts: str) -> Path:
    """A book of these pages; ``nav`` is its table of contents."""
    items = "".join(
        f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters))
    )
    items += (
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        if "nav" in parts
        else ""
    )
    order = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(chapters))))
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>A Book</dc:title><dc:creator>Ann</dc:creator><dc:language>en</dc:language></metadata>"
        f"<manifest>{items}</manifest><spine>{order}</spine></package>"
    )
    pages = {f"O/c{n}.xhtml": text for n, text in enumerate(chapters)}
    meta = {f"META-INF/{name}.xml": text for name, text in parts.items() if name != "nav"}
    nav = {"O/nav.xhtml": parts["nav"]} if "nav" in parts else {}
    return package(path, {"META-INF/container.xml": CONTAINER, "O/b.opf": opf, **pages, **nav, **meta})


def read(reader: Reader, path: Path, limits: Limits = LIMITS) -> tuple[Facts, list[Block]]:
    """The facts of a file, with all notes, and its blocks; checks that the blocks count where they stand."""
    facts, *rest = reader(path, limits)
    assert isinstance(facts, Facts)
    blocks: list[Block] = []
    notes = dict(facts.notes)
    place, line = 0, 1
    for item in rest:
        if isinstance(item, Facts):
            notes |= {what: notes.get(what, 0) + count for what, count in item.notes.items()}
            continue
        assert (item.start, item.end, item.line) == (place, place + len(item.text), line)
        assert item.text.endswith("\n\n") and item.text.strip()
        place, line = item.end, line + item.text.count("\n")
        blocks.append(item)
    return replace(facts, notes=notes), blocks


def shown(blocks: list[Block]) -> list[str]:
    """A line a block: its kind with its level, and its text; a star before what begins a part of its own."""
    return [
        f"{'*' if block.whole else ''}{SHORT[block.kind]}{block.level or ''} {block.text.rstrip()}" for block in blocks
    ]
