"""PDF files by PDFium: paragraphs, list items, code and headings, with their pages.

Lines become paragraphs by the gaps between them, marks of list items, fonts and indents; a paragraph that a page cuts
is whole. Running heads and page numbers are left out. Headings are those of the outline, else told by fonts. Pages
without text (scans) and pages whose font says nothing of its characters are counted.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.pdf_headings import Found, by_fonts, outline_of
from searchapp.corpus.formats.pdf_lines import Line, PageReader
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

SAMPLE = 24  # pages of which the fonts are looked at
NEAR = 6  # pages before and after, among which a running head is looked for
LONGEST_HEAD = 120  # characters of a running head
REPEATED = 3  # times that it stands there
GAP = 1.35  # times the usual distance of lines, from which on a paragraph ends
WITHOUT_TEXT, UNREADABLE_FONT, DAMAGED = "pages without text", "pages in an unreadable font", "pages damaged"
_BULLET = re.compile(r"[•◦‣▪●○∙] *\S")
_ITEM = re.compile(r"(?:[•◦‣▪●○∙·–—*-]|\(?[0-9]{1,3}[.)]|\(?[a-z][.)]|\([ivx]{1,4}\)) +\S")  # noqa: RUF001
_ENDS = re.compile(r"[.!?:;…。！？：][\"')\]”’»]*$")  # noqa: RUF001
_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?")
_NO_TITLE = re.compile(r"untitled|microsoft word - |.*\.(dvi|docx?|tex|pdf|indd|qxd|ps)$|\W*$", re.IGNORECASE)
_PASSWORD = 4  # FPDF_ERR_PASSWORD


def read_pdf(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """The facts and blocks of a PDF. Raises Unreadable for one that is damaged or asks for a password."""
    import pypdfium2 as pdfium

    try:
        document = _opened(path, limits.passwords)
        pages = len(document)
    except pdfium.PdfiumError as error:
        code = getattr(error, "err_code", None)
        raise Unreadable("password" if code == _PASSWORD else "damaged, or no PDF") from error
    try:
        if not pages:
            raise Unreadable("damaged: it has no pages")
        if pages > limits.pages:
            raise Unreadable(f"{pages:,} pages, more than {limits.pages:,}")
        yield _facts(document, pages)
        yield from _Pages(document, pages, limits).blocks()
    finally:
        document.close()


def _opened(path: Path, passwords: Sequence[str]) -> PdfDocument:
    """A document, by the first of the passwords that opens it, if it asks for one. Raises PdfiumError."""
    import pypdfium2 as pdfium

    try:
        return pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) != _PASSWORD:
            raise
        for password in passwords:
            try:
                return pdfium.PdfDocument(path, password=password)
            except pdfium.PdfiumError:
                continue
        raise


def _facts(document: PdfDocument, pages: int) -> Facts:
    given = document.get_metadata_dict()
    title = " ".join(given.get("Title", "").split())
    found = _DATE.match(given.get("CreationDate", ""))
    date = "-".join(part for part in found.groups() if part) if found else ""
    author = " ".join(given.get("Author", "").split())[:200]
    return Facts("" if _NO_TITLE.match(title) else title, author, date, mime="application/pdf", pages=pages)


class _Pages:
    """The pages of one document on their way to blocks."""

    def __init__(self, document: PdfDocument, count: int, limits: Limits) -> None:
        self._document, self._count = document, count
        self._reader = PageReader(document)
        self._known: dict[int, tuple[list[Line], str]] = {}  # pages that were read ahead
        self._paragraphs = _Paragraphs(Composer(limits))
        self._limits = limits
        self._notes: Counter[str] = Counter()

    def blocks(self) -> Iterator[Facts | Block]:
        outline = outline_of(self._document)
        step = -(-self._count // SAMPLE)
        sample = []
        for number in range(step // 2, self._count, step):
            lines, _ = self._known[number] = self._lines(number)
            sample.append(lines)
        self._limits.check_expected(step * sum(len(line.text) for lines in sample for line in lines))
        headings = by_fonts(sample)
        headings.outline = outline
        for number, label, lines in self._without_heads():
            where = {"page_label": label} if label and label != str(number + 1) else None
            self._paragraphs.page(number + 1, where, lines, headings.find(number, lines))
            yield from self._paragraphs.take()
        self._paragraphs.close()
        yield from self._paragraphs.take()
        yield Facts(notes=dict(self._notes))

    def _lines(self, number: int) -> tuple[list[Line], str]:
        if number in self._known:
            return self._known.pop(number)
        import pypdfium2 as pdfium

        try:
            return self._reader.lines(number)
        except pdfium.PdfiumError:
            return [], "damaged"

    def _without_heads(self) -> Iterator[tuple[int, str, list[Line]]]:
        """Number, label and lines of each page, without running heads: lines at its edges that pages near it have."""
        held: deque[tuple[int, str, list[Line], dict[int, tuple[str, ...]]]] = deque()
        met: Counter[str] = Counter()
        at = 0  # of the page at hand, among those held
        for number in range(self._count + NEAR):
            if number < self._count:
                lines, fault = self._lines(number)
                if fault:
                    self._notes[{"text": WITHOUT_TEXT, "font": UNREADABLE_FONT}.get(fault, DAMAGED)] += 1
                label = self._document.get_page_label(number)
                keys = {id(line): _keys(line, (str(number + 1), label)) for line in _edges(lines)}
                held.append((number, label, lines, keys))
                met.update({key for some in keys.values() for key in some})
            if number < NEAR:
                continue
            here, label, lines, keys = held[at]
            heads = {line for line, some in keys.items() if any(met[key] >= REPEATED for key in some)}
            yield here, label, [line for line in lines if id(line) not in heads]
            if at == NEAR:
                met.subtract({key for some in held.popleft()[3].values() for key in some})
            else:
                at += 1


def _keys(line: Line, names: tuple[str, str]) -> tuple[str, ...]:
    """What running heads of pages have in common: the line itself, or that it begins or ends with the page's name."""
    words = line.text.split()
    if len(words) > 1 and len(line.text) < LONGEST_HEAD:
        if words[-1] in names:
            return line.key, "… #"
        if words[0] in names:
            return line.key, "# …"
    return (line.key,)


