"""Rich Text Format: the text of paragraphs, headings, lists and tables in any of its ways to write a character."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.reading import Facts, Limits, Unreadable
from searchapp.corpus.formats.rtf import read
from searchapp.corpus.formats.rtf_words import text_share

HEAD = (
    r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss\fcharset0 Arial;}{\f1\fcharset204 Arial Cyr;}"
    r"{\f2\fcharset128 MS Mincho;}{\f3\fcharset161{\*\falt Times}Greek;}}{\colortbl;\red0\green0\blue0;}"
    r"{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 heading 1;}{\s2 heading 2;}{\*\cs10 Default;}}"
    r"{\info{\title On bees}{\author A. Writer}{\creatim\yr2021\mo3\dy7\hr9}{\company Nobody}}"
)


def blocks(tmp_path: Path, body: str, head: str = HEAD) -> tuple[Facts, list[Block]]:
    path = tmp_path / "a.rtf"
    path.write_bytes((head + body + "}").encode("latin-1"))
    facts, *found = read(path, Limits())
    assert isinstance(facts, Facts)
    return facts, [item for item in found if isinstance(item, Block)]


def texts(tmp_path: Path, body: str, head: str = HEAD) -> list[str]:
    return [block.text.strip() for block in blocks(tmp_path, body, head)[1]]


def test_paragraphs_headings_and_lists(tmp_path: Path) -> None:
    facts, found = blocks(
        tmp_path,
        r"\pard\s1 Bees\par\pard\s2 Honey\b\par\pard\plain It is {\b sweet} and\line yellow.\par"
        "\r\n"
        r"{\listtext\pard\plain 1.\tab}\ls1\ilvl0 first\par\pard\outlinelevel2 Wax\par\pard the end}",
    )
    assert (facts.title, facts.author, facts.date, facts.mime) == (
        "On bees", "A. Writer", "2021-03-07", "application/rtf",
    )  # fmt: skip
    assert [(block.kind, block.level, block.text.strip()) for block in found] == [
        (BlockKind.HEADING, 1, "Bees"), (BlockKind.HEADING, 2, "Honey"), (BlockKind.TEXT, 0, "It is sweet and\nyellow."),
        (BlockKind.LIST_ITEM, 1, "first"), (BlockKind.HEADING, 3, "Wax"), (BlockKind.TEXT, 0, "the end"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"caf\'e9 \'80", "café €"),
        (r"\f1\'cf\'f0\'e8\'e2\'e5\'f2", "Привет"),
        (r"\f2\'93\'fa\'96\'7b", "日本"),
        (r"\f2\'93\'fa\'96" + "\r\n" + r"\'7b", "日本"),
        (r"\f3\'e1\'e2", "αβ"),
        (r"\f1\'cf{\f0\'e9}\'f0", "Пéр"),
        (r"\u8364?100 \u-10179?\u-8704?", "€100 😀"),
        (r"\uc0\u8364 100", "€100"),
        (r"\uc2\u8364\'a2\'e3x {\uc1\u233?y}\u233ab z", "€x éyé z"),
        (r"a\~b\-c\_d\endash\emdash\lquote e\rquote\bullet\tab f", "a bc-d–—‘e’• f"),
        (r"\{braces\} and \\ back\'7d", r"{braces} and \ back}"),
        ("one\\\ntwo", "one|two"),
        (r"a{\v hidden}b{\deleted gone}c{\*\unknown not}d{\pict\pngblip 89504e47}e", "abcde"),
        (r"{\field{\*\fldinst HYPERLINK http://x.org}{\fldrslt the link}}", "the link"),
        (r"a{\header page head}{\footer page foot}b{\bin5 }{}}x", "ab"),
        (r"see{\footnote\pard\plain a note} here", "see (a note) here"),
        (r"a\bin3 }}}b", "ab"),
        (r"\upr{nothing}{\*\ud kept}", "nothing"),
        ("broken \\u55357? half", "broken half"),
    ],
)
def test_characters(tmp_path: Path, written: str, meant: str) -> None:
    assert "|".join(texts(tmp_path, rf"\pard {written}")) == meant


@pytest.mark.parametrize(
    ("head", "meant"), [(r"{\rtf1\mac ", "é"), (r"{\rtf1\pc ", "Ä"), (r"{\rtf1\ansicpg1251 ", "Ћ")]
)
def test_code_pages_of_old_machines(tmp_path: Path, head: str, meant: str) -> None:
    assert texts(tmp_path, r"\'8e", head) == [meant]


def test_rows_of_tables(tmp_path: Path) -> None:
    row = r"\trowd\cellx1000\cellx2000\pard\intbl {0}\cell\pard\intbl {1}\cell\row"
    body = row.format("Name", "Year") + row.format(r"Ann\par B.", "1990") + r"\pard after\par"
    _, found = blocks(tmp_path, body.replace("{", "").replace("}", ""))
    assert [(block.kind, block.text.strip()) for block in found] == [
        (BlockKind.TABLE_ROW, "Name | Year"), (BlockKind.TABLE_ROW, "Ann B. | 1990"), (BlockKind.TEXT, "after"),
    ]  # fmt: skip


def test_hostile_files_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.rtf"
    for data, reason in ((b"", "no RTF"), (b"{\\rtf" + b"{" * 100_000, "nested more than 500 deep")):
        path.write_bytes(data)
        with pytest.raises(Unreadable, match=reason):
            list(read(path, Limits()))
    path.write_bytes(b"{\\rtf1 " + b"text\\par " * 10_000 + b"}}}}\\u\\'4")  # unbalanced, cut in a mark
    assert sum(isinstance(item, Block) for item in read(path, Limits())) >= 10_000
    path.write_bytes(b"{\\rtf1 \\bin999999999 x\\u99999999999?\\f99999999\\uc-5 y}")
    assert list(read(path, Limits()))


WORDS = "The bees fly out to the linden trees.\\par\n"
PICTURE = r"{\pict\jpegblip " + ("ffd8ffe000104a4649460001" * 4 + "\n") * 400 + "}"


@pytest.mark.parametrize(
    ("body", "characters"),
    [
        (WORDS * 1_000, 37_000),
        (PICTURE * 10, 0),
        (PICTURE * 20 + WORDS * 20_000, 740_000),
        (r"\'cf\'f7\'e5\'eb\'e0 " * 20_000, 120_000),
        (r"\uc1\u1055?\u1095?\par " * 20_000, 40_000),
        ("{\\bin400 " + "\xff\xd8xy" * 100 + "}", 0),
    ],
)
def test_the_text_of_a_file_is_estimated(body: str, characters: int) -> None:
    data = (HEAD + body * (1 + 2_000_000 // len(body)) + "}").encode("latin-1")
    times = 1 + 2_000_000 // len(body)
    assert text_share(data) * len(data) == pytest.approx(times * characters, rel=0.1, abs=0.01 * len(data))


def test_far_too_much_text_is_refused_before_any_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.rtf"
    limits = Limits(characters=100_000)
    path.write_text(HEAD + WORDS * 5_000 + "}")
    with pytest.raises(Unreadable, match="too much text: some 0 million characters; at most 0 million are read"):
        next(read(path, limits))
    path.write_text(HEAD + WORDS * 3_000 + "}")  # the sample does not decide
    items = read(path, limits)
    assert isinstance(next(items), Facts)
    with pytest.raises(Unreadable, match="more than 100,000 characters"):
        list(items)
    path.write_text(HEAD + PICTURE * 20 + WORDS + "}")
    assert len(list(read(path, limits))) == 2
