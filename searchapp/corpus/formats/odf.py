"""OpenDocument texts and presentations (.odt, .ott, .odp, .otp, flat .fodt and .fodp).

A slide is a passage of its own, with its notes. Source: OASIS OpenDocument 1.3, part 3. Left out: comments, deleted
text, page headers and footers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.markup import parse, run, tidy
from searchapp.corpus.formats.parts import Part, Parts, compose
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from searchapp.corpus.formats.zipped import Zipped

_SPACE = "urn:oasis:names:tc:opendocument:xmlns:"
PREFIXES = {
    f"{_SPACE}text:1.0": "text",
    f"{_SPACE}table:1.0": "table",
    f"{_SPACE}drawing:1.0": "draw",
    f"{_SPACE}presentation:1.0": "presentation",
    f"{_SPACE}office:1.0": "office",
    f"{_SPACE}style:1.0": "style",
    f"{_SPACE}meta:1.0": "meta",
    f"{_SPACE}manifest:1.0": "manifest",
    "http://purl.org/dc/elements/1.1/": "dc",
}
_SKIPPED = frozenset(
    "office:annotation text:tracked-changes text:note-citation office:styles "
    "office:master-styles office:font-face-decls office:scripts office:settings text:index-title-template "
    "text:sequence-decls text:variable-decls text:ruby-text draw:glue-point office:event-listeners".split()
)
_FURNITURE = frozenset(("header", "footer", "date-time", "page-number"))  # classes of a slide's frames
_MOST_BLANKS = 1_000
_KINDS = {
    "Preformatted_20_Text": BlockKind.CODE, "Source_20_Code": BlockKind.CODE, "Quotations": BlockKind.QUOTE,
}  # fmt: skip


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a text or presentation, then its blocks; a slide's blocks have ``{"slide": n}``."""
    if path.suffix.lower() in (".fodt", ".fodp"):
        yield from _read_flat(path, limits)
        return
    with Zipped(path, limits) as package:
        if "META-INF/manifest.xml" in package:
            manifest = _Manifest()
            run(package.chunks("META-INF/manifest.xml"), manifest, limits, PREFIXES)
            if manifest.encrypted:
                raise Unreadable("password")
        if "content.xml" not in package:
            raise Unreadable("no OpenDocument text inside (damaged, or styles alone)")
        about = _About()
        if "meta.xml" in package:
            run(package.chunks("meta.xml"), about, limits, PREFIXES)
        mime = package.read("mimetype").decode("ascii", "replace").strip() if "mimetype" in package else ""
        yield about.facts(mime)
        yield from _blocks(package.chunks("content.xml"), limits)


