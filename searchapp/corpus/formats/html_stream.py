"""A page of HTML as html.parser of the standard library sees it, tag by tag, made into blocks.

It is slower than Lexbor and knows no main text, and takes linear time whatever the page. Elements end where HTML says
that they do: an item where the next one begins, a cell with its table.
"""

from __future__ import annotations

from html.parser import HTMLParser

from searchapp.corpus.formats.html_facts import note, page_facts
from searchapp.corpus.formats.page_blocks import DROPPED, PageBlocks
from searchapp.corpus.formats.reading import Facts

# Elements whose ends a page may leave out: what else of their list or table they end where they begin.
_ENDED_BY = {
    "tr": ("tr", "td", "th"), "td": ("td", "th"), "th": ("td", "th"), "dt": ("dt", "dd"), "dd": ("dt", "dd"),
    "li": ("li",),
}  # fmt: skip
_WITHIN = ("table", "dl", "ul", "ol", "menu", "dir")
_VOID = ("input", "embed")  # of those that are left out: they have no end
DEEP = 10_000  # elements in one another, from which on their ends are not waited for


class PageStream(HTMLParser):
    """Feeds a page to its blocks; ``facts`` are known when the page is read."""

    def __init__(self, blocks: PageBlocks) -> None:
        super().__init__(convert_charrefs=True)
        self._blocks = blocks
        self._open: list[str] = []  # lists, tables and what is in them
        self._dropped = ""  # the element that is left out, while it is open
        self._nested = 0  # how many more of its name are open in it
        self._title: list[str] = []
        self._in_title = False
        self._language = ""
        self._meta: dict[str, str] = {}

    def facts(self) -> Facts:
        """What the page says of itself."""
        return page_facts("".join(self._title), self._language, self._meta)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        given = dict(attrs[:200])
        if tag == "html":
            self._language = given.get("lang") or ""
        elif tag == "title":
            self._in_title = not self._title
        elif tag == "meta":
            note(self._meta, given)
        elif tag == "body" and self._dropped == "head":  # a head that never ended
            self._dropped = ""
        if self._dropped:
            self._nested += tag == self._dropped
        elif tag in DROPPED:
            self._dropped, self._nested = ("" if tag in _VOID else tag), 0
        else:
            self._begin(tag)
            if name := given.get("id") or (given.get("name") if tag == "a" else None):
                self._blocks.anchor(name)
            self._blocks.begin(tag)

    def _begin(self, tag: str) -> None:
        """End what the element at hand ends, and keep it where it will be ended so."""
        ended = _ENDED_BY.get(tag)
        if ended is not None:
            place = len(self._open)
            while place and self._open[place - 1] in ended:
                place -= 1
            while len(self._open) > place:
                self._blocks.end(self._open.pop())
        if (ended is not None or tag in _WITHIN) and len(self._open) < DEEP:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag == "title":
            self._in_title = False
        if self._dropped:
            if tag == self._dropped:
                self._nested -= 1
                if self._nested < 0:
                    self._dropped = ""
        elif tag not in _ENDED_BY and tag not in _WITHIN:
            self._blocks.end(tag)
        elif self._is_open(tag):
            while (last := self._open.pop()) != tag:
                self._blocks.end(last)
            self._blocks.end(tag)

    def _is_open(self, tag: str) -> bool:
        """Whether an element of this name began, and if it is an item or cell, in the list or table at hand."""
        for other in reversed(self._open):
            if other == tag:
                return True
            if other in _WITHIN and tag in _ENDED_BY:
                return False
        return False

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that ends where it begins."""
        if tag not in DROPPED:
            super().handle_startendtag(tag, attrs)

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._in_title:
            self._title.append(data)
        elif not self._dropped:
            self._blocks.text(data)
