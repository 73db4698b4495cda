"""The lines of a passage: what is marked, what is seen of it, and nothing that a terminal would obey."""

from __future__ import annotations

import sys

import pytest

from searchapp.cli.cells import cells
from searchapp.cli.console import BOLD, GREEN, RESET
from searchapp.cli.snippet import LINES, snippet
from searchapp.index import Analyzer
from searchapp.search.highlight import Highlight, matching_words
from searchapp.search.passage import Snippet


def marked(text: str, sentence: str, query: str) -> Highlight:
    whole = Snippet(0, len(text))
    begin = text.index(sentence) if sentence else 0
    words = matching_words(Analyzer(), query, text, whole)
    return Highlight(whole, Snippet(begin, begin + len(sentence)) if sentence else None, words)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_words_and_the_sentence_are_marked(terminal) -> None:
    text = "It rains.\n  Bees dance."
    (line,) = snippet(text, marked(text, "Bees dance.", "dances"), 60)
    assert line == f"It rains. {BOLD}Bees {RESET}{BOLD}{GREEN}dance{RESET}{BOLD}.{RESET}"


def test_nothing_is_marked_where_no_colours_are_wanted(terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snippet("Bees dance.", marked("Bees dance.", "", "bees"), 60) == ["Bees dance."]


@pytest.mark.parametrize("columns", [20, 48, 98])
@pytest.mark.parametrize("place", range(0, 60, 7))
def test_the_decisive_sentence_is_seen_wherever_it_stands(columns: int, place: int) -> None:
    parts = ["Nothing stands here."] * 60
    parts[place] = "Bees dance."
    text = " ".join(parts)
    lines = snippet(text, marked(text, "Bees dance.", "x"), columns)
    assert len(lines) == LINES and all(cells(line) <= columns for line in lines)
    assert "Bees dance." in " ".join(lines)
    assert lines[-1].endswith("…") or " ".join(lines).endswith(text[-30:])


def test_the_first_word_is_seen_in_a_sentence_of_no_end() -> None:
    text = "so on and " * 100 + "bees dance " + "and so on " * 10
    lines = snippet(text, marked(text, "", "bee"), 60)
    assert "bees" in " ".join(lines) and lines[0].startswith("… ")


def test_what_a_terminal_would_obey_is_left_out_and_marks_stay_in_place(terminal) -> None:
    text = "a\x1b[2J \u202eb \ud801c\x07 bees\x9b."
    (line,) = snippet(text, marked(text, "", "bees"), 60)
    assert line == f"a[2J b ?c {BOLD}{GREEN}bees{RESET}."


def test_a_blank_text_has_no_lines() -> None:
    assert snippet(" \n", marked(" \n", "", "x"), 60) == []
