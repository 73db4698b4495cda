"""Word documents (.docx, .docm, .dotx): headings, paragraphs, lists, tables, text boxes, notes.

Source: ECMA-376, part 1 (WordprocessingML), 5th edition 2016. Left out: comments, headers and footers, deleted text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.markup import parse, run, tidy
from searchapp.corpus.formats.opc import core_facts, first_of, relations
from searchapp.corpus.formats.parts import Part, Parts, compose
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from searchapp.corpus.formats.zipped import Zipped

MIME = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PREFIXES = {
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main": "w",
    "http://purl.oclc.org/ooxml/wordprocessingml/main": "w",
    "http://schemas.openxmlformats.org/officeDocument/2006/math": "m",
    "http://purl.oclc.org/ooxml/officeDocument/math": "m",
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc",
}
# Another form of what stands beside it, what was deleted or moved, how things were before a change, and tab stops.
_SKIPPED = frozenset(
    "mc:Fallback w:moveFrom w:del w:rt w:tabs w:pPrChange w:rPrChange w:tblPrChange w:trPrChange w:tcPrChange "
    "w:sectPrChange w:numberingChange w:instrText w:delText w:sectPr".split()
)
_TITLE = -1  # the level of the style Title, which is a heading of level 1
_BREAKS = {"w:tab": "\t", "w:ptab": "\t", "w:br": "\n", "w:cr": "\n", "w:noBreakHyphen": "-"}
_NONE = (None, "0", "")
# Of the styles that Word, pandoc and others have for what is no running text, the names in small letters.
_KINDS = dict.fromkeys(
    ("source code", "html preformatted", "macro text", "code", "code block", "verbatim"), BlockKind.CODE
)
_KINDS |= dict.fromkeys(("quote", "intense quote", "block text"), BlockKind.QUOTE)


@dataclass(frozen=True, slots=True)
class _Style:
    """What a paragraph's style says: its heading level (0: none), whether it is that of a list, of code, a quote."""

    level: int = 0
    listed: bool = False
    kind: BlockKind = BlockKind.TEXT


_PLAIN = _Style()


@dataclass(slots=True)
class _Paragraph:
    """A paragraph that is open."""

    texts: list[str] = field(default_factory=list)
    style: _Style = _PLAIN
    level: int = 0  # of a heading, by the paragraph's own outline level
    number: str | None = None  # of the list, "0" where it takes the paragraph out of its style's list
    indent: int = 0
    notes: list[str] = field(default_factory=list)


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a Word document, then its blocks. A footnote follows the paragraph that refers to it."""
    with Zipped(path, limits) as package:
        main = first_of(relations(package, "", limits), "officeDocument", "word/document.xml")
        if main not in package:
            raise Unreadable("damaged: no Word document inside")
        facts = core_facts(package, limits, MIME)
        found = relations(package, main, limits)
        styles = _Styles()
        if (part := first_of(found, "styles")) in package:
            run(package.chunks(part), styles, limits, PREFIXES)
        notes: dict[str, list[Part]] = {}
        for kind in ("footnote", "endnote"):
            if (part := first_of(found, f"{kind}s")) in package:
                reader = _Body(styles.resolved(), {}, kind)
                run(package.chunks(part), reader, limits, PREFIXES)
                notes |= reader.read_notes
        yield from _blocks(package, main, limits, _Body(styles.resolved(), notes), facts)


def _blocks(package: Zipped, main: str, limits: Limits, body: _Body, facts: Facts) -> Iterator[Facts | Block]:
    """Blocks as they come. A paragraph in the style Title among the first is the title where none is recorded."""
    composer = Composer(limits)
    said = False
    for _ in parse(package.chunks(main), body, limits, PREFIXES):
        if not said:
            yield replace(facts, title=facts.title or body.title)
            said = True
        yield from compose(body.parts.take(), composer)


class _Body:
    """Reads the elements of a document's body; of a part with notes, each note into ``read_notes`` by its id."""

    def __init__(self, styles: Mapping[str, _Style], notes: Mapping[str, list[Part]], note: str = "") -> None:
        self.parts = Parts()
        self.title = ""
        self.read_notes: dict[str, list[Part]] = {}
        self._styles, self._notes, self._note, self._id = styles, notes, note, ""
        self._open: list[_Paragraph] = []
        self._skipped = 0
        self._in_text = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._skipped or name in _SKIPPED:
            self._skipped += 1
        elif act := _STARTS.get(name):
            act(self, attributes)
        elif self._open and name in _BREAKS:
            self._open[-1].texts.append(_BREAKS[name])
        elif self._note and name == f"w:{self._note}":
            self._id = attributes.get("w:id", "")
            self.parts.hold()

    def end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif act := _ENDS.get(name):
            act(self)
        elif self._note and name == f"w:{self._note}":
            self.read_notes[f"{self._note} {self._id}"] = self.parts.release()

    def text(self, data: str) -> None:
        if self._in_text and self._open and not self._skipped:
            self._open[-1].texts.append(data)

    def _start_text(self, attributes: Mapping[str, str]) -> None:
        self._in_text = True

    def _end_text(self) -> None:
        self._in_text = False

    def _start_paragraph(self, attributes: Mapping[str, str]) -> None:
        self._open.append(_Paragraph())
        self.parts.hold()

    def _style(self, attributes: Mapping[str, str]) -> None:
        if self._open:
            self._open[-1].style = self._styles.get(attributes.get("w:val", ""), _PLAIN)

    def _outline(self, attributes: Mapping[str, str]) -> None:
        if self._open:
            self._open[-1].level = _level(attributes)

    def _number(self, attributes: Mapping[str, str]) -> None:
        if self._open:
            self._open[-1].number = attributes.get("w:val")

    def _indent(self, attributes: Mapping[str, str]) -> None:
        if self._open:
            self._open[-1].indent = _whole(attributes.get("w:val"))

    def _refer(self, kind: str, attributes: Mapping[str, str]) -> None:
        if self._open:
            self._open[-1].notes.append(f"{kind} {attributes.get('w:id', '')}")

    def _end_paragraph(self) -> None:
        """Put the paragraph, then what stood in its text boxes, then its notes."""
        inside = self.parts.release()
        paragraph = self._open.pop()
        text = tidy("".join(paragraph.texts))
        level = paragraph.level or paragraph.style.level
        if paragraph.style.kind is BlockKind.CODE and not level:
            self.parts.put_code("".join(paragraph.texts))
        elif text:
            if level == _TITLE:
                self.title = self.title or text.replace("\n", " ")
            self.parts.put(_part(paragraph, text, 1 if level == _TITLE else level))
        for part in inside:
            self.parts.put(part)
        for note in paragraph.notes:
            for part in self._notes.get(note, ()):
                self.parts.put(part)

    def _start_table(self, attributes: Mapping[str, str]) -> None:
        self.parts.open_table()

    def _look(self, attributes: Mapping[str, str]) -> None:
        """Whether the first row is shown as a header: an attribute, in older files a bit of a number."""
        first = attributes.get("w:firstRow")
        try:
            bits = int(attributes.get("w:val", "0"), 16)
        except ValueError:
            bits = 0
        if first in ("1", "true", "on") or (first is None and bits & 0x20):
            self.parts.set_header()

    def _row_header(self, attributes: Mapping[str, str]) -> None:
        if attributes.get("w:val") not in ("0", "false", "off"):
            self.parts.set_row_header()