def _edges(lines: list[Line]) -> list[Line]:
    """The two highest and the two lowest lines of a page."""
    by_height = sorted(lines, key=lambda line: -line.bottom)
    return by_height if len(by_height) <= 4 else [*by_height[:2], *by_height[-2:]]


class _Paragraphs:
    """Puts lines together to blocks; ``take`` gives those that are complete."""

    def __init__(self, composer: Composer) -> None:
        self._compose = composer.block
        self._ready: list[Block] = []
        self._held: list[Line] = []  # the block that is open
        self._kind = BlockKind.TEXT
        self._page = self._end_page = 1
        self._where: dict[str, Any] | None = None
        self._usual = 0.0  # distance of lines on the page at hand

    def take(self) -> list[Block]:
        """The blocks that are complete; they are handed out once."""
        ready, self._ready = self._ready, []
        return ready

    def page(self, number: int, where: dict[str, Any] | None, lines: list[Line], headings: list[Found]) -> None:
        """Take in the next page."""
        self._usual = _usual_distance(lines)
        heads = {found.first: found for found in headings if found.end > found.first}
        named = [found for found in headings if found.end == found.first]
        skip = 0
        fresh = True  # no line of this page is taken yet
        for place, line in enumerate(lines):
            for found in [found for found in named if found.first == place]:
                self._heading(found, found.title, number, where)
                fresh = False
            if place < skip:
                continue
            if place in heads:
                found = heads[place]
                self._heading(found, " ".join(each.text for each in lines[place : found.end]), number, where)
                skip, fresh = found.end, False
                continue
            kind = BlockKind.CODE if line.fixed else BlockKind.LIST_ITEM if _is_item(line) else BlockKind.TEXT
            if self._held and (self._goes_on(line, kind) if fresh else self._belongs(line, kind)):
                self._held.append(line)
                self._end_page = number
            else:
                self.close()
                self._held, self._kind = [line], kind
                self._page = self._end_page = number
                self._where = where
            fresh = False
        for found in [found for found in named if found.first >= len(lines)]:
            self._heading(found, found.title, number, where)

    def _goes_on(self, line: Line, kind: BlockKind) -> bool:
        """Whether the first line of a page goes on with the last paragraph of the page before."""
        last = self._held[-1]
        if self._kind is BlockKind.CODE or kind is not BlockKind.TEXT or abs(line.size - last.size) > 0.08 * last.size:
            return False
        return not _ENDS.search(last.text) and not line.text[:1].isupper()

    def _belongs(self, line: Line, kind: BlockKind) -> bool:
        """Whether a line goes on with the block that is open."""
        last = self._held[-1]
        if kind is BlockKind.CODE or self._kind is BlockKind.CODE:
            return kind is self._kind and 0 <= last.end - line.bottom < 3 * self._usual
        if kind is BlockKind.LIST_ITEM and (
            self._kind is BlockKind.LIST_ITEM or _BULLET.match(line.text) or _ENDS.search(last.text)
        ):
            return False
        if self._kind is BlockKind.LIST_ITEM:
            mark = self._held[0].left
            if line.left < mark - 0.5 * line.size or (last.left > mark + 2 and line.left < mark + 2):
                return False
        if abs(line.size - last.size) > 0.08 * last.size:
            return abs(line.bottom - last.end) < 0.8 * last.size  # a word of another font in the same line
        distance = last.end - line.bottom
        if distance < -0.5 * last.size:  # further up: the next column
            return not _ENDS.search(last.text)
        if distance > GAP * self._usual:
            return False
        indented = line.left > last.left + 0.8 * line.size and len(self._held) > 1
        return not (indented and _ENDS.search(last.text))

    def _heading(self, found: Found, text: str, page: int, where: dict[str, Any] | None) -> None:
        self.close()
        self._ready.append(
            self._compose(BlockKind.HEADING, text, level=found.level, label=found.title, page=page, where=where)
        )

    def close(self) -> None:
        """Complete the block that is open."""
        if not self._held:
            return
        if self._kind is BlockKind.CODE:
            left = min(line.left for line in self._held)
            width = max(1.0, 0.6 * self._held[0].size)
            text = "\n".join(" " * min(40, round((line.left - left) / width)) + line.text for line in self._held)
            text = text.strip("\n")
        else:
            text = " ".join(line.text for line in self._held)
        end = self._end_page if self._end_page != self._page else None
        level = int(self._kind is BlockKind.LIST_ITEM)
        self._held = []
        self._ready.append(
            self._compose(self._kind, text, level=level, page=self._page, where=self._where, end_page=end)
        )


def _is_item(line: Line) -> bool:
    """Whether a line begins with the mark of a list item."""
    return (_BULLET.match(line.text) or _ITEM.match(line.text)) is not None


def _usual_distance(lines: list[Line]) -> float:
    """The distance of lines in the paragraphs of a page, in points."""
    pairs = zip(lines, lines[1:], strict=False)
    gaps = [above.end - below.bottom for above, below in pairs if 0 < above.end - below.bottom < 4 * above.size]
    return min(median(gaps), 1.6 * median(line.size for line in lines)) if gaps else 14.0
