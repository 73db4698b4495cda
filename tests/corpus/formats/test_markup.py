"""XML that would reach out of the file or blow up is refused, in every format that is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus.formats import docx, epub, odf
from searchapp.corpus.formats.reading import Limits, Reader, Unreadable
from tests.corpus.formats import packages
from tests.corpus.formats.packages import ODF, W

EXTERNAL = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
LAUGHS = '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
PARAMETER = '<!DOCTYPE x [<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;]>'
PAGE = '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>{}</p></body></html>'


def made(tmp_path: Path, format: str, doctype: str, inside: str) -> tuple[Reader, Path]:
    path = tmp_path / f"a.{format}"
    if format == "docx":
        text = f"{doctype}<w:document {W}><w:body><w:p><w:r><w:t>{inside}</w:t></w:r></w:p></w:body></w:document>"
        return docx.read, packages.package(path, {"word/document.xml": text})
    if format == "odt":
        text = f"{doctype}<office:document-content {ODF}><office:body><text:p>{inside}</text:p></office:body></office:document-content>"
        return odf.read, packages.package(path, {"content.xml": text})
    return epub.read, packages.book(path, doctype + PAGE.format(inside))


@pytest.mark.parametrize("format", ["docx", "odt", "epub"])
@pytest.mark.parametrize("doctype", [EXTERNAL, LAUGHS, PARAMETER])
def test_declared_entities_are_refused(tmp_path: Path, format: str, doctype: str) -> None:
    reader, path = made(tmp_path, format, doctype, "words &b; &e;")
    with pytest.raises(Unreadable, match="^declares entities$"):
        list(reader(path, Limits()))


@pytest.mark.parametrize("format", ["docx", "odt", "epub"])
def test_a_bare_doctype_is_legal_and_fetches_nothing(tmp_path: Path, format: str) -> None:
    doctype = '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "file:///etc/passwd">'
    reader, path = made(tmp_path, format, doctype, "caf&eacute; words")
    assert [block.text.strip() for block in packages.read(reader, path)[1]] == ["café words"]


@pytest.mark.parametrize(
    ("format", "opening", "closing"),
    [
        ("docx", "<w:tbl><w:tr><w:tc>", "</w:tc></w:tr></w:tbl>"),
        (
            "odt",
            "<table:table><table:table-row><table:table-cell>",
            "</table:table-cell></table:table-row></table:table>",
        ),
        ("epub", "<div>", "</div>"),
    ],
)
def test_absurd_nesting_is_refused(tmp_path: Path, format: str, opening: str, closing: str) -> None:
    reader, path = made(tmp_path, format, "", opening * 20_000 + "x" + closing * 20_000)
    with pytest.raises(Unreadable, match="nested more than 500 deep"):
        list(reader(path, Limits()))


@pytest.mark.parametrize("format", ["docx", "odt"])
def test_many_attributes_are_read_in_linear_time(tmp_path: Path, format: str) -> None:
    attributes = " ".join(f'a{n}=""' for n in range(40_000))
    reader, path = made(tmp_path, format, "", f"x<b {attributes}/>")
    assert packages.read(reader, path)[1]


@pytest.mark.parametrize("format", ["docx", "odt"])
def test_xml_that_is_not_well_formed_is_damaged(tmp_path: Path, format: str) -> None:
    reader, path = made(tmp_path, format, "", "one < two")
    with pytest.raises(Unreadable, match="^damaged: "):
        list(reader(path, Limits()))


def test_more_text_than_allowed_is_refused(tmp_path: Path) -> None:
    reader, path = made(tmp_path, "docx", "", "word " * 1000)
    with pytest.raises(Unreadable, match="more than 100 characters of text"):
        list(reader(path, Limits(characters=100)))


def test_prefixes_are_the_files_own_and_need_not_be_declared(tmp_path: Path) -> None:
    space = W.partition("=")[2]
    text = f"<document xmlns={space} xmlns:v={space}><body><p><pPr><v:pStyle v:val='x'/></pPr><v:r><t>one</t></v:r><u:x/></p></body></document>"
    path = packages.package(tmp_path / "a.docx", {"word/document.xml": text})
    assert [block.text.strip() for block in packages.read(docx.read, path)[1]] == ["one"]
