"""Books (.epub, versions 2 and 3): chapters in reading order, called as the table of contents calls them.

Source: EPUB 3.3 (W3C 2023), EPUB 2.0.1 (IDPF 2010). A book with DRM is refused; hidden fonts alone are none.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.markup import run, tidy
from searchapp.corpus.formats.parts import Part, compose
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from searchapp.corpus.formats.xhtml import XHTML, page_parts
from searchapp.corpus.formats.zipped import Zipped

MIME = "application/epub+zip"
PREFIXES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://www.idpf.org/2007/opf": "opf",
    "http://www.idpf.org/2007/ops": "epub",
    "http://www.w3.org/2001/04/xmlenc#": "enc",
    "urn:oasis:names:tc:opendocument:xmlns:container": "",
    "http://www.daisy.org/z3986/2005/ncx/": "",
    XHTML: "",
}
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_HIDDEN_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a book, then its blocks; the anchor of a block is the address of its place in the book."""
    with Zipped(path, limits) as package:
        _refuse_drm(package, limits)
        container = _Elements("rootfile", "full-path")
        run(package.chunks("META-INF/container.xml"), container, limits, PREFIXES)
        if not container.values or container.values[0] not in package:
            raise Unreadable("damaged: no book inside")
        main = container.values[0]
        book = _Book(posixpath.dirname(main))
        run(package.chunks(main), book, limits, PREFIXES)
        chapters = [item for id in book.spine if (item := book.items.get(id)) and item.mime in _PAGES]
        yield Facts(
            title=book.value("dc:title"), author=book.value("dc:creator"), date=book.value("dc:date"),
            language=book.value("dc:language"), mime=MIME,
        )  # fmt: skip
        contents = _contents(package, book, limits)
        composer = Composer(limits)
        for item in chapters:
            if "nav" in item.properties or item.href not in package:
                continue
            page = page_parts(package.read(item.href), limits, item.href)
            parts = page.parts.take()
            if parts and parts[0].kind is not BlockKind.HEADING:
                title = contents.get(item.href, "")
                if title:
                    parts.insert(0, Part(BlockKind.HEADING, title, 1, anchor=item.href))
            yield from compose(parts, composer, whole=True)


def _refuse_drm(package: Zipped, limits: Limits) -> None:
    if "META-INF/encryption.xml" in package:
        methods = _Elements("enc:EncryptionMethod", "Algorithm", within="enc:EncryptedData")
        run(package.chunks("META-INF/encryption.xml"), methods, limits, PREFIXES)
        if any(method not in _HIDDEN_FONTS for method in methods.values):
            raise Unreadable("DRM")
    if "META-INF/rights.xml" in package or "META-INF/sinf.xml" in package:
        raise Unreadable("DRM")


def _contents(package: Zipped, book: _Book, limits: Limits) -> dict[str, str]:
    """What the table of contents calls each file; of several places in a file the first."""
    nav = next((item.href for item in book.items.values() if "nav" in item.properties), "")
    ncx = next((item.href for item in book.items.values() if item.mime == "application/x-dtbncx+xml"), "")
    for href in (nav, ncx):
        if href in package:
            handler = _Contents(posixpath.dirname(href))
            try:
                run(package.chunks(href), handler, limits, PREFIXES)
            except Unreadable as error:
                if "damaged" not in error.args[0]:
                    raise
            if handler.titles:
                return handler.titles
    return {}


@dataclass(frozen=True, slots=True)
class _Item:
    href: str
    mime: str
    properties: tuple[str, ...]


@dataclass(slots=True)
class _Book:
    """What the package document lists: files, their order, what the book says of itself."""

    folder: str
    items: dict[str, _Item] = field(default_factory=dict)
    spine: list[str] = field(default_factory=list)
    _values: dict[str, str] = field(default_factory=dict)
    _held: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._held.clear()
        if name == "opf:item":
            href = _resolved(self.folder, attributes.get("href", ""))
            item = _Item(href, attributes.get("media-type", ""), tuple(attributes.get("properties", "").split()))
            self.items[attributes.get("id", "")] = item
        elif name == "opf:itemref":
            self.spine.append(attributes.get("idref", ""))

    def end(self, name: str) -> None:
        if name.startswith("dc:") and (text := tidy("".join(self._held))):
            self._values.setdefault(name, text.replace("\n", " "))
        self._held.clear()

    def text(self, data: str) -> None:
        self._held.append(data)

    def value(self, name: str) -> str:
        return self._values.get(name, "")


class _Contents:
    """Reads the links of a table of contents: ``nav`` of version 3, ``navPoint`` of version 2."""

    def __init__(self, folder: str) -> None:
        self.titles: dict[str, str] = {}
        self._folder = folder
        self._held: list[str] = []
        self._href = self._label = ""
        self._other = False  # in a list of pages or landmarks

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "nav":
            self._other = attributes.get("epub:type", "toc") != "toc"
        elif name == "a":
            self._href = attributes.get("href", "")
            self._held.clear()
        elif name == "navLabel":
            self._held.clear()
        elif name == "content":
            self._name(attributes.get("src", ""), self._label)

    def end(self, name: str) -> None:
        if name == "a" and not self._other:
            self._name(self._href, "".join(self._held))
        elif name == "navLabel":
            self._label = "".join(self._held)

    def text(self, data: str) -> None:
        self._held.append(data)

    def _name(self, href: str, title: str) -> None:
        if title := tidy(title).replace("\n", " "):
            self.titles.setdefault(_resolved(self._folder, href.partition("#")[0]), title)


class _Elements:
    """The values of one attribute of one kind of element, of those inside another where that is named."""

    def __init__(self, name: str, attribute: str, within: str = "") -> None:
        self.values: list[str] = []
        self._name, self._attribute, self._within = name, attribute, within
        self._open = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._open += name == self._within
        if name == self._name and (self._open or not self._within):
            self.values.append(attributes.get(self._attribute, ""))

    def end(self, name: str) -> None:
        self._open -= name == self._within

    def text(self, data: str) -> None:
        pass


def _resolved(folder: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(href)))
