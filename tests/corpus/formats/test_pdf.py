"""PDF files: paragraphs, headings, pages, what is left out, and what cannot be read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.pdf import read_pdf
from searchapp.corpus.formats.pdf_lines import _is_garbage, _shown
from searchapp.corpus.formats.reading import Facts, Limits, Unreadable
from tests.corpus.pdfs import locked, raw_pdf, write_pages, write_scan

K = BlockKind
LONG = "The quick brown fox jumps over the lazy dog and runs on to the"


def read(path: Path) -> tuple[Facts, list[Block], dict[str, int]]:
    facts, *items = read_pdf(path, Limits())
    assert isinstance(facts, Facts)
    last = items.pop()
    assert isinstance(last, Facts)
    blocks = [item for item in items if isinstance(item, Block)]
    assert len(blocks) == len(items)
    return facts, blocks, dict(last.notes)


def seen(path: Path) -> list[tuple[BlockKind, str]]:
    return [(block.kind, block.text.rstrip("\n")) for block in read(path)[1]]


def test_lines_become_paragraphs_items_and_code(tmp_path: Path) -> None:
    lines = [
        LONG,
        "end of the story.",
        "",
        "",
        "A second one, which is",
        "short.",
        "",
        "",
        "• one",
        "• two",
        "",
        "",
        "$ ls -l",
        "$   cd",
        "",
    ]
    write_pages(tmp_path / "a.pdf", [lines])
    assert seen(tmp_path / "a.pdf") == [
        (K.TEXT, f"{LONG} end of the story."),
        (K.TEXT, "A second one, which is short."),
        (K.LIST_ITEM, "• one"),
        (K.LIST_ITEM, "• two"),
        (K.CODE, "$ ls -l\n$ cd"),
    ]


def test_blocks_put_end_to_end_are_the_text(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.pdf", [["# Head", LONG, "on."], ["", "Next."]])
    blocks = read(tmp_path / "a.pdf")[1]
    text = "".join(block.text for block in blocks)
    assert [text[block.start : block.end] for block in blocks] == [block.text for block in blocks]


def test_headings_of_the_outline_have_its_levels(tmp_path: Path) -> None:
    outline = [(0, 0, "Bees"), (0, 1, "Honey"), (1, 0, "Not on the page"), (1, 1, "Wax")]
    pages = [["# 1 Bees", LONG, "# 1.1 Honey", LONG], [LONG, "# Wax", LONG, "# Larger, and not in the outline", LONG]]
    write_pages(tmp_path / "a.pdf", pages, outline=outline, title="All about bees")
    facts, blocks, notes = read(tmp_path / "a.pdf")
    heads = [(block.level, block.label, block.page) for block in blocks if block.kind is K.HEADING]
    assert heads == [(1, "Bees", 1), (2, "Honey", 1), (1, "Not on the page", 2), (2, "Wax", 2)]
    assert (facts.title, facts.pages, notes) == ("All about bees", 2, {})
    assert [block.text.strip() for block in blocks if block.kind is K.HEADING][0] == "1 Bees"


def test_without_an_outline_larger_lines_are_headings(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.pdf", [["# Bees", LONG, LONG, "# Honey", LONG]])
    assert [(kind, text) for kind, text in seen(tmp_path / "a.pdf") if kind is K.HEADING] == [
        (K.HEADING, "Bees"),
        (K.HEADING, "Honey"),
    ]


def test_a_paragraph_that_a_page_cuts_is_whole(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.pdf", [[LONG], ["end of the story.", "", "", "Another."], ["It begins anew."]])
    found = [(block.text.strip(), block.page, block.last_page) for block in read(tmp_path / "a.pdf")[1]]
    assert found == [(f"{LONG} end of the story.", 1, 2), ("Another.", 2, 2), ("It begins anew.", 3, 3)]


def test_running_heads_and_page_numbers_are_left_out(tmp_path: Path) -> None:
    pages = [[f"Page text of sheet {'abcdefghijkl'[number]}.", LONG, "last line here."] for number in range(12)]
    write_pages(tmp_path / "a.pdf", pages, head="The Book of Bees, page")
    text = " ".join(text for _, text in seen(tmp_path / "a.pdf"))
    assert "Book of Bees" not in text and "sheet a" in text and "sheet l" in text
    write_pages(tmp_path / "b.pdf", pages[:2], head="The Book of Bees, page")
    assert "Book of Bees" in " ".join(text for _, text in seen(tmp_path / "b.pdf"))  # two of them are no rule


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pack\ufffeages supplied", "packages supplied"),
        ("S and S\ufffePlus", "S and S-Plus"),
        ("Intro . . . . . . . . 7", "Intro … 7"),
        ("a\x02b\xad c\t\xa0d", "a b c d"),
    ],
)
def test_cut_words_are_joined(text: str, shown: str) -> None:
    assert _shown(text) == shown


def test_a_font_that_says_nothing_of_its_characters() -> None:
    assert _is_garbage("\ue001\ue002\ue003 \ue004") and _is_garbage("ab\ufffd\ufffd") and _is_garbage("\x01\x02\x03abc")
    assert not _is_garbage("Größe → 日本 \ue001") and not _is_garbage("") and not _is_garbage("a\tb\r\nc")


def test_pages_without_text_are_counted(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.pdf", ["some text", "", ""])
    _, blocks, notes = read(tmp_path / "a.pdf")
    assert [block.text.strip() for block in blocks] == ["some text"] and notes == {"pages without text": 2}
    write_scan(tmp_path / "b.pdf", ["", ""])
    assert read(tmp_path / "b.pdf")[1:] == ([], {"pages without text": 2})


def test_labels_of_pages(tmp_path: Path) -> None:
    import pikepdf

    write_pages(tmp_path / "a.pdf", [["One."], ["Two."], ["Three."]])
    with pikepdf.open(tmp_path / "a.pdf", allow_overwriting_input=True) as document:
        roman = pikepdf.Dictionary(S=pikepdf.Name.r)
        document.Root.PageLabels = pikepdf.Dictionary(Nums=[0, roman, 2, pikepdf.Dictionary(S=pikepdf.Name.D)])
        document.save(tmp_path / "a.pdf")
    where = [(block.page, block.where) for block in read(tmp_path / "a.pdf")[1]]
    assert where == [(1, {"page_label": "i"}), (2, {"page_label": "ii"}), (3, {"page_label": "1"})]


def test_passwords(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.pdf", [["secret"]])
    locked(tmp_path / "a.pdf", user="")  # only the owner's: everybody may read it
    assert seen(tmp_path / "a.pdf") == [(K.TEXT, "secret")]
    write_pages(tmp_path / "b.pdf", [["secret"]])
    locked(tmp_path / "b.pdf", user="user")
    with pytest.raises(Unreadable, match="^password$"):
        read(tmp_path / "b.pdf")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.pdf", [[LONG] * 40] * 3)
    data = (tmp_path / "a.pdf").read_bytes()
    for number, broken in enumerate((b"", data[:200], b"\0" * 5_000, b"%PDF-1.7\n", b"text")):
        (tmp_path / f"{number}.pdf").write_bytes(broken)
        with pytest.raises(Unreadable, match="^damaged"):
            read(tmp_path / f"{number}.pdf")
    (tmp_path / "late.pdf").write_bytes(b"x" * 900 + data)
    assert LONG in seen(tmp_path / "late.pdf")[0][1]


@pytest.mark.parametrize(
    "content",
    [
        b"q " * 500_000,
        b"[" * 200_000 + b"]" * 200_000,
        b"BT /F1 1 Tf (" + b"(" * 100_000 + b") Tj ET",
        b"\xff" * 10_000,
    ],
)
def test_absurd_content_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    import zlib

    (tmp_path / "a.pdf").write_bytes(raw_pdf(zlib.compress(content)))
    began = time.monotonic()
    try:
        read(tmp_path / "a.pdf")
    except Unreadable:
        pass
    assert time.monotonic() - began < 5


def test_a_tree_of_pages_that_runs_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(raw_pdf(b"", kids=b"[2 0 R]"))
    try:
        assert read(tmp_path / "a.pdf")[1] == []
    except Unreadable as error:
        assert "damaged" in str(error)


@pytest.mark.slow
def test_5000_pages(tmp_path: Path) -> None:
    from searchapp.corpus.isolation import Readers
    from searchapp.corpus.reading_process import Request

    write_pages(tmp_path / "a.pdf", [[f"Page {number} has a text.", *[LONG] * 20] for number in range(5_000)])
    readers = Readers()
    began = time.monotonic()
    items = list(readers.read(Request(tmp_path / "a.pdf", "pdf", (tmp_path / "a.pdf").stat().st_size)))
    readers.close()
    assert max(item.last_page or 0 for item in items if isinstance(item, Block)) == 5_000
    assert time.monotonic() - began < 60


def test_far_too_much_text_is_refused_before_any_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    write_pages(path, [[LONG] * 30] * 60)
    for characters, reason in ((50_000, "too much text"), (90_000, "more than 90,000 characters")):
        items: list[Facts | Block] = []
        with pytest.raises(Unreadable, match=reason):
            for item in read_pdf(path, Limits(characters=characters)):
                items.append(item)
        assert (len(items) == 1) == (characters == 50_000)
    assert read(path)[1]
