"""Spreadsheets as openpyxl writes them, and what a workbook can do to a reader."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import pytest

from searchapp.corpus.formats.reading import Limits, Unreadable
from tests.corpus.formats import packages
from tests.corpus.formats.packages import shown

pytest.importorskip("python_calamine")
from searchapp.corpus.formats.sheets import read  # noqa: E402


def test_sheets_values_and_gaps(tmp_path: Path) -> None:
    from openpyxl import Workbook

    made = Workbook()
    made.properties.title = "Numbers"
    sheet = made.active
    sheet.title = "First"
    sheet["B2"] = "Our people"
    for column, values in zip(
        "BCDE", (["Name", "Ann"], ["Age", 7], ["Born", datetime.date(2017, 3, 4)], ["Ok", True]), strict=True
    ):
        sheet[f"{column}3"], sheet[f"{column}4"] = values
    sheet["C504"] = 2.5
    sheet["B600"], sheet["D600"] = "two\nlines", datetime.datetime(2020, 1, 2, 3, 4, 5)
    made.create_sheet("Empty")
    made.create_chartsheet("Chart")
    made.create_sheet("Second")["A1"] = "alone"
    made.save(tmp_path / "a.xlsx")
    facts, blocks = packages.read(read, tmp_path / "a.xlsx")
    assert (facts.title, facts.pages) == ("Numbers", 4)
    assert shown(blocks) == [
        "*H1 First", "R Our people", "R1 Name | Age | Born | Ok",
        "R Ann | 7 | 2017-03-04 | TRUE\n | 2.5\ntwo lines |  | 2020-01-02 03:04:05", "*H1 Second", "R alone",
    ]  # fmt: skip
    assert [block.where["rows"] for block in blocks if block.where] == ["2", "2", "3", "4-600", "1", "1"]
    assert blocks[0].where and blocks[0].where["sheet"] == "First"


def test_every_row_stands_in_one_group_that_says_which(tmp_path: Path) -> None:
    from openpyxl import Workbook

    made = Workbook()
    made.active.append(["Name", "Number"])
    for number in range(2, 302):
        made.active.append([f"name {number}", number])
    made.save(tmp_path / "a.xlsx")
    groups = [block for block in packages.read(read, tmp_path / "a.xlsx")[1][2:] if block.where]
    assert not groups[0].whole and all(group.whole for group in groups[1:])
    numbers = []
    for group in groups:
        first, last = map(int, str(group.where["rows"]).split("-"))
        assert [int(line.split()[-1]) for line in group.text.split("\n") if line] == list(range(first, last + 1))
        assert len(group.text) <= 620
        numbers += range(first, last + 1)
    assert numbers == list(range(2, 302))


def test_formulas_without_a_value_are_given_as_they_stand(tmp_path: Path) -> None:
    from openpyxl import Workbook

    made = Workbook()
    sheet = made.active
    sheet["A1"], sheet["B1"], sheet["C1"] = "=1<2", "x", "y"
    sheet["B2"] = '=SUM(C1:C9)&"&"'
    sheet["A9"] = "=LAST()"
    made.create_sheet("Only")["D4"] = "=NOW()"
    made.save(tmp_path / "a.xlsx")
    assert shown(packages.read(read, tmp_path / "a.xlsx")[1]) == [
        "*H1 Sheet", 'R =1<2 | x | y\n | =SUM(C1:C9)&"&"\n=LAST()', "*H1 Only", "R =NOW()"
    ]  # fmt: skip


def workbook(path: Path, cells: str, dimension: str) -> Path:
    """A workbook of one sheet; ``cells`` are the rows of its XML."""
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    links = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="{0}/{1}" Target="{2}"/></Relationships>'
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    return packages.package(path, {
        "_rels/.rels": links.format(kind, "officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook {space}><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": links.format(kind, "worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": f'<worksheet {space}><dimension ref="{dimension}"/><sheetData>{cells}</sheetData></worksheet>',
    })  # fmt: skip


def test_a_sheet_declared_large_has_the_cells_it_has(tmp_path: Path) -> None:
    cells = '<row r="2"><c r="B2"><v>7</v></c></row><row r="1048576"><c r="XFD1048576" s="1"/></row>'
    path = workbook(tmp_path / "a.xlsx", cells, "A1:XFD1048576")
    assert shown(packages.read(read, path)[1]) == ["*H1 S", "R 7"]


def test_cells_far_apart_do_not_take_the_memory_between_them(tmp_path: Path) -> None:
    cells = '<row r="1"><c r="A1"><v>7</v></c></row><row r="1048576"><c r="A1048576" t="b"><v>1</v></c><c r="XFD1048576"><f>A1</f></c></row>'
    facts, blocks = packages.read(read, workbook(tmp_path / "a.xlsx", cells, "A1:XFD1048576"))
    assert shown(blocks) == ["*H1 S", "R 7\nTRUE | =A1"]
    assert [block.where["rows"] for block in blocks if block.where] == ["1", "1-1048576"]


def test_numbers_that_other_programs_write_with_blanks(tmp_path: Path) -> None:
    cells = '<row r="1"><c r="A1"><v> 7</v></c><c t="inlineStr"><is><t>x</t></is></c><c r="D1" t="s"><v>9</v></c></row>'
    assert shown(packages.read(read, workbook(tmp_path / "a.xlsx", cells, "A1"))[1]) == ["*H1 S", "R 7 | x"]


def test_both_ways_to_read_a_sheet_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openpyxl import Workbook

    from searchapp.corpus.formats import sheets

    made = Workbook()
    for row in (["Name", "B"], ["x", 1.5], [None, True], [], ["=A1", 12345678901]):
        made.active.append(row)
    made.save(tmp_path / "a.xlsx")
    expected = packages.read(read, tmp_path / "a.xlsx")
    monkeypatch.setattr(sheets, "_read_by_calamine", lambda *_: None)
    assert packages.read(read, tmp_path / "a.xlsx") == expected


def test_bombs_passwords_and_noise_are_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", " " * 12_000_000, "A1")
    with pytest.raises(Unreadable, match="zip bomb"):
        list(read(path, Limits()))
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512) + "EncryptedPackage".encode("utf-16-le"))
    with pytest.raises(Unreadable, match="^password$"):
        list(read(path, Limits()))
    for noise in (b"", bytes(3000), b"PK\x03\x04"):
        path.write_bytes(noise)
        with pytest.raises(Unreadable, match="^damaged"):
            list(read(path, Limits()))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", "b")
    with pytest.raises(Unreadable, match="^damaged"):
        list(read(path, Limits()))
