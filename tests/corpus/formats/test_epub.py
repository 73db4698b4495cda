"""Books: order, names of chapters, DRM; pages that are not well-formed."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus.formats.epub import read
from searchapp.corpus.formats.reading import Limits, Unreadable
from searchapp.corpus.formats.xhtml import page_parts
from tests.corpus.formats import packages
from tests.corpus.formats.packages import SHORT, book, shown

PAGE = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title><style>p</style></head><body>{}</body></html>'
NAV = PAGE.format(
    '<nav xmlns:epub="http://www.idpf.org/2007/ops" epub:type="landmarks"><a href="c0.xhtml">Cover</a></nav>'
    '<nav xmlns:epub="http://www.idpf.org/2007/ops" epub:type="toc"><ol><li><a href="c0.xhtml#x">The <b>End</b></a></li></ol></nav>'
)
SPACE = 'xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:e="http://www.w3.org/2001/04/xmlenc#"'


def test_chapters_in_the_order_of_the_spine(tmp_path: Path) -> None:
    last = PAGE.format('<p id="x">fin</p>')
    first = PAGE.format('<h1 id="a">One</h1><p>text</p>')
    facts, blocks = packages.read(read, book(tmp_path / "a.epub", last, first, nav=NAV))
    assert (facts.title, facts.author, facts.language) == ("A Book", "Ann", "en")
    assert shown(blocks) == ["*H1 One", "T text", "*H1 The End", "T fin"]
    assert [block.anchor for block in blocks] == ["O/c1.xhtml#a", "O/c1.xhtml#a", "O/c0.xhtml", "O/c0.xhtml#x"]


def encryption(algorithm: str) -> str:
    return f'<encryption {SPACE}><e:EncryptedData><e:EncryptionMethod Algorithm="{algorithm}"/></e:EncryptedData></encryption>'


def test_drm_is_refused_and_hidden_fonts_are_none(tmp_path: Path) -> None:
    locked = encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc")
    with pytest.raises(Unreadable, match="^DRM$"):
        list(read(book(tmp_path / "a.epub", PAGE.format("x"), encryption=locked), Limits()))
    with pytest.raises(Unreadable, match="^DRM$"):
        list(read(book(tmp_path / "b.epub", PAGE.format("x"), rights="<x/>"), Limits()))
    fonts = encryption("http://www.idpf.org/2008/embedding")
    assert packages.read(read, book(tmp_path / "c.epub", PAGE.format("x"), encryption=fonts))[1]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<ul><li>a<ul><li>b</li></ul></li><li><p>c</p><p>d</p></li></ul>", ["L1 - a", "L2 - b", "L1 - c", "L1 d"]),
        ("<pre>\n  x = 1\n\n  y\n</pre>", ["C   x = 1\n\n  y"]),
        ("<blockquote><p>said</p></blockquote><p>one<br/>two</p>", ["Q said", "T one\ntwo"]),
        ("<dl><dt>bee</dt><dd>an insect</dd></dl><p>x</p>", ["S bee", "T/1 an insect", "T x"]),
        ("<table><tr><th>N</th><th>A</th></tr><tr><td>Ann</td><td><p>7</p></td></tr></table>", ["R1 N | A", "R Ann | 7"]),
        ("<table><tr><td>a<table><tr><td>b</td></tr></table></td></tr></table>", ["R a b"]),
        ("<h2>Big <i>words</i></h2>a<script>no</script>b<svg><title>t</title></svg>", ["H2 Big words", "T ab"]),
        # what is not well-formed
        ("<p>one<p>two<br>three & four", ["T one", "T two\nthree & four"]),
        ("<table><tr><td>a<td>b<tr><td>c</table></p></div>after", ["R a | b", "R c", "T after"]),
        ("<td>lost</td></tr></table></td>x<li>item</ul></ul>", ["T lost", "T x", "T item"]),
    ],
)  # fmt: skip
def test_pages(page: str, expected: list[str]) -> None:
    parts = page_parts(PAGE.format(page).encode(), Limits()).parts.take()
    assert [f"{SHORT[p.kind]}{p.level or ''}{'/1' if p.depth else ''} {p.text}" for p in parts] == expected


def test_deep_tables_that_are_no_xml_are_refused() -> None:
    with pytest.raises(Unreadable, match="nested more than"):
        page_parts(b"<br><table><td>" * 20_000, Limits())
