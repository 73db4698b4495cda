"""Passages of version 2: what they are made of, where they are cut, and that none is too long for its encoder."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus.block_readers import BLOCK_READERS, read_blocks
from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.cut import CutPassage, cut
from searchapp.corpus.cut_rule import CutRule, Measure, estimate
from searchapp.errors import CorpusError

WORDS = [
    "bees ",
    "honey. ",
    "The hive! ",
    "e.g. x ",
    "蜂は飛ぶ。",
    "벌이 난다 ",
    "é",
    "👩‍👩‍👧",
    "🇮🇳🇫🇷",
    "x" * 90,
    "\t",
    "   ",
]
prose = st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map("".join)
structures = st.sampled_from(
    [
        "# One", "## Two ##", "### Three", "#", "Under\n=====", "Under\n--", "====\nOver\n====", "Title\n~~~~~", "---",
        "- item\n  more\n  - nested\n- two", "1. one\n2. two", "> quote\n> more", "a | b\n--|--\n1 | 2\n3 | 4",
        "    code\n\n    more", "<!-- # no heading\n\n# none -->", ".. function:: f(x)\n\n   Does.", ".. note:: x\n   y",
        "see::\n\n   literal\n\n     more", "term\n  definition\nother\n  definition", "== ==\na  b\n== ==\n1  2\n== ==",
        "+--+--+\n|a |b |\n+==+==+\n|1 |2 |\n+--+--+", ">>> 1\n1", "\x0b\x0c", "\u2028x\u0301", "-", "`", "```", "..", "::",
    ]
)  # fmt: skip
long = st.one_of(
    st.integers(1, 90).map(lambda n: "```\n" + "def f():\n    x = 1\n\n" * n + "```"),
    st.integers(1, 90).map(lambda n: "- an item of a list\n" * n),
    st.integers(1, 90).map(lambda n: "| a | b |\n|---|---|\n" + "| 1 | some cell |\n" * n),
    st.integers(1, 4).map(lambda n: "x" * (n * 1500)),
    st.integers(1, 4).map(lambda n: "a" + " " * (n * 1500) + "b"),
    st.integers(1, 4).map(lambda n: "a" + "\u0301" * (n * 700)),
    st.integers(1, 4).map(lambda n: "👩‍👩‍👧" * (n * 99)),
    st.integers(1, 4).map(lambda n: "벌이 난다. 꿀이 달다. " * (n * 40)),
    st.integers(1, 9).map(lambda n: " " * (n * 300) + "deep"),
)
bodies = st.lists(
    st.tuples(st.one_of(prose, structures, long, st.text(max_size=60)), st.sampled_from(["\n", "\n\n", "\n \n\n"])),
    max_size=14,
).map(lambda parts: "".join(block + gap for block, gap in parts).replace("\r\n", "\n"))  # one character in blocks
endings = st.sampled_from(sorted(BLOCK_READERS))


def _bytes(title: str, text: str) -> int:
    return len(f"{title} {text}".encode()) + 2


def _hostile(title: str, text: str) -> int:
    """A count that no characters foretell: it leaps with what a text begins and ends with."""
    return 3 + len(title) // 3 + len(text) // 4 + (7 * len(text)) % 23 + 40 * text.endswith("x") * (len(text) > 9)


MEASURES: dict[str, Measure] = {"estimate": estimate, "bytes": _bytes, "hostile": _hostile}


def lines_of(source: str) -> list[tuple[int, str]]:
    return list(enumerate(regex.findall(r"[^\n]*\n|[^\n]+\Z", source), start=1))


def blocks_of(source: str, ending: str = ".md") -> list[Block]:
    return list(read_blocks(lines_of(source), ending))


def passages(source: str, ending: str = ".md", measure: Measure | None = None, **rule) -> list[CutPassage]:
    return list(cut(blocks_of(source, ending), CutRule(**rule), measure))


def _check_spans(source: str, found: list[CutPassage]) -> None:
    """Every character that is no blank once, in order, but for overlaps; texts are the source; lines are right."""
    reached = 0
    for passage in found:
        own = passage.text[passage.repeated :]
        assert source[passage.start : passage.end] == own
        assert own.strip()
        assert own == own.rstrip()
        assert passage.start >= 0 and passage.end > reached
        assert not source[reached : passage.start].strip(), "left out"
        assert passage.line == 1 + source.count("\n", 0, passage.start)
        assert passage.end_line == 1 + source.count("\n", 0, passage.end)
        if passage.repeated:
            assert passage.text[: passage.repeated].rstrip() in source[: passage.start]
        reached = passage.end
    assert not source[reached:].strip(), "left out at the end"


@given(bodies, endings, st.sampled_from(sorted(MEASURES)), st.sampled_from([None, 48, 130, 380]))
@settings(max_examples=150, deadline=None)
def test_every_character_once_in_order_and_no_passage_beyond_its_budget(body, ending, name, tokens) -> None:
    measure = MEASURES[name]
    found = passages(body, ending, measure, tokens=tokens)
    _check_spans(body, found)
    for passage in found:
        assert len(passage.text) <= 1200
        if tokens is not None:
            assert measure(passage.title, passage.text) <= tokens or len(passage.text) == 1
    assert found == passages(body, ending, measure, tokens=tokens)


@given(bodies, endings)
@settings(max_examples=100, deadline=None)
def test_no_heading_stands_below_text_in_a_passage(body: str, ending: str) -> None:
    blocks = blocks_of(body, ending)
    for passage in passages(body, ending):
        inside = [
            block.kind is BlockKind.HEADING
            for block in blocks
            if block.text.strip()
            and block.start < passage.end
            and block.start + len(block.text.rstrip()) > passage.start
        ]
        assert inside == sorted(inside, reverse=True)


@given(bodies, endings, st.sampled_from([48, 200]))
@settings(max_examples=100, deadline=None)
def test_items_rows_and_code_are_whole_where_they_fit(body: str, ending: str, tokens: int) -> None:
    blocks = [block for block in blocks_of(body, ending) if block.text.strip()]
    found = passages(body, ending, estimate, tokens=tokens)
    before: Block | None = None
    for block in blocks:
        free = before is None or before.kind not in (BlockKind.HEADING, BlockKind.SIGNATURE, BlockKind.TABLE_ROW)
        before = block
        text = block.text.rstrip()
        if not free or block.kind in (BlockKind.HEADING, BlockKind.SIGNATURE) or len(text) > 1200:
            continue
        holding = [
            passage for passage in found if passage.start < block.start + len(text) and passage.end > block.start
        ]
        if estimate(holding[0].title, text) > tokens or len(text) - len(text.lstrip()) > 60:
            continue
        assert any(passage.start <= block.start and passage.end >= block.start + len(text) for passage in holding), text


@given(bodies, endings)
@settings(max_examples=100, deadline=None)
def test_no_cut_inside_a_grapheme_cluster_that_fits(body: str, ending: str) -> None:
    borders = {0}
    for match in regex.finditer(r"\X", body):
        borders.add(match.end())
    fat = {
        place
        for match in regex.finditer(r"\X", body)
        if len(match[0]) > 40
        for place in range(match.start(), match.end())
    }
    for passage in passages(body, ending, estimate, tokens=130):
        assert passage.start in borders | fat
        assert passage.end in borders | fat or body[passage.end].isspace()


@pytest.mark.parametrize("ending", [".md", ".rst"])
def test_an_edit_in_one_section_leaves_the_passages_of_all_others_as_they_are(ending: str) -> None:
    def section(number: int, extra: str = "") -> str:
        heading = f"Section {number}\n===========\n\n"
        return (
            heading
            + extra
            + "".join(f"Sentence {n} of {number} 꿀벌은 난다. " for n in range(60 * (number % 3)))
            + "\n\n"
        )

    def keyed(source: str) -> list[tuple[str, str]]:
        return [(passage.title, passage.text) for passage in passages(source, ending, _bytes, tokens=300)]

    before = [section(number) for number in range(10, 30)]
    for edited in (10, 16, 29):
        after = list(before)
        after[edited - 10] = section(edited, "A sentence that is new. " * 9)
        changed = set(keyed("".join(after))) ^ set(keyed("".join(before)))
        assert changed and {title for title, _ in changed} == {f"Section {edited}"}


def test_a_line_on_top_changes_at_most_the_first_passage() -> None:
    source = "".join(f"## Topic {number}\n\nText of topic {number}.\n\n" for number in range(20))
    before = [(passage.title, passage.text) for passage in passages(source)]
    after = [(passage.title, passage.text) for passage in passages(f"A new line.\n\n{source}")]
    assert len(before) == 20 and len(set(after) - set(before)) == 1 and set(before) <= set(after)


def test_headings_part_and_their_path_is_the_title() -> None:
    body = "intro\n\n# Guide\n\n## Install #\ntext\n```\n# no heading\n```\n## Use\nmore\n# API\nlast\nSet\n===\n"
    found = [(passage.line, passage.end_line, passage.title) for passage in passages(body)]
    assert found == [(1, 1, ""), (3, 9, "Guide > Install"), (10, 11, "Guide > Use"), (12, 15, "API")]
    [first, *_] = cut(blocks_of(body), CutRule(), None, title="Bees", name="a.md")
    assert (first.title, first.headings) == ("Bees", ())
    assert next(cut(blocks_of(body), CutRule(), None, name="a.md")).title == "a.md"
    assert [passage.title for passage in cut(blocks_of("# Bees\nfly"), CutRule(), None, title="bees")] == ["Bees"]


def test_short_neighbours_are_joined_and_a_long_list_is_cut_between_items() -> None:
    body = "# A\n\none\n\ntwo\n\nthree\n"
    assert [passage.text for passage in passages(body)] == [body.rstrip()]
    items = [f"- item {number} " + "word " * 30 + "\n  and its second line.\n" for number in range(20)]
    found = passages("The items:\n\n" + "".join(items))
    assert len(found) > 2
    for passage in found[1:]:
        assert passage.text.startswith("- item")
    for passage in found:
        assert passage.text.endswith("line.")


def test_a_table_that_is_cut_repeats_its_header() -> None:
    rows = [f"| {number} | {'cell ' * 12}|" for number in range(60)]
    body = "\n".join(["# T", "", "| number | what |", "|---|---|", *rows])
    found = passages(body)
    assert len(found) > 3
    for passage in found[1:]:
        assert passage.text[: passage.repeated] == "| number | what |\n|---|---|\n"
        assert len(passage.text) <= 1200
    assert [row for passage in found for row in passage.text.split("\n") if row in rows] == rows
    _check_spans(body, found)


def test_a_definition_has_its_own_passage_unless_it_is_short_and_names_what_is_cut() -> None:
    def entry(name: str, count: int) -> str:
        return f".. function:: {name}(x)\n\n" + f"   What {name} does to x. {'It does so well. ' * 5}\n\n" * count

    body = "Title\n=====\n\n" + entry("long", 4) + entry("short", 1) + entry("tiny", 1) + entry("longest", 40)
    found = passages(body, ".rst")
    assert [passage.text.lstrip().split("\n")[0] for passage in found[:2]] == ["Title", ".. function:: short(x)"]
    assert "tiny(x)" in found[1].text and "longest(x)" not in found[1].text
    assert found[2].title == "Title" and found[2].text.startswith(".. function:: longest(x)")
    assert {passage.title for passage in found[3:]} == {"Title > longest(x)"}


def test_code_is_cut_between_definitions() -> None:
    functions = [f"def f{number}(x):\n    # {'why ' * 60}\n\n    return x + {number}\n" for number in range(20)]
    body = "```python\n" + "\n".join(functions) + "```\n"
    found = passages(body)
    assert len(found) > 3
    for passage in found[1:]:
        assert passage.text.startswith("def f")


def test_only_long_text_without_headings_overlaps() -> None:
    paragraph = "".join(f"Sentence number {number} of a long story. " for number in range(20)).rstrip() + "\n\n"
    short = "# A\n\n" + paragraph * 2
    assert all(one.end <= two.start for one, two in zip(passages(short), passages(short)[1:], strict=False))
    found = passages(paragraph * 10, ".txt")
    shared = [one.end - two.start for one, two in zip(found, found[1:], strict=False)]
    assert sum(size > 0 for size in shared) >= len(shared) - 1
    assert max(shared) <= 0.15 * 1200
    assert all(passage.text.startswith("Sentence number") for passage in found)
    listed = passages("".join(f"- {paragraph[:200]}\n" for _ in range(40)), ".txt")
    assert all(one.end <= two.start for one, two in zip(listed, listed[1:], strict=False))


def test_a_title_takes_at_most_a_third_of_the_tokens() -> None:
    body = "# " + "꿀" * 190 + "\n\n## Inner " + "word " * 30 + "\n\n" + "text. " * 200
    for tokens in (48, 120, 380):
        for passage in passages(body, ".md", _bytes, tokens=tokens):
            assert _bytes(passage.title, "") - _bytes("", "") <= (tokens - _bytes("", "")) // 3
            assert passage.headings[0].startswith("꿀")


def test_a_budget_without_room_is_refused() -> None:
    with pytest.raises(CorpusError, match="30 of 40 tokens"):
        list(cut(blocks_of("text"), CutRule(tokens=40), lambda title, text: 30 + len(text)))
    for wrong in ({"tokens": 2}, {"characters": 0}, {"version": 3}, {"tokens": True}, {"characters": 300.5}):
        with pytest.raises(CorpusError):
            CutRule(**wrong)


def test_a_rule_comes_back_from_json() -> None:
    rule = CutRule(tokens=380, tokenizer="ab12")
    assert rule.to_json() == {"version": 2, "characters": 1200, "tokens": 380, "tokenizer": "ab12"}
    assert CutRule.from_json(rule.to_json()) == rule
    for wrong in ({}, {**rule.to_json(), "more": 1}, {**rule.to_json(), "tokens": "380"}):
        with pytest.raises(CorpusError):
            CutRule.from_json(wrong)


HOSTILE = {
    "no blank": "x" * 1_000_000,
    "blanks": "a" + " " * 1_000_000 + "b",
    "marks": "a" + "\u0301" * 1_000_000,
    "families": "👩‍👩‍👧" * 100_000,
    "flags": "🇮🇳" * 300_000,
    "Korean": "벌이난다" * 200_000,
    "end marks": "!" * 1_000_000,
    "quotes": "." + '"' * 1_000_000,
    "hashes": "#" * 1_000_000,
    "rules": "- " * 500_000,
    "pipes": "|" * 1_000_000,
    "bars": "|-" * 500_000 + "\n" + "|-" * 500_000,
    "ticks": "`" * 1_000_000,
    "tabs": "\t" * 1_000_000 + "x",
    "colons": ":" * 1_000_000,
    "borders": "= " * 500_000 + "\n" + "+-" * 500_000 + "+",
    "comment": "<!--" * 250_000,
    "short lines": "a\n" * 400_000,
    "blank lines": "a" + "\n" * 800_000 + "b",
    "items": "- a\n" * 60_000,
    "deep items": "".join("  " * (n % 400) + "- a\n" for n in range(2_000)),
    "quoted": ">" * 1_000_000,
    "directives": ".. a::\n" * 100_000,
    "signatures": ".. function:: a\n" * 60_000,
    "deep definitions": "".join(" " * n + ".. function:: a\n\n" for n in range(1_000)),
}


RST = ("colons", "borders", "directives", "signatures", "deep definitions", "deep items", "short lines")
CASES = [(name, ".md") for name in HOSTILE] + [(name, ".rst") for name in RST] + [("items", ".txt"), ("tabs", ".txt")]


@pytest.mark.parametrize(("name", "ending"), CASES)
def test_hostile_megabytes_take_linear_time(name: str, ending: str) -> None:
    started = time.process_time()
    found = passages(HOSTILE[name], ending, estimate, tokens=380)
    assert time.process_time() - started < 15
    assert max(estimate(passage.title, passage.text) for passage in found) <= 380
    for passage in found:
        assert HOSTILE[name][passage.start : passage.end] == passage.text[passage.repeated :]


def test_few_counts_a_passage() -> None:
    for sentence, most in (
        ("The bees fly over the fields and home again. ", 1.6),
        ("벌이 들판 위로 난다. 꿀이 달다. ", 2.6),
    ):
        body = "".join(f"# Topic {number}\n\n{sentence * 60}\n\n" for number in range(40))
        calls: list[str] = []

        def measure(title: str, text: str, calls: list[str] = calls) -> int:
            calls.append(text)
            ascii_part = sum(letter < "\x80" for letter in text)
            return 2 + len(title) // 4 + ascii_part // 4 + (len(text) - ascii_part)

        found = passages(body, ".md", measure, tokens=380)
        assert len(calls) <= most * len(found)


def test_memory_is_that_of_a_section() -> None:
    def lines():
        for number in range(1, 60_001):
            yield number, f"# Topic {number}\n" if number % 20 == 1 else "The bees fly over the fields and home.\n"

    tracemalloc.start()
    count = sum(1 for _ in cut(read_blocks(lines(), ".md"), CutRule()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count >= 3_000 and peak < 300_000
