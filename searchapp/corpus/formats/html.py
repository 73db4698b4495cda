"""Pages of HTML: their main text as blocks with headings, anchors, lists, definitions, tables and code.

By selectolax (Lexbor); by the standard library's html.parser where that is not installed, or a page is nested so deep
that Lexbor would take quadratic time. What is main text, ``html_tree`` says; html.parser gives all but menus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.charsets import decode
from searchapp.corpus.formats.html_facts import note, page_facts
from searchapp.corpus.formats.html_stream import PageStream
from searchapp.corpus.formats.html_tree import tree_blocks
from searchapp.corpus.formats.page_blocks import PageBlocks
from searchapp.corpus.formats.reading import Facts, Limits

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

DEPTH = 2_000  # elements in one another from which on a page is left to html.parser
LARGE = 20_000_000  # bytes of a page, likewise: Lexbor takes 20 times as much memory
LONG_TAG = 50_000  # bytes of a tag, likewise
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_XML_CHARSET = re.compile(rb"""^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.:-]{1,40})""")
_TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_VOID = frozenset(b"area base br col embed hr img input link meta param source track wbr p li dd dt td tr th".split())


def read_html(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """The facts and blocks of a page. Raises Unreadable."""
    data = path.read_bytes()
    found = _CHARSET.search(data[:4096]) or _XML_CHARSET.search(data[:200])
    text = decode(data, found[1].decode("ascii") if found else "", marked_up=True)
    return page(text, limits, plain=is_excessive(data))


def page(text: str, limits: Limits, *, plain: bool = False) -> Iterator[Facts | Block]:
    """The facts and blocks of a page that is decoded; ``plain``: by html.parser."""
    if "\0" in text:
        text = text.replace("\0", "")
    blocks = PageBlocks(limits)
    if not plain:
        try:
            from selectolax.lexbor import LexborHTMLParser
        except ImportError:
            plain = True
        else:
            tree = LexborHTMLParser(text)
            yield _tree_facts(tree)
            yield from tree_blocks(tree, blocks)
            return
    parser = PageStream(blocks)
    # Facts come first: the head is read before the body is.
    parser.feed(text)
    parser.close()
    blocks.close()
    yield parser.facts()
    yield from blocks.take()


def is_excessive(data: bytes) -> bool:
    """Whether a page is so large, or nested so deep, or has so long a tag, as no page of people is."""
    if len(data) < 20_000:
        return False
    if len(data) > LARGE:
        return True
    if (
        len(data) > LONG_TAG
        and max(map(len, data.split(b">"))) > LONG_TAG
        and re.search(rb"<[a-zA-Z][^<>]{%d}" % LONG_TAG, data)
    ):
        return True
    ended = data.split(b"</")
    if data.count(b"<") - 2 * len(ended) < DEPTH // 2 and max(part.count(b"<") for part in ended) < DEPTH // 2:
        return False  # nearly all that begins ends, and not much begins in one go
    depth = most = 0
    for match in _TAG.finditer(data):
        if match[2].lower() in _VOID:
            continue
        depth += -1 if match[1] else 1
        depth = max(depth, 0)
        most = max(most, depth)
        if most > DEPTH:
            return True
    return False


def _tree_facts(tree: LexborHTMLParser) -> Facts:
    title = tree.css_first("head title") or tree.css_first("title")
    root = tree.css_first("html")
    meta: dict[str, str] = {}
    for node in tree.css("meta"):
        note(meta, node.attributes)
    language = (root.attributes.get("lang") or root.attributes.get("xml:lang") or "") if root is not None else ""
    return page_facts("" if title is None else title.text(), language, meta)