def _read_flat(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """A document that is one XML file: it is read twice, as what it says of itself may stand behind its text."""
    about = _About()
    with path.open("rb") as stream:
        run(iter(lambda: stream.read(1 << 16), b""), about, limits, PREFIXES)
        yield about.facts("")
        stream.seek(0)
        yield from _blocks(iter(lambda: stream.read(1 << 16), b""), limits)


def _blocks(chunks: Iterable[bytes], limits: Limits) -> Iterator[Block]:
    composer = Composer(limits)
    body = _Body()
    for _ in parse(chunks, body, limits, PREFIXES):
        yield from compose(body.parts.take(), composer) if not body.slides and not body.in_slide else ()
        while body.slides:
            number, parts = body.slides.pop(0)
            yield from compose(parts, composer, whole=True, where={"slide": number})


@dataclass(slots=True)
class _Paragraph:
    texts: list[str] = field(default_factory=list)
    level: int = 0  # of a heading
    kind: BlockKind = BlockKind.TEXT


class _Body:
    """Reads the elements of a body. Complete slides wait in ``slides``, with their numbers from 1."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.slides: list[tuple[int, list[Part]]] = []
        self.in_slide = False
        self._count = 0
        self._open: list[_Paragraph] = []
        self._skipped = 0
        self._lists = 0
        self._item = False  # the next paragraph is the first of its list item
        self._header_rows = 0
        self._kinds = dict(_KINDS)  # of the styles of paragraphs, and of those that are based on them
        self._titles: list[bool] = []  # whether each open frame of a slide holds its title

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        furniture = name == "draw:frame" and attributes.get("presentation:class") in _FURNITURE
        if self._skipped or name in _SKIPPED or furniture:
            self._skipped += 1
            return
        space, _, local = name.partition(":")
        if space == "text":
            self._start_text(local, attributes)
        elif space == "table":
            self._start_table(local)
        elif name == "style:style":
            if kind := self._kinds.get(attributes.get("style:parent-style-name", "")):
                self._kinds[attributes.get("style:name", "")] = kind
        elif name == "draw:page":
            self.in_slide = True
            self._count += 1
        elif name == "draw:frame":
            self._titles.append(attributes.get("presentation:class") == "title")

    def _start_text(self, local: str, attributes: Mapping[str, str]) -> None:
        if local in ("p", "h"):
            level = _whole(attributes.get("text:outline-level"), 1) if local == "h" else 0
            kind = self._kinds.get(attributes.get("text:style-name", ""), BlockKind.TEXT)
            self._open.append(_Paragraph(level=min(level, 10), kind=kind))
            self.parts.hold()
        elif local == "list":
            self._lists += 1
        elif local == "list-item":
            self._item = True
        elif self._open and local == "s":
            self._open[-1].texts.append(" " * min(_whole(attributes.get("text:c"), 1), _MOST_BLANKS))
        elif self._open and local in ("tab", "line-break"):
            self._open[-1].texts.append("\t" if local == "tab" else "\n")

    def _start_table(self, local: str) -> None:
        if local == "table":
            self.parts.open_table()
        elif local == "table-header-rows":
            self._header_rows += 1
        elif local == "table-row":
            self.parts.open_row(header=self._header_rows > 0)
        elif local == "table-cell":
            self.parts.open_cell()

    def end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        space, _, local = name.partition(":")
        if space == "text":
            self._end_text(local)
        elif space == "table":
            self._end_table(local)
        elif name == "draw:frame":
            self._titles.pop()
        elif name == "draw:page":
            self.in_slide = False
            self.slides.append((self._count, titled(self.parts.take(), self._count)))

    def _end_text(self, local: str) -> None:
        if local in ("p", "h"):
            inside = self.parts.release()
            paragraph = self._open.pop()
            if paragraph.kind is BlockKind.CODE and not paragraph.level:
                self.parts.put_code("".join(paragraph.texts))
            elif text := tidy("".join(paragraph.texts)):
                self.parts.put(self._part(text, paragraph))
            for part in inside:
                self.parts.put(part)
        elif local == "list":
            self._lists -= 1
        elif local == "list-item":
            self._item = False

    def _end_table(self, local: str) -> None:
        if local == "table":
            self.parts.close_table()
        elif local == "table-header-rows":
            self._header_rows -= 1
        elif local == "table-row":
            self.parts.close_row()
        elif local == "table-cell":
            self.parts.close_cell()

    def _part(self, text: str, paragraph: _Paragraph) -> Part:
        level = paragraph.level
        if level or (self._titles and self._titles[-1]):
            return Part(BlockKind.HEADING, text, level or 1)
        if self._lists:
            mark, self._item = "- " if self._item else "", False
            return Part(BlockKind.LIST_ITEM, f"{mark}{text}", self._lists)
        return Part(paragraph.kind, text)

    def text(self, data: str) -> None:
        if self._open and not self._skipped:
            self._open[-1].texts.append(data)


def titled(parts: list[Part], number: int) -> list[Part]:
    """A slide's parts, its title first; one without a title is called by its number, outside the path of headings."""
    titles: list[Part] = []
    others: list[Part] = []
    for is_title, group in groupby(parts, key=lambda part: part.kind is BlockKind.HEADING):
        (titles if is_title and not titles else others).extend(group)
    if titles:
        titles = [Part(BlockKind.HEADING, "\n".join(part.text for part in titles), titles[0].level)]
    elif others:
        titles = [Part(BlockKind.HEADING, f"Slide {number}", 1, label="")]
    return titles + others


class _About:
    """What a document says of itself."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._held: list[str] = []
        self._pages = ""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._held.clear()
        if name == "meta:document-statistic":
            self._pages = attributes.get("meta:page-count", "")

    def end(self, name: str) -> None:
        if name.startswith(("dc:", "meta:")) and (text := tidy("".join(self._held))):
            self._values.setdefault(name, text.replace("\n", " "))
        self._held.clear()

    def text(self, data: str) -> None:
        self._held.append(data)

    def facts(self, mime: str) -> Facts:
        values = self._values
        return Facts(
            title=values.get("dc:title", ""),
            author=values.get("meta:initial-creator", "") or values.get("dc:creator", ""),
            date=values.get("meta:creation-date", "") or values.get("dc:date", ""),
            language=values.get("dc:language", ""),
            mime=mime or "application/vnd.oasis.opendocument.text",
            pages=_whole(self._pages, 0) or None,
        )


class _Manifest:
    """Whether a package is encrypted."""

    def __init__(self) -> None:
        self.encrypted = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.encrypted = self.encrypted or name == "manifest:encryption-data"

    def end(self, name: str) -> None:
        pass

    def text(self, data: str) -> None:
        pass


def _whole(value: str | None, otherwise: int) -> int:
    return int(value[:9]) if value and value.isdecimal() else otherwise
