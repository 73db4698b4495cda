"""What is marked in a hit: words as BM25 matches them, the sentence that is closest, no heading."""

from __future__ import annotations

import pytest

from searchapp.index import Analyzer
from searchapp.search.highlight import beginnings, heading_end, highlights, matching_words
from searchapp.search.passage import Snippet
from tests.search.test_passage import WordEncoder


def marked(query: str, text: str, analyzer: Analyzer | None = None) -> list[str]:
    found = matching_words(analyzer or Analyzer(), query, text, Snippet(0, len(text)))
    assert all(one.end <= other.start for one, other in zip(found, found[1:], strict=False))
    return [text[word.start : word.end] for word in found]


@pytest.mark.parametrize(
    ("query", "text", "words"),
    [
        (
            "how do bees dance",
            "Bees were dancing; the bee's dances do not end.",
            ["Bees", "dancing", "bee", "dances", "do"],
        ),
        ("the of and", "the of and", []),
        ("read_csv", "call read_csv() or read.csv", ["read", "csv", "read", "csv"]),
        ("computers", "a compu\u00adter, ｃｏｍｐｕｔｅｒ", ["compu\u00adter", "ｃｏｍｐｕｔｅｒ"]),
        ("café", "Cafe\u0301 CAFÉ cafe", ["Cafe\u0301", "CAFÉ"]),
        ("花の方向", "蜂は花の方向と距離を、花を伝える", ["花の方向"]),
        ("蜂", "蜂は巣の中で蜂蜜を", ["蜂", "蜂"]),
        ("הדבורים", "הדבורים רוקדות", ["הדבורים"]),
        ("", "bees", []),
    ],
)
def test_words_match_as_the_analyzer_matches(query: str, text: str, words: list[str]) -> None:
    assert marked(query, text) == words


def test_words_match_by_the_language_of_the_index() -> None:
    assert marked("Häuser", "das Haus", Analyzer.of_language("german")) == ["Haus"]
    assert marked("Häuser", "das Haus", Analyzer.of_language("none")) == []


def test_only_the_passage_is_marked_and_its_closest_sentence() -> None:
    filler = "Nothing of interest stands in this sentence whatever one looks for. " * 6
    text = f"# Dances of bees\n\n{filler}It rains. Bees dance on the comb. Wax is made. {filler}"
    (found,) = highlights(WordEncoder(), Analyzer(), "bees dance", [text])
    assert found.sentence is not None and found.continues
    assert text[found.sentence.start : found.sentence.end] == "Bees dance on the comb."
    assert [text[word.start : word.end] for word in found.words] == ["Bees", "dance"]
    assert found.passage.start <= found.sentence.start and found.sentence.end <= found.passage.end


def test_a_single_sentence_is_not_marked_as_the_decisive_one() -> None:
    (found, empty) = highlights(WordEncoder(), Analyzer(), "bees", ["Bees dance.", ""])
    assert found.sentence is None and not found.continues
    assert (empty.passage, empty.words) == (Snippet(0, 0), ())


@pytest.mark.parametrize(
    ("text", "below"),
    [
        ("# Bees\n\nThey dance.", "They dance."),
        ("# Bees\n## Dances\n\nThey dance.", "They dance."),
        ("Bees\n====\n\nThey dance.", "They dance."),
        ("# Bees\n", "# Bees\n"),
        ("They dance.\n# Bees", "They dance.\n# Bees"),
        ("#bees is no heading\nthey dance", "#bees is no heading\nthey dance"),
    ],
)
def test_headings_are_passed_over(text: str, below: str) -> None:
    assert text[heading_end(text) :].lstrip() == below
    (found,) = beginnings(Analyzer(), "", [text])
    assert text[found.passage.start : found.passage.end] == below.rstrip()
