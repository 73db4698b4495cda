"""Documents on their way to passages: whose text stands on which page, below which heading; what is said of the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from searchapp.corpus import Document, Rejected, open_source
from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.cut import cut
from searchapp.corpus.cut_rule import CutRule
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.formats import table
from searchapp.corpus.formats.reading import Composer, Limits
from searchapp.corpus.source import find_source
from searchapp.errors import CorpusError
from tests.corpus.pdfs import write_pages, write_scan

RULE = CutRule(characters=200, tokens=None)
PAGE = """<html lang=en><head><title>All of bees</title><meta name=author content="B. Keeper"></head><body>
<h1 id=bees>Bees</h1><p>Bees live in hives.</p><h2 id=honey>Honey</h2><p>It is sweet.</p></body></html>"""


@pytest.fixture
def cutter() -> Iterator[Cutter]:
    made = Cutter(RULE, lambda title, text: len((title + text).split()))
    yield made
    made.readers.close()


def read(path: Path, cutter: Cutter) -> tuple[list[Document], list[Rejected]]:
    items = [record.item for record in open_source(str(path)).records(cutter)]
    documents = [item for item in items if isinstance(item, Document)]
    return documents, [item for item in items if isinstance(item, Rejected)]


def test_a_page_of_html(tmp_path: Path, cutter: Cutter) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bees.html").write_text(PAGE)
    (first, second), rejected = read(tmp_path / "docs", cutter)
    assert not rejected
    assert (first.title, first.text) == ("Bees", "Bees\n\nBees live in hives.")
    assert (second.title, second.text) == ("Bees > Honey", "Honey\n\nIt is sweet.")
    assert second.id.startswith("docs/bees.html#") and len(second.id) == len("docs/bees.html#") + 10
    found = dict(second.metadata)
    assert found.pop("modified").endswith("Z")
    assert found == {
        "source": "docs", "mime": "text/html", "author": "B. Keeper", "language": "en", "file": "bees.html",
        "section": "Bees > Honey", "anchor": "honey", "start": 27, "end": 46,
    }  # fmt: skip
    (alone, _), _ = read(tmp_path / "docs" / "bees.html", cutter)
    assert alone.id == first.id.removeprefix("docs/")


def test_a_pdf_knows_its_pages(tmp_path: Path, cutter: Cutter) -> None:
    long = "The quick brown fox jumps over the lazy dog and runs on"
    pages = [["# Bees", long, long], ["through the wood.", "# Honey", "It is sweet."]]
    write_pages(tmp_path / "a.pdf", pages, outline=[(0, 0, "Bees"), (1, 0, "Honey"), (1, 1, "More")])
    documents, _ = read(tmp_path / "a.pdf", cutter)
    places = [(item.title, item.metadata["page"], item.metadata.get("end_page")) for item in documents]
    assert ("Bees", 1, 2) in places and places[-1][1] == 2
    assert all(item.metadata["pages"] == 2 and item.metadata["mime"] == "application/pdf" for item in documents)


def test_progress_never_falls_and_reaches_the_end(tmp_path: Path, cutter: Cutter) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "b.md").write_text("# A\ntext\n# B\ntext\n")
    write_pages(tmp_path / "c.pdf", [["One."], ["Two."]])
    shares = [record.progress for record in open_source(str(tmp_path)).records(cutter)]
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_content_tells_the_format_before_the_name(tmp_path: Path, cutter: Cutter) -> None:
    (tmp_path / "page.pdf").write_text(PAGE)
    write_pages(tmp_path / "sheet.html", [["A text of PDF."]])
    source = find_source(str(tmp_path))
    notes: dict[str, int] = {}
    texts: list[str] = []
    for file in source.files(cutter):
        texts += [record.item.text for record in file.records() if isinstance(record.item, Document)]
        notes |= file.notes
    assert any("sweet" in text for text in texts) and "A text of PDF." in texts
    assert notes == {"files are HTML though named as PDF": 1, "files are PDF though named as HTML": 1}
    write_pages(tmp_path / "nameless", [["A text of PDF."]])
    assert read(tmp_path / "nameless", cutter)[0][0].text == "A text of PDF."  # named on the command line


def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path: Path, cutter: Cutter) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 and nothing")
    write_scan(tmp_path / "b.pdf", ["", "", ""])
    (tmp_path / "c.html").write_text("<p> </p>")
    (tmp_path / "d.html").write_text(PAGE)
    documents, rejected = read(tmp_path, cutter)
    assert len(documents) == 2
    reasons = {Path(item.file).name: item.reason for item in rejected}
    assert reasons == {
        "a.pdf": "damaged, or no PDF",
        "b.pdf": "empty text: 3 pages without text (a scan?)",
        "c.html": "empty text",
    }


def test_a_format_without_its_reader_is_skipped_with_the_command(
    tmp_path: Path, cutter: Cutter, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pages(tmp_path / "a.pdf", [["text"]])
    monkeypatch.setattr(table, "_is_there", lambda module: module != "pypdfium2")
    with pytest.raises(CorpusError, match=r"1 of its files: PDF needs `pip install 'searchapp\[files\]'`"):
        open_source(str(tmp_path))
    with pytest.raises(CorpusError, match=r"a.pdf: PDF needs `pip install 'searchapp\[files\]'`"):
        open_source(str(tmp_path / "a.pdf"))
    (tmp_path / "b.html").write_text(PAGE)
    found = {file.path: (file.outcome, file.reason) for file in open_source(str(tmp_path)).files(cutter)}
    assert found == {"a.pdf": ("skipped", "PDF needs `pip install 'searchapp[files]'`"), "b.html": ("read", "")}


def test_the_fingerprint_of_a_reader_names_its_library(cutter: Cutter) -> None:
    pdf, html, text = (table.BY_NAME[name] for name in ("pdf", "html", "text"))
    assert cutter.reader_of(pdf).startswith("pdf 1 pypdfium2 ") and cutter.reader_of(html).startswith(
        "html 1 selectolax "
    )
    assert cutter.reader_of(text) == cutter.reader  # as in indexes that are there
    assert cutter.reader_of(dataclasses.replace(pdf, version=2)) != cutter.reader_of(pdf)


def test_every_reader_of_the_table_is_there() -> None:
    for format in table.FORMATS:
        if format.reader:
            assert callable(format.load()), format.name
    endings = [ending for format in table.FORMATS for ending in format.endings]
    assert len(endings) == len(set(endings)) and all(ending.startswith(".") for ending in endings)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.PDF", "pdf"),
        ("a.jsonl.gz", "jsonl"),
        ("a.b.csv", "csv"),
        (".pdf", None),
        ("pdf", None),
        ("a.gz", None),
        ("x.htm", "html"),
    ],
)
def test_endings(name: str, format: str | None) -> None:
    found = table.format_of(name)
    assert (found.name if found else None) == format


def test_metadata_that_a_passage_takes_itself_is_kept_under_another_name(tmp_path: Path, cutter: Cutter) -> None:
    (tmp_path / "a.md").write_text("---\nline: 7 of the poem\nauthor: me\nfile: x\n---\ntext\n")
    (document,), _ = read(tmp_path / "a.md", cutter)
    found = document.metadata
    assert (found["source.line"], found["author"], found["source.file"], found["line"]) == (
        "7 of the poem",
        "me",
        "x",
        6,
    )


def test_every_format_is_read_by_its_reader_with_its_places(tmp_path: Path, cutter: Cutter) -> None:
    from email.message import EmailMessage

    import docx
    import openpyxl
    import pptx

    word = docx.Document()
    word.add_heading("Bees", 1)
    word.add_paragraph("They fly.")
    word.save(str(tmp_path / "a.docx"))
    show = pptx.Presentation()
    for name in ("One", "Two"):
        slide = show.slides.add_slide(show.slide_layouts[5])
        slide.shapes.title.text = name
    show.save(str(tmp_path / "b.pptx"))
    book = openpyxl.Workbook()
    for row in (("name", "weight"), ("bee", 1), ("wasp", 2)):
        book.active.append(row)
    book.save(str(tmp_path / "c.xlsx"))
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"], mail["Message-ID"] = "Honey", "a@x.org", "b@x.org", "<1@x.org>"
    mail.set_content("It is ready.")
    for name in ("a.docx", "b.pptx"):
        mail.add_attachment((tmp_path / name).read_bytes(), maintype="application", subtype="x", filename=name)
    mail.add_attachment(b"no pdf", maintype="application", subtype="pdf", filename="bad.pdf")
    mail.add_attachment(b"x", maintype="image", subtype="png", filename="p.png")
    (tmp_path / "d.eml").write_bytes(mail.as_bytes())
    (tmp_path / "e.py").write_text('def sting(victim):\n    """Hurt somebody."""\n    return victim\n')
    (tmp_path / "f.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nBzz.\n")
    (tmp_path / "g.tex").write_text("\\section{Wax}\nCandles.\n")
    (tmp_path / "h.org").write_text("* Pollen\nYellow.\n")
    source, places, notes = find_source(str(tmp_path)), {}, {}
    for file in source.files(cutter):
        for record in file.records():
            assert isinstance(record.item, Document), record.item
            places.setdefault(file.path, []).append((record.item.text, record.item.metadata))
        notes |= file.notes
    found = {name: [place for _, place in items] for name, items in places.items()}
    text = {name: " ".join(one for one, _ in items) for name, items in places.items()}
    assert found["a.docx"][0]["section"] == "Bees" and "They fly." in text["a.docx"]
    assert [place["slide"] for place in found["b.pptx"]] == [1, 2]
    assert found["c.xlsx"][0]["rows"] and "bee" in text["c.xlsx"]
    letter = found["d.eml"][0]
    assert (letter["from"], letter["to"], letter["message_id"]) == ("a@x.org", "b@x.org", "1@x.org")
    assert "It is ready." in text["d.eml"] and "They fly." in text["d.eml"] and "Two" in text["d.eml"]
    assert notes == {"attachments not read": 2}
    assert found["e.py"][0]["line"] == 1 and found["e.py"][0]["symbol"] == "sting"
    assert "time" in found["f.srt"][0] and "Bzz." in text["f.srt"]
    assert found["g.tex"][0]["line"] == 1 and found["h.org"][0]["line"] == 1


def _parts() -> Iterator[Block]:
    compose = Composer(Limits()).block
    for number in range(3):
        yield compose(BlockKind.TEXT, f"part {number}", whole=True, where={"slide": number + 1}, anchor=f"s{number}")
        yield compose(BlockKind.TEXT, "more of it")


def test_a_passage_never_reaches_over_the_start_of_a_whole_part() -> None:
    found = list(cut(_parts(), CutRule(tokens=None)))
    assert [passage.text for passage in found] == [f"part {number}\n\nmore of it" for number in range(3)]
    assert [(passage.where, passage.anchor) for passage in found] == [({"slide": n + 1}, f"s{n}") for n in range(3)]


def test_ranges_reach_from_the_first_block_to_the_last() -> None:
    compose = Composer(Limits()).block
    rows = [compose(BlockKind.TABLE_ROW, f"row {n}", where={"sheet": "A", "rows": str(n)}) for n in range(2, 40)]
    found = list(cut(rows, CutRule(characters=100, tokens=None)))
    assert len(found) > 2
    for passage in found:
        numbers = [line.removeprefix("row ") for line in passage.text.split("\n") if line]
        assert passage.where == {"sheet": "A", "rows": "-".join(dict.fromkeys((numbers[0], numbers[-1])))}
