"""PowerPoint presentations (.pptx, .pptm, .potx, .ppsx): a slide is a passage of its own, with its notes.

Source: ECMA-376, part 1 (PresentationML, DrawingML), 5th edition 2016. Left out: comments, masters, slide numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.markup import run, tidy
from searchapp.corpus.formats.odf import titled
from searchapp.corpus.formats.opc import core_facts, first_of, relations
from searchapp.corpus.formats.parts import Part, Parts, compose
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from searchapp.corpus.formats.zipped import Zipped

MIME = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
PREFIXES = {
    "http://schemas.openxmlformats.org/presentationml/2006/main": "p",
    "http://purl.oclc.org/ooxml/presentationml/main": "p",
    "http://schemas.openxmlformats.org/drawingml/2006/main": "a",
    "http://purl.oclc.org/ooxml/drawingml/main": "a",
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships": "r",
    "http://purl.oclc.org/ooxml/officeDocument/relationships": "r",
    "http://schemas.openxmlformats.org/officeDocument/2006/math": "m",
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc",
}
_FURNITURE = frozenset(("sldNum", "dt", "ftr", "hdr"))  # placeholders that repeat on every slide
_TITLES = frozenset(("title", "ctrTitle"))


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a presentation, then the blocks of its slides in their order, with ``{"slide": n}``."""
    with Zipped(path, limits) as package:
        main = first_of(relations(package, "", limits), "officeDocument", "ppt/presentation.xml")
        if main not in package:
            raise Unreadable("damaged: no presentation inside")
        order = _Order()
        run(package.chunks(main), order, limits, PREFIXES)
        found = relations(package, main, limits)
        slides = [found[id].target for id in order.ids if id in found and found[id].target in package]
        if len(slides) > limits.pages:
            raise Unreadable(f"{len(slides):,} slides; at most {limits.pages:,} are read")
        yield replace(core_facts(package, limits, MIME), pages=len(slides))
        composer = Composer(limits)
        for number, slide in enumerate(slides, 1):
            parts = titled(_parts(package, slide, limits), number)
            yield from compose(parts, composer, whole=True, where={"slide": number})


def _parts(package: Zipped, slide: str, limits: Limits) -> list[Part]:
    """The parts of a slide, of the diagrams on it, and of its notes."""
    shapes = _Shapes(notes=False)
    run(package.chunks(slide), shapes, limits, PREFIXES)
    parts = shapes.parts.take()
    for relation in relations(package, slide, limits).values():
        if relation.target in package and relation.type in ("diagramData", "notesSlide"):
            more = _Shapes(notes=relation.type == "notesSlide")
            run(package.chunks(relation.target), more, limits, PREFIXES)
            parts += more.parts.take()
    return parts


class _Order:
    """The ids of the relations to the slides, in their order."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "p:sldId":
            self.ids.append(attributes.get("r:id", ""))

    def end(self, name: str) -> None:
        pass

    def text(self, data: str) -> None:
        pass


@dataclass(slots=True)
class _Paragraph:
    texts: list[str] = field(default_factory=list)
    level: int = 0


class _Shapes:
    """Reads the shapes of a slide; of a page of notes, only the notes themselves."""

    def __init__(self, *, notes: bool) -> None:
        self.parts = Parts()
        self._notes = notes
        self._holder: str | None = None  # the type of the placeholder that the shape is; None for another shape
        self._paragraph: _Paragraph | None = None
        self._skipped = 0
        self._in_text = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._skipped or name == "mc:Fallback":
            self._skipped += 1
        elif name == "p:sp":
            self._holder = None
        elif name == "p:ph":
            self._holder = attributes.get("type", "obj")
        elif name == "a:p":
            self._paragraph = _Paragraph()
        elif name == "a:pPr" and self._paragraph is not None:
            level = attributes.get("lvl", "0")
            self._paragraph.level = int(level) if level in "012345678" else 0
        elif name in ("a:t", "m:t"):
            self._in_text = True
        elif name == "a:br" and self._paragraph is not None:
            self._paragraph.texts.append("\n")
        elif name == "a:tab" and self._paragraph is not None:
            self._paragraph.texts.append("\t")
        else:
            self._start_table(name, attributes)

    def _start_table(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "a:tbl":
            self.parts.open_table()
        elif name == "a:tblPr" and attributes.get("firstRow") in ("1", "true"):
            self.parts.set_header()
        elif name == "a:tr":
            self.parts.open_row()
        elif name == "a:tc":
            self.parts.open_cell()

    def end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif name == "a:p":
            self._end_paragraph()
        elif name in ("a:t", "m:t"):
            self._in_text = False
        elif name == "p:sp":
            self._holder = None
        elif name == "a:tbl":
            self.parts.close_table()
        elif name == "a:tr":
            self.parts.close_row()
        elif name == "a:tc":
            self.parts.close_cell()

    def text(self, data: str) -> None:
        if self._in_text and self._paragraph is not None and not self._skipped:
            self._paragraph.texts.append(data)

    def _end_paragraph(self) -> None:
        paragraph, self._paragraph = self._paragraph, None
        text = tidy("".join(paragraph.texts)) if paragraph else ""
        if not paragraph or not text or self._holder in _FURNITURE or (self._notes and self._holder != "body"):
            return
        if self._holder in _TITLES:
            self.parts.put(Part(BlockKind.HEADING, text, 1))
        elif not self._notes and (paragraph.level or self._holder in ("body", "obj")):
            self.parts.put(Part(BlockKind.LIST_ITEM, f"- {text}", paragraph.level + 1))
        else:
            self.parts.put(Part(BlockKind.TEXT, text))
