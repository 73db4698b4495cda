"""The main text of a page parsed by Lexbor: what is left out of it, and its elements in order.

The main text is the one element of ``MAIN`` that holds at least ``SHARE`` of the page's text; else the page. Menus are
left out: elements named so that hold hardly more than links.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.page_blocks import BLOCKS, DROPPED, LEAVES, PageBlocks

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MAIN = ("main", '[role="main"]', "article", "#content", "#main", "#main-content", "#bodyContent", ".document")
_ANY_MAIN = ", ".join(MAIN)
SHARE = 0.4
# What may stand inside of a paragraph and is none of its text; whole elements of DROPPED are passed by on the way.
NOISE = "script, style, noscript, template, button, select, textarea, .headerlink, .viewcode-link, .viewcode-back, "
NOISE += ".linenos, .lineno, [role=navigation], [hidden]"
MENUS = ", ".join(f"[{at}*={word}]" for at in ("class", "id") for word in ("nav", "menu", "breadcrumb", "sidebar"))
MENUS += ", div.header, div.footer, #header, #footer, #toc-backref"
LINKS = 0.6  # share of a menu's text that stands in links
_PHRASES = frozenset(
    "b i em strong code tt kbd samp var span small big u s sup sub cite q abbr dfn mark time wbr bdi bdo math".split()
)


def tree_blocks(tree: LexborHTMLParser, blocks: PageBlocks) -> Iterator[Block]:
    """Yield the blocks of a page's main text, without recursion."""
    _clean(tree)
    root = _main(tree)
    todo: list[LexborNode | str] = [] if root is None else [root]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            blocks.end(item)
            continue
        node = item
        tag = node.tag or ""
        if tag == "-text":
            blocks.text(node.text_content or "")
            continue
        if tag in DROPPED:
            continue
        if name := node.id:
            blocks.anchor(name)
        if tag in LEAVES:
            blocks.leaf(tag, node.text())
        elif tag in _PHRASES or tag == "svg":
            blocks.text(node.text() if tag != "svg" else f" {' '.join(each.text() for each in node.css('text'))} ")
        else:
            if tag == "a" and not name:
                blocks.anchor(node.attributes.get("name") or "")
            if tag in BLOCKS:
                blocks.begin(tag)
                todo.append(tag)
                yield from blocks.take()
            todo.extend(reversed(list(node.iter(include_text=True))))
    blocks.close()
    yield from blocks.take()


def _clean(tree: LexborHTMLParser) -> None:
    """Take out what is no text of the page, and put line ends in the place of their tags."""
    for node in tree.css(NOISE):
        node.decompose()
    for node in tree.css(MENUS):
        if node.tag != "body" and _is_menu(node):
            node.decompose()
    for node in tree.css("br"):
        node.insert_before("\n")


def _is_menu(node: LexborNode) -> bool:
    """Whether an element that is named as a menu is one: hardly more than links."""
    text = len(node.text(strip=True))
    return text < 2_000 and sum(len(link.text(strip=True)) for link in node.css("a")) >= LINKS * text


def _main(tree: LexborHTMLParser) -> LexborNode | None:
    """The element that holds the main text."""
    body = tree.body
    if body is None:
        return tree.root
    if tree.css_first(_ANY_MAIN) is None:
        return body
    whole = len(body.text())
    for selector in MAIN:
        found = tree.css(selector)
        if len(found) == 1 and len(found[0].text()) >= SHARE * whole:
            return found[0]
    return body
