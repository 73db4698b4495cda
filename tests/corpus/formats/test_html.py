"""Pages of HTML: what becomes of their elements, encodings and faults, by both parsers."""

from __future__ import annotations

import codecs
import time
from pathlib import Path

import pytest

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.html import is_excessive, page, read_html
from searchapp.corpus.formats.reading import Facts, Limits, Unreadable

K = BlockKind


def blocks(text: str, *, plain: bool = False) -> list[Block]:
    return [item for item in page(text, Limits(), plain=plain) if isinstance(item, Block)]


def seen(text: str, *, plain: bool = False) -> list[tuple[BlockKind, str]]:
    return [(block.kind, block.text.rstrip("\n")) for block in blocks(text, plain=plain)]


both = pytest.mark.parametrize("plain", [False, True])


@both
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<p>a <b>b</b>c\n d<br>e&amp;&#228;</p>", [(K.TEXT, "a bc d e&ä")]),
        ("<div>a<p>b</p>c<div>d</div></div>", [(K.TEXT, "a"), (K.TEXT, "b"), (K.TEXT, "c"), (K.TEXT, "d")]),
        ("<h2>T <i>u</i></h2>x", [(K.HEADING, "T u"), (K.TEXT, "x")]),
        ("<pre>\n  a\n\n b \n</pre>", [(K.CODE, "  a\n\n b")]),
        ("<ul><li>a<li><p>b</p><p>c</p></ul>", [(K.LIST_ITEM, "- a"), (K.LIST_ITEM, "- b"), (K.TEXT, "c")]),
        ("<ol><li>a<ul><li>b</li></ul></li><li>c</ol>", [(K.LIST_ITEM, "1. a"), (K.LIST_ITEM, "- b"), (K.LIST_ITEM, "2. c")]),
        ("<dl><dt>f(x)<dd>says<dl><dt>y<dd>more</dl></dl>",
         [(K.SIGNATURE, "f(x)"), (K.TEXT, "says"), (K.SIGNATURE, "y"), (K.TEXT, "more")]),
        ("<blockquote><p>q</p></blockquote>", [(K.QUOTE, "q")]),
        ("<table><tr><th>A<th>B<tr><td>1<td><p>2</p><tr><td> <td></table>", [(K.TABLE_ROW, "A | B"), (K.TABLE_ROW, "1 | 2")]),
        ("<table><tr><td>menu<td><h1>H</h1><p>text</p></td></tr></table>", [(K.TEXT, "menu"), (K.HEADING, "H"), (K.TEXT, "text")]),
        ("a<script>if (a<b) {}</script>b<style>x{}</style><noscript>no</noscript>c", [(K.TEXT, "abc")]),
        ("<nav><a>x</a></nav><p>y</p><footer>z</footer>", [(K.TEXT, "y")]),
        ("<select><option>a</select><button>b</button><textarea>c</textarea><p>d", [(K.TEXT, "d")]),
        ("<p>a<p>b", [(K.TEXT, "a"), (K.TEXT, "b")]),
        ("", []),
        ("<p>\0a", [(K.TEXT, "a")]),
        ("<svg><style>x</style><text>ON</text></svg>", [(K.TEXT, "ON")]),
    ],
)  # fmt: skip
def test_elements_become_blocks(text: str, found: list[tuple[BlockKind, str]], plain: bool) -> None:
    if plain and "<svg>" in text:
        pytest.skip("html.parser takes what stands in a picture as it is")
    assert seen(f"<html><body>{text}</body></html>", plain=plain) == found


@both
def test_blocks_put_end_to_end_are_the_text_and_places_count_in_it(plain: bool) -> None:
    found = blocks("<h1>A</h1><p>b</p><pre>c\nd</pre><p>e", plain=plain)
    text = "".join(block.text for block in found)
    assert [text[block.start : block.end] for block in found] == [block.text for block in found]
    lines = text.split("\n")
    assert ["\n".join(lines[block.line - 1 : block.end_line]) for block in found] == ["A", "b", "c\nd", "e"]


@both
def test_a_place_is_linked_to_by_the_nearest_name(plain: bool) -> None:
    text = '<section id="s"><h1>A</h1><p>b</p><a name="old"></a><h2>C</h2><p id="p">d</p><dl><dt id="f">f<dd>g</dl></section>'
    assert [block.anchor for block in blocks(text, plain=plain)] == ["s", "", "old", "p", "f", ""]


@both
def test_levels_depths_and_headers(plain: bool) -> None:
    text = "<h3>A</h3><ul><li>b<ul><li>c</ul></ul><dl><dt>d<dd>e<pre>f</pre></dl><table><tr><th>h<th>i<tr><td>1<td>2</table>"
    found = blocks(text, plain=plain)
    assert [(block.level, block.depth) for block in found] == [
        (3, 0), (1, 0), (2, 0), (0, 0), (0, 1), (0, 1), (1, 0), (0, 0),
    ]  # fmt: skip


