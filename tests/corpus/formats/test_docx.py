"""Word documents: what python-docx wrote, and what only Word writes, made by hand."""

from __future__ import annotations

from pathlib import Path

from searchapp.corpus.formats.docx import read
from tests.corpus.formats import packages
from tests.corpus.formats.packages import W, shown, word


def test_what_another_library_wrote(tmp_path: Path) -> None:
    from docx import Document

    made = Document()
    made.core_properties.title, made.core_properties.author = "On Bees", "Ann Lee"
    made.add_heading("Bees", 0)
    made.add_heading("Life", 1)
    made.add_paragraph("They fly.\tThey hum.")
    made.add_heading("Food", 2)
    made.add_paragraph("honey", style="List Bullet")
    made.add_paragraph("wax", style="List Number 2")
    table = made.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["Name", "Age", "Ann", "7"], strict=True):
        cell.text = text
    table.cell(1, 1).add_table(1, 1).cell(0, 0).text = "inner"
    made.save(str(tmp_path / "a.docx"))
    facts, blocks = packages.read(read, tmp_path / "a.docx")
    assert (facts.title, facts.author) == ("On Bees", "Ann Lee")
    assert facts.date.startswith("20")
    assert shown(blocks) == [
        "H1 Bees", "H1 Life", "T They fly. They hum.", "H2 Food", "L1 - honey", "L1 - wax", "R1 Name | Age",
        "R Ann | 7 inner",
    ]  # fmt: skip
    assert [block.label for block in blocks if block.label] == ["Bees", "Life", "Food"]


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_headings_by_inherited_style_and_by_outline_level(tmp_path: Path) -> None:
    styles = (
        f'<w:styles {W}><w:style w:type="paragraph" w:styleId="1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Mine"><w:name w:val="Mine"/><w:basedOn w:val="1"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Out"><w:name w:val="Out"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style>'
        '<w:style w:type="paragraph" w:styleId="A"><w:name w:val="A"/><w:basedOn w:val="B"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="B"><w:name w:val="B"/><w:basedOn w:val="A"/></w:style></w:styles>'
    )
    body = (
        paragraph("one", '<w:pStyle w:val="Mine"/>')
        + paragraph("two", '<w:pStyle w:val="Out"/>')
        + paragraph("three", '<w:outlineLvl w:val="1"/>')
        + paragraph("four", '<w:outlineLvl w:val="9"/>')
        + paragraph("five", '<w:pStyle w:val="A"/>')
    )
    blocks = packages.read(read, word(tmp_path / "a.docx", body, styles=styles))[1]
    assert shown(blocks) == ["H1 one", "H3 two", "H2 three", "T four", "T five"]


def test_text_boxes_once_controls_and_what_was_changed(tmp_path: Path) -> None:
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    box = f"<w:txbxContent>{paragraph('in the box')}{paragraph('second')}</w:txbxContent>"
    body = (
        f"<w:p><w:r><w:t>be</w:t></w:r><w:r><mc:AlternateContent {mc}><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
        "</mc:AlternateContent></w:r><w:r><w:t>fore</w:t></w:r></w:p>"
        f"<w:sdt><w:sdtContent>{paragraph('controlled')}</w:sdtContent></w:sdt>"
        "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
        "<w:moveFrom><w:r><w:t>away</w:t></w:r></w:moveFrom><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
    )
    blocks = packages.read(read, word(tmp_path / "a.docx", body))[1]
    assert shown(blocks) == ["T before", "T in the box", "T second", "T controlled", "T new"]


def test_a_table_in_a_text_box_in_a_cell(tmp_path: Path) -> None:
    inner = f"<w:tbl><w:tr><w:tc>{paragraph('deep')}</w:tc></w:tr></w:tbl>"
    cell = f"<w:p><w:r><w:t>left</w:t><w:txbxContent>{inner}</w:txbxContent></w:r></w:p>"
    body = f"<w:tbl><w:tr><w:trPr><w:tblHeader/></w:trPr><w:tc>{cell}</w:tc><w:tc>{paragraph('right')}</w:tc></w:tr></w:tbl>"
    assert shown(packages.read(read, word(tmp_path / "a.docx", body))[1]) == ["R1 left deep | right"]


def test_a_table_that_lays_out_a_page_is_no_table(tmp_path: Path) -> None:
    long = "".join(paragraph(f"{number} " + "word " * 60) for number in range(3))
    blocks = packages.read(read, word(tmp_path / "a.docx", f"<w:tbl><w:tr><w:tc>{long}</w:tc></w:tr></w:tbl>"))[1]
    assert [line[:3] for line in shown(blocks)] == ["T 0", "T 1", "T 2"]


def test_notes_follow_the_paragraph_that_refers_to_them(tmp_path: Path) -> None:
    notes = f'<w:footnotes {W}><w:footnote w:id="2">{paragraph("the note")}</w:footnote><w:footnote w:id="3">{paragraph("unused")}</w:footnote></w:footnotes>'
    ends = f'<w:endnotes {W}><w:endnote w:id="2">{paragraph("the end")}</w:endnote></w:endnotes>'
    body = (
        '<w:p><w:r><w:t>claim</w:t><w:footnoteReference w:id="2"/></w:r></w:p>' + paragraph("next")
        + '<w:p><w:r><w:t>last</w:t><w:endnoteReference w:id="2"/></w:r></w:p>'
    )  # fmt: skip
    blocks = packages.read(read, word(tmp_path / "a.docx", body, footnotes=notes, endnotes=ends))[1]
    assert shown(blocks) == ["T claim", "T the note", "T next", "T last", "T the end"]


def test_a_title_among_the_first_paragraphs_names_the_document(tmp_path: Path) -> None:
    styles = f'<w:styles {W}><w:style w:type="paragraph" w:styleId="T"><w:name w:val="Title"/></w:style></w:styles>'
    path = word(tmp_path / "a.docx", paragraph("My Thesis", '<w:pStyle w:val="T"/>') + paragraph("x"), styles=styles)
    facts, blocks = packages.read(read, path)
    assert facts.title == "My Thesis"
    assert shown(blocks) == ["H1 My Thesis", "T x"]


def test_cells_out_of_place_are_text(tmp_path: Path) -> None:
    body = f"<w:tc>{paragraph('lost')}</w:tc><w:tr><w:tc>{paragraph('row')}</w:tc></w:tr>"
    assert shown(packages.read(read, word(tmp_path / "a.docx", body))[1]) == ["T lost", "R row"]


def test_code_and_quotes_by_their_styles(tmp_path: Path) -> None:
    styles = (
        f'<w:styles {W}><w:style w:type="paragraph" w:styleId="C"><w:name w:val="Source Code"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="D"><w:name w:val="Mine"/><w:basedOn w:val="C"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Q"><w:name w:val="Quote"/></w:style></w:styles>'
    )
    body = (
        paragraph("def f():", '<w:pStyle w:val="C"/>') + paragraph("", '<w:pStyle w:val="C"/>')
        + paragraph("    return  1", '<w:pStyle w:val="D"/>') + paragraph("said", '<w:pStyle w:val="Q"/>')
        + paragraph("", '<w:pStyle w:val="C"/>')
    )  # fmt: skip
    blocks = packages.read(read, word(tmp_path / "a.docx", body, styles=styles))[1]
    assert shown(blocks) == ["C def f():\n\n    return  1", "Q said"]