def _part(paragraph: _Paragraph, text: str, level: int) -> Part:
    if level:
        return Part(BlockKind.HEADING, text, level)
    listed = paragraph.number not in _NONE or (paragraph.style.listed and paragraph.number is None)
    return Part(BlockKind.LIST_ITEM, f"- {text}", paragraph.indent + 1) if listed else Part(paragraph.style.kind, text)


_STARTS: dict[str, Callable[[_Body, Mapping[str, str]], None]] = {
    "w:t": _Body._start_text,
    "m:t": _Body._start_text,
    "w:p": _Body._start_paragraph,
    "w:pStyle": _Body._style,
    "w:outlineLvl": _Body._outline,
    "w:numId": _Body._number,
    "w:ilvl": _Body._indent,
    "w:footnoteReference": lambda body, attributes: body._refer("footnote", attributes),
    "w:endnoteReference": lambda body, attributes: body._refer("endnote", attributes),
    "w:tbl": _Body._start_table,
    "w:tblLook": _Body._look,
    "w:tr": lambda body, attributes: body.parts.open_row(),
    "w:tblHeader": _Body._row_header,
    "w:tc": lambda body, attributes: body.parts.open_cell(),
}
_ENDS: dict[str, Callable[[_Body], None]] = {
    "w:t": _Body._end_text,
    "m:t": _Body._end_text,
    "w:p": _Body._end_paragraph,
    "w:tbl": lambda body: body.parts.close_table(),
    "w:tr": lambda body: body.parts.close_row(),
    "w:tc": lambda body: body.parts.close_cell(),
}


class _Styles:
    """The paragraph styles of a document, each of which may be based on another."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._bases: dict[str, str] = {}
        self._levels: dict[str, int] = {}
        self._listed: set[str] = set()
        self._id = ""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        value = attributes.get("w:val", "")
        if name == "w:style":
            self._id = attributes.get("w:styleId", "") if attributes.get("w:type") == "paragraph" else ""
        elif not self._id:
            return
        elif name == "w:name":
            self._names[self._id] = value.lower()
        elif name == "w:basedOn":
            self._bases[self._id] = value
        elif name == "w:outlineLvl":
            self._levels[self._id] = _level(attributes)
        elif name == "w:numId" and value not in _NONE:
            self._listed.add(self._id)

    def end(self, name: str) -> None:
        if name == "w:style":
            self._id = ""

    def text(self, data: str) -> None:
        pass

    def resolved(self) -> dict[str, _Style]:
        """Each style by its id, with what it inherits."""
        return {id: self._resolve(id) for id in self._names}

    def _resolve(self, id: str) -> _Style:
        level: int | None = None
        listed = False
        kind: BlockKind | None = None
        for _ in range(20):  # styles that are based on one another in a circle end here
            name = self._names.get(id, "")
            if level is None:
                level = self._levels.get(id)
            if level is None and name == "title":
                level = _TITLE
            if level is None and name.startswith("heading ") and name[8:].isdecimal():
                level = min(int(name[8:11]), 9)
            listed = listed or id in self._listed
            kind = kind or _KINDS.get(name)
            if id not in self._bases:
                break
            id = self._bases[id]
        return _Style(level or 0, listed, kind or BlockKind.TEXT)


def _level(attributes: Mapping[str, str]) -> int:
    """A heading's level from 1 of an outline level from 0; 0 for that of body text, which is 9."""
    value = attributes.get("w:val", "")
    return int(value) + 1 if value.isdecimal() and int(value[:4]) < 9 else 0


def _whole(value: str | None) -> int:
    return min(int(value[:4]), 20) if value and value.isdecimal() else 0
