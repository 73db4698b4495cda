from __future__ import annotations

import textwrap

from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus.headings import MARKERS
from searchapp.corpus.passages import MAX_PASSAGE_CHARACTERS, TARGET_CHARACTERS, Passage, passages

sentences = st.builds(
    lambda n, end: "word " * n + "end" + end, st.integers(0, 30), st.sampled_from([". ", "! ", "? ", "。", " "])
)
paragraphs = st.lists(sentences, min_size=1, max_size=40).map(lambda parts: textwrap.fill("".join(parts), 90))
blocks = st.one_of(
    paragraphs,
    st.sampled_from(
        ["# One", "## Two ##", "### Three", "#", "Under\n=====", "Under\n--", "====\nOver\n====", "Title\n~~~~~", "---"]
    ),
    st.sampled_from(
        [
            "```",
            "~~~~ python",
            "``` x ```",
            "    # code",
            "> quote",
            "- item",
            "a | b\n--|--",
            "  ",
            "\u00a0",
            ".. note:: x",
        ]
    ),
    st.integers(1, 300).map(lambda n: "```\n" + "x = 1\n\n" * n + "```"),
    st.integers(1, 3).map(lambda n: "x" * (n * 1500)),
    st.integers(1, 3).map(lambda n: "a" + " " * (n * 1500) + "b"),
    st.text(max_size=60),
)
bodies = st.lists(st.tuples(blocks, st.sampled_from(["\n", "\n\n", "\n\n\n"])), max_size=25).map(
    lambda parts: "".join(block + gap for block, gap in parts)
)


def cut(body: str, ending: str = ".md") -> list[Passage]:
    return list(passages(MARKERS[ending](enumerate(body.split("\n"), start=1))))


@given(bodies, st.sampled_from(sorted(MARKERS)))
@settings(max_examples=150, deadline=None)
def test_every_line_once_in_order_and_no_passage_too_long(body: str, ending: str) -> None:
    found = cut(body, ending)
    assert "".join("".join(passage.text.split()) for passage in found) == "".join(body.split())
    lines = body.split("\n")
    last = 1
    for passage in found:
        assert passage.text.strip()
        assert len(passage.text) <= MAX_PASSAGE_CHARACTERS
        assert last <= passage.line <= passage.end_line
        last = passage.end_line
        first, *_ = passage.text.split("\n")
        assert first.rstrip() in lines[passage.line - 1]
        assert passage.text.split("\n")[-1].strip() in lines[passage.end_line - 1]
    covered = {line for passage in found for line in range(passage.line, passage.end_line + 1)}
    assert {number for number, line in enumerate(lines, start=1) if line.strip()} <= covered


def test_headings_part_and_their_path_is_kept() -> None:
    body = "intro\n\n# Guide\n\n## Install #\ntext\n```\n# no heading\n```\n## Use\nmore\n# API\nlast\nSet\n===\n"
    found = [(passage.line, passage.end_line, passage.headings) for passage in cut(body)]
    assert found == [(1, 1, ""), (3, 9, "Guide > Install"), (10, 11, "Guide > Use"), (12, 15, "API")]


def test_underlined_headings_of_markdown() -> None:
    body = "Guide\n=====\n\nInstall\n---\n\ntext\n\n- item\n---\n\na\nb\n---\n"
    assert [(passage.line, passage.headings) for passage in cut(body)] == [(1, "Guide > Install")]


def test_headings_of_rst_have_the_level_of_their_first_use() -> None:
    body = "=====\nGuide\n=====\n\nInstall\n-------\n\na\n\nLinux\n~~~~~\nb\n\n----\n\n"
    body += "Use\n---\nc\n\n=====\nOther\n=====\nd\n"
    found = [(passage.line, passage.headings) for passage in cut(body, ".rst")]
    assert found == [(1, "Guide > Install"), (10, "Guide > Install > Linux"), (16, "Guide > Use"), (20, "Other")]


def test_plain_text_has_no_headings() -> None:
    assert [(passage.headings, passage.text) for passage in cut("# a\nb\n===\n", ".txt")] == [("", "# a\nb\n===")]


def test_paragraphs_are_packed_whole() -> None:
    paragraph = "\n".join(["Eighty characters of text with an end. Eighty characters of text with an end."] * 5)
    found = cut("\n\n".join([paragraph] * 7))
    assert [passage.text for passage in found] == ["\n\n".join([paragraph] * 3)] * 2 + [paragraph]
    assert [passage.line for passage in found] == [1, 19, 37]


def test_a_paragraph_that_fits_is_not_cut_because_of_its_heading() -> None:
    paragraph = "A sentence that ends here. " * 44
    assert len(paragraph.strip()) <= TARGET_CHARACTERS
    assert len(cut(f"# {'Heading ' * 20}\n\n{paragraph}")) == 1


def test_a_long_paragraph_is_cut_at_sentence_ends() -> None:
    found = cut(
        "\n".join(["This is a sentence of no great length. And here comes the other one,", "and it ends here."] * 50)
    )
    assert len(found) > 2
    assert all(passage.text.endswith(".") and len(passage.text) <= TARGET_CHARACTERS for passage in found)


def test_text_without_ends_is_cut_between_words() -> None:
    found = cut("word " * 1000)
    assert {word for passage in found for word in passage.text.split()} == {"word"}
    assert {passage.line for passage in found} == {1}


@given(st.integers(0, 60), st.integers(1, 240), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_fenced_block_is_cut_only_if_too_long_alone(words: int, lines: int, blank: bool) -> None:
    block = "```\n" + ("x = 1; y\n\n" if blank else "x = 1; y\n") * lines + "```"
    found = cut(f"# Heading\n\n{'word ' * words}\n\n{block}\n\nafter the block")
    whole = any(block in passage.text for passage in found)
    assert whole == (len(block) <= MAX_PASSAGE_CHARACTERS)
