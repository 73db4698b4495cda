"""OpenDocument texts and presentations, made by hand after the standard."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus.formats.odf import read
from searchapp.corpus.formats.reading import Limits, Unreadable
from tests.corpus.formats import packages
from tests.corpus.formats.packages import ODF, odf, shown

BODY = (
    '<office:text><text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:h text:outline-level="2">Life</text:h>'
    '<text:p>They<text:s text:c="3"/>fly<text:line-break/>and<text:tab/>hum<office:annotation><text:p>a comment</text:p>'
    "</office:annotation>.<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>the note</text:p>"
    "</text:note-body></text:note></text:p><text:list><text:list-item><text:p>honey</text:p><text:p>more</text:p><text:list>"
    "<text:list-item><text:p>dark</text:p></text:list-item></text:list></text:list-item></text:list>"
    "<text:p><draw:frame><draw:text-box><text:p>in the box</text:p></draw:text-box></draw:frame>outside</text:p>"
    "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>Name</text:p></table:table-cell>"
    "<table:table-cell><text:p>Age</text:p></table:table-cell></table:table-row></table:table-header-rows><table:table-row>"
    '<table:table-cell table:number-columns-repeated="1000000"/><table:table-cell><text:p>7</text:p><text:p>or 8</text:p>'
    "</table:table-cell></table:table-row></table:table></office:text>"
)
EXPECTED = [
    "H2 Life", "T They fly\nand hum.", "T the note", "L1 - honey", "L1 more", "L2 - dark", "T outside", "T in the box",
    "R1 Name | Age", "R | 7 or 8",
]  # fmt: skip
META = (
    f'<office:document-meta {ODF} xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:meta="urn:oasis:names:tc:opendocument:xmlns:meta:1.0">'
    "<office:meta><dc:title>On Bees</dc:title><meta:initial-creator>Ann</meta:initial-creator><dc:date>2024-05-06</dc:date>"
    '<meta:document-statistic meta:page-count="12"/></office:meta></office:document-meta>'
)


def test_a_text(tmp_path: Path) -> None:
    facts, blocks = packages.read(read, odf(tmp_path / "a.odt", BODY, meta=META))
    assert (facts.title, facts.author, facts.date, facts.pages) == ("On Bees", "Ann", "2024-05-06", 12)
    assert shown(blocks) == EXPECTED


def test_a_flat_text(tmp_path: Path) -> None:
    meta = META.partition(">")[2].rpartition("<")[0]
    spaces = META.partition(">")[0].partition(" ")[2]
    (tmp_path / "a.fodt").write_text(
        f"<office:document {spaces}>{meta}<office:body>{BODY}</office:body></office:document>"
    )
    facts, blocks = packages.read(read, tmp_path / "a.fodt")
    assert (facts.title, shown(blocks)) == ("On Bees", EXPECTED)


def test_a_slide_is_a_passage_of_its_own_with_its_title_first(tmp_path: Path) -> None:
    def frame(text: str, kind: str) -> str:
        return f'<draw:frame presentation:class="{kind}"><draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>'

    notes = f"<presentation:notes>{frame('say hello', 'notes')}</presentation:notes>"
    body = (
        f"<office:presentation><draw:page>{frame('body', 'outline')}{frame('Bees', 'title')}{frame('9', 'page-number')}{notes}"
        f"</draw:page><draw:page/><draw:page>{frame('untitled', 'outline')}</draw:page></office:presentation>"
    )
    blocks = packages.read(read, odf(tmp_path / "a.odp", body))[1]
    assert shown(blocks) == ["*H1 Bees", "T body", "T say hello", "*H1 Slide 3", "T untitled"]
    assert [block.where for block in blocks] == [{"slide": 1}] * 3 + [{"slide": 3}] * 2
    assert [block.label for block in blocks if block.level] == ["Bees", ""]  # a number is no heading


def test_many_slides_come_in_order_whatever_the_chunks(tmp_path: Path) -> None:
    page = '<draw:page><draw:frame presentation:class="title"><text:p>Title {0}</text:p></draw:frame><text:p>{1}</text:p></draw:page>'
    body = "".join(page.format(number, "word " * 500) for number in range(1, 120))
    blocks = packages.read(read, odf(tmp_path / "a.odp", f"<office:presentation>{body}</office:presentation>"))[1]
    assert [block.label for block in blocks if block.level] == [f"Title {number}" for number in range(1, 120)]
    assert all(block.where == {"slide": 1 + number // 2} for number, block in enumerate(blocks))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"META-INF/manifest.xml": '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><m:encryption-data/></m:manifest>', "content.xml": "noise"}, "password"),
        ({"styles.xml": "<x/>"}, "no OpenDocument text inside (damaged, or styles alone)"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, parts: dict[str, str], reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        list(read(packages.package(tmp_path / "a.odt", parts), Limits()))
    assert str(caught.value) == reason


def test_code_and_quotes_by_their_styles(tmp_path: Path) -> None:
    styles = (
        '<office:automatic-styles><s:style xmlns:s="urn:oasis:names:tc:opendocument:xmlns:style:1.0" s:name="P1" '
        's:parent-style-name="Preformatted_20_Text"/></office:automatic-styles>'
    )
    body = (
        '<text:p text:style-name="P1">def f():</text:p><text:p text:style-name="Preformatted_20_Text"><text:s text:c="4"/>return'
        '</text:p><text:p text:style-name="Quotations">said</text:p>'
    )
    content = f"<office:document-content {ODF}>{styles}<office:body>{body}</office:body></office:document-content>"
    blocks = packages.read(read, packages.package(tmp_path / "a.odt", {"content.xml": content}))[1]
    assert shown(blocks) == ["C def f():\n    return", "Q said"]