@both
def test_facts(plain: bool) -> None:
    text = """<html lang="de"><head><title> A
    title</title><meta name=author content="A. B."><meta property="article:published_time" content="2021-02-03">
    <meta name="date" content="yesterday"></head><body>x</body></html>"""
    facts = next(item for item in page(text, Limits(), plain=plain) if isinstance(item, Facts))
    assert (facts.title, facts.author, facts.language) == ("A title", "A. B.", "de")
    assert facts.date in ("", "2021-02-03")  # the first name that is known wins, where it is a date


def test_main_text_is_taken_where_it_is_most_of_the_page() -> None:
    rest = "<div class=x>" + "other words " * 20 + "</div>"
    main = "<main><p>" + "main words " * 20 + "</p></main>"
    assert seen(rest + main) == [(K.TEXT, ("main words " * 20).strip())]
    assert len(seen(rest * 4 + main)) == 5  # less than 40 % of the page: not left alone
    assert len(seen(main + main + rest)) == 3  # two of them: neither


def test_menus_are_left_out_by_name_where_they_are_links() -> None:
    links = "".join(f"<li><a href=x>link {number}</a>" for number in range(9))
    text = (
        f"<div class='topnav'><ul>{links}</ul></div><div class='navy'><p>A text about navies, without a link.</p></div>"
    )
    assert seen(text) == [(K.TEXT, "A text about navies, without a link.")]


@pytest.mark.parametrize(
    ("head", "codec", "text"),
    [
        ("", "utf-8", "käse → 日本"),
        ("<meta charset='windows-1251'>", "cp1251", "Привет, мир"),
        ("<meta http-equiv=content-type content='text/html; charset=Shift_JIS'>", "shift_jis", "日本語の文章"),
        ("<meta charset=iso-8859-1>", "utf-8", "wrongly declared: käse"),
        ("<meta charset=iso-8859-1>", "cp1252", "“quoted” – käse"),
        ("<meta charset=iso-2022-jp>", "iso2022_jp", "日本語"),
        ("<meta charset=nonsense>", "utf-8", "käse"),
        ("", "cp1252", "Der Käse aus dem schönen Süden schmeckt größeren Mäusen überall, sagt der Bäcker."),
    ],
)
def test_encodings(tmp_path: Path, head: str, codec: str, text: str) -> None:
    (tmp_path / "a.html").write_bytes(f"<html><head>{head}</head><body><p>{text}</p>".encode(codec))
    _, block = read_html(tmp_path / "a.html", Limits())
    assert isinstance(block, Block) and block.text.strip() == text


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF8, "utf-8"),
        (b"", "utf-16-le"),
    ],
)
def test_marks_of_byte_order(tmp_path: Path, mark: bytes, codec: str) -> None:
    (tmp_path / "a.html").write_bytes(mark + "<html><body><p>käse</p></body></html>".encode(codec))
    assert [item.text.strip() for item in read_html(tmp_path / "a.html", Limits()) if isinstance(item, Block)] == [
        "käse"
    ]


@pytest.mark.parametrize("count", [3_000, 100_000])
@pytest.mark.parametrize("tag", ["div", "b", "table><tr><td", "blockquote"])
def test_nesting_without_bound_is_read_in_linear_time(tmp_path: Path, tag: str, count: int) -> None:
    (tmp_path / "a.html").write_text("<p>before" + f"<{tag}>" * count + "in it")
    began = time.process_time()
    text = " ".join(item.text for item in read_html(tmp_path / "a.html", Limits()) if isinstance(item, Block))
    assert "before" in text and "in it" in text
    assert time.process_time() - began < 4


def test_a_tag_of_200_000_attributes(tmp_path: Path) -> None:
    attributes = " ".join(f"a{number}=1" for number in range(200_000))
    (tmp_path / "a.html").write_text(f"<p>before<div {attributes}>in it</div>")
    began = time.process_time()
    text = " ".join(item.text for item in read_html(tmp_path / "a.html", Limits()) if isinstance(item, Block))
    assert "before" in text and "in it" in text
    assert time.process_time() - began < 4


def test_what_is_excessive() -> None:
    assert not is_excessive(b"<p>" * 20_000)  # they end one another
    assert not is_excessive(b"<div>a</div>\n" * 20_000)
    assert not is_excessive(b"<br><img src=a><div><b>x</b></div>" * 20_000)
    assert is_excessive(b"<div>" * 10_000)
    assert is_excessive(b"<a " + b"x " * 30_000 + b">")
    assert is_excessive(b"<p>word</p>" * 2_000_000)  # 22 MB


@both
@pytest.mark.parametrize(
    "text",
    [
        "<!-- never ends <p>a",
        "<script>never ends <p>a",
        "<p>a</div></li></td></tr></dl>b",
        "<tr><td>a</td></tr><td>b",
        "</ul><li>a<dd>b</dd></dd></dd><p>c",
    ],
)
def test_what_is_no_good_html_breaks_nothing(text: str, plain: bool) -> None:
    for block in blocks(f"<p>first</p>{text}", plain=plain):
        assert block.text.strip() and block.depth >= 0


def test_too_much_text_is_refused() -> None:
    with pytest.raises(Unreadable, match="more than 1,000 characters of text"):
        list(page("<p>" + "word " * 500, Limits(characters=1_000)))
