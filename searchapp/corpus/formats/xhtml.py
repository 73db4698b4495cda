"""Parts of a page of (X)HTML from its elements, whoever parses it: chapters of books, HTML messages.

It takes all of a page: no menu is left out, as books have none. ``page_parts`` reads XML by expat, and what is no XML
by the standard library's forgiving parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser

from searchapp.corpus.blocks import BlockKind
from searchapp.corpus.formats.charsets import decoded
from searchapp.corpus.formats.markup import run, tidy
from searchapp.corpus.formats.parts import Part, Parts
from searchapp.corpus.formats.reading import Limits, Unreadable

XHTML = "http://www.w3.org/1999/xhtml"
_SKIPPED = frozenset("script style template svg object iframe noscript rt rp".split())
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    "html body address article aside blockquote caption center dd details dialog div dl dt fieldset figcaption figure "
    "footer form header hgroup hr legend li main menu nav ol p pre section summary table tbody td tfoot th thead tr ul "
    "h1 h2 h3 h4 h5 h6 title".split()
)


def page_parts(data: bytes, limits: Limits, href: str = "") -> PageParts:
    """Read a page. ``href`` is the page's own address, which the anchors of its parts begin with."""
    page = PageParts(href, limits)
    try:
        run([data], page, limits, {XHTML: ""})
    except Unreadable as error:
        if "damaged" not in error.args[0]:
            raise
        page = PageParts(href, limits)
        parser = _Forgiving(page)
        parser.feed(decoded(data))
        parser.close()
    page.close()
    return page


class PageParts:
    """Collects the parts of a page in ``parts``; what it calls itself is in ``title``."""

    def __init__(self, href: str, limits: Limits) -> None:
        self.parts = Parts()
        self.title = ""
        self._href = self._anchor = href
        self._depth = limits.depth
        self._held: list[str] = []
        self._skipped: list[str] = []  # the element that is skipped, once for each of its name that is open
        self._head = False
        self._heading = self._pre = self._quote = self._terms = 0
        self._kind: str = ""  # dt or dd, the last one that began
        self._lists = 0
        self._item = False  # the next part is the first of its list item
        self._grid: list[str] = []  # the table, tr and cell elements that are open

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins; what it ends is completed."""
        if self._skipped:
            if name == self._skipped[0]:
                self._skipped.append(name)
            return
        if name in _SKIPPED:
            self._skipped.append(name)
            return
        if name in _BLOCKS:
            self._flush()
            self._begin(name)
        elif name == "br":
            self._held.append("\n")
        if id := attributes.get("id") or (name == "a" and attributes.get("name")):
            self._anchor = f"{self._href}#{id}"

    def end(self, name: str) -> None:
        """An element ends; of one that is not open nothing follows."""
        if self._skipped:
            if name == self._skipped[0]:
                self._skipped.pop()
        elif name in _BLOCKS:
            self._finish(name)
        elif name == "head":
            self._held.clear()

    def text(self, data: str) -> None:
        """Characters."""
        if not self._skipped:
            self._held.append(data)

    def close(self) -> None:
        """Complete what is open."""
        self._flush()
        self._close_grid("")

    def _begin(self, name: str) -> None:
        self._heading = _HEADINGS.get(name, 0)
        if name == "pre":
            self._pre += 1
        elif name == "blockquote":
            self._quote += 1
        elif name in ("ul", "ol", "menu"):
            self._lists += 1
        elif name == "li":
            self._item = True
        elif name in ("dt", "dd"):
            self._kind = name
        elif name == "dl":
            self._terms += 1
        else:
            self._begin_grid(name)

    def _begin_grid(self, name: str) -> None:
        """Open a part of a table, and close what it ends where the page does not say so."""
        grid = self._grid
        if name == "table":
            if len(grid) > self._depth:
                raise Unreadable(f"tables nested more than {self._depth} deep")
            grid.append(name)
            self.parts.open_table()
        elif name == "tr" and grid:
            self._close_grid("table")
            grid.append(name)
            self.parts.open_row()
        elif name in ("td", "th") and grid:
            if grid[-1] == "td":
                self._close_grid("tr")
            if grid[-1] == "table":
                grid.append("tr")
                self.parts.open_row()
            grid.append("td")
            self.parts.open_cell()
            if name == "th":
                self.parts.set_row_header()

    def _finish(self, name: str) -> None:
        if name == "title":
            self.title = self.title or tidy("".join(self._held)).replace("\n", " ")
            self._held.clear()
            return
        self._flush()
        self._heading = 0
        if name == "pre":
            self._pre = max(0, self._pre - 1)
        elif name == "blockquote":
            self._quote = max(0, self._quote - 1)
        elif name in ("ul", "ol", "menu"):
            self._lists = max(0, self._lists - 1)
        elif name == "li":
            self._item = False
        elif name in ("dt", "dd"):
            self._kind = ""
        elif name == "dl":
            self._terms, self._kind = max(0, self._terms - 1), ""
        elif name == "table" and "table" in self._grid:
            self._close_grid("table")
            self._grid.pop()
            self.parts.close_table()
        elif name == "tr" and self._grid[-1:] != ["table"]:
            self._close_grid("table")
        elif name in ("td", "th") and self._grid[-1:] == ["td"]:
            self._close_grid("tr")

    def _close_grid(self, stop: str) -> None:
        """Close cells, rows and tables up to the innermost element ``stop``, which stays open."""
        while self._grid and self._grid[-1] != stop:
            name = self._grid.pop()
            if name == "td":
                self.parts.close_cell()
            elif name == "tr":
                self.parts.close_row()
            else:
                self.parts.close_table()

    def _flush(self) -> None:
        """Complete the text that is open."""
        raw = "".join(self._held)
        self._held.clear()
        if not raw or raw.isspace():
            return
        if self._pre:
            lines = [line.rstrip() for line in raw.splitlines()]
            self._put(BlockKind.CODE, "\n".join(lines).strip("\n"))
            return
        text = tidy(raw)
        if self._heading:
            self._put(BlockKind.HEADING, text.replace("\n", " "), self._heading)
        elif self._kind == "dt":
            self._put(BlockKind.SIGNATURE, text)
        elif self._lists:
            mark, self._item = "- " if self._item else "", False
            self._put(BlockKind.LIST_ITEM, f"{mark}{text}", min(self._lists, 20))
        else:
            self._put(BlockKind.QUOTE if self._quote else BlockKind.TEXT, text)

    def _put(self, kind: BlockKind, text: str, level: int = 0) -> None:
        depth = 1 if self._kind == "dd" and kind is not BlockKind.HEADING else 0
        self.parts.put(Part(kind, text, level, depth, self._anchor))


class _Forgiving(HTMLParser):
    """Feeds a page from the standard library's parser of HTML, which takes everything."""

    def __init__(self, page: PageParts) -> None:
        super().__init__(convert_charrefs=True)
        self._page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._page.start(tag, {key: value or "" for key, value in attrs})

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._page.end(tag)

    def handle_endtag(self, tag: str) -> None:
        self._page.end(tag)

    def handle_data(self, data: str) -> None:
        self._page.text(data)
