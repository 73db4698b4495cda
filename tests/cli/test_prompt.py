"""The prompt: its commands answer in a line, and nothing that is typed ends it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from searchapp.cli.search import _history


class Terminal:
    """Standard input as a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(run, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Type lines at the prompt; an exception among them is raised in the place of a line."""

    def call(*lines: object, options: tuple[object, ...] = ()):
        waiting = iter(lines)

        class Session:
            def __init__(self, history: object) -> None:
                self.history = history

            def prompt(self, _: str) -> str:
                line = next(waiting, EOFError)
                if not isinstance(line, str):
                    raise line
                return line

        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setattr("prompt_toolkit.PromptSession", Session)
        monkeypatch.setattr(sys, "stdin", Terminal())
        return run("search", index, *options)

    return call


def test_the_model_is_named_before_it_is_loaded(typed, tiny_model: Path) -> None:
    outcome = typed()
    assert outcome.code == 0
    assert outcome.err.splitlines() == [f"loading {tiny_model} …", "3 documents; :help for help"]


def test_commands_say_what_they_did(typed) -> None:
    outcome = typed(":k 1", "honey", ":k 2", ':filter lang == "en"', ":filter", ":show 1")
    assert outcome.err.splitlines()[2:] == ["1 hit", "2 hits", "2 of 3 documents pass", "3 of 3 documents pass"]
    assert outcome.out.count("  1  ") == 1


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([":k ²"], [":k ²", "whole number"]),
        ([":k 0"], [":k 0", "from 1 on"]),
        ([":k"], ["whole number"]),
        ([":k " + "9" * 5000], ["whole number"]),
        ([":filter zz == 1"], ["zz", "lang, year"]),
        ([":filter lang =="], ["not understood"]),
        ([":show 1"], ["type a query first"]),
        (["honey", ":show 99"], [":show 99", "from 1 to 3"]),
        (["honey", ":show 0"], [":show 0", "from 1 to 3"]),
        ([":like 1"], ["type a query first"]),
        (["honey", ":like 4"], [":like 4", "from 1 to 3"]),
        ([":likely"], [":likely", ":help"]),
        ([":nonsense"], [":nonsense", ":help"]),
    ],
)
def test_what_cannot_be_obeyed_says_why(typed, lines: list[str], words: list[str]) -> None:
    outcome = typed(*lines, ":help")
    assert outcome.code == 0
    error, *rest = outcome.err.splitlines()[2:]
    assert error.startswith("searchapp: error: ")
    for word in words:
        assert word in error
    assert rest[0].startswith("type a query"), "the prompt did not go on"


def test_more_like_a_hit_leaves_it_out_and_keeps_the_filter(typed) -> None:
    outcome = typed("bees fly and make honey in their hives", ":like 1", ':filter lang == "en"', ":like 1", ":show 1")
    assert outcome.code == 0 and "error" not in outcome.err
    _, _, first, second, *_ = outcome.out.split("» ")
    assert first.startswith("like bees\n") and "Fox" in first and "Bees" not in first
    assert "\n  1  " in first and "\n  2  " in first and "\n  2  " not in second


def test_a_refused_filter_leaves_the_one_before(typed) -> None:
    outcome = typed(":filter year == 2019", ":filter zz == 1", "honey")
    assert "Fox" in outcome.out
    assert "Bees" not in outcome.out


def test_a_filter_of_the_command_line_is_checked_before_the_model_is_loaded(typed) -> None:
    outcome = typed("honey", options=("--filter", "zz == 1"))
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "zz" in outcome.err


def test_ctrl_c_during_a_search_keeps_the_prompt(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    from searchapp.search import Index

    real = Index.answer

    def interrupted(self, queries, *arguments, **options):
        if queries == ["slow"]:
            raise KeyboardInterrupt
        return real(self, queries, *arguments, **options)

    monkeypatch.setattr(Index, "answer", interrupted)
    outcome = typed("slow", KeyboardInterrupt, "honey")
    assert outcome.code == 0
    assert "interrupted" in outcome.err
    assert "» honey" in outcome.out


def test_history_is_kept_in_memory_where_home_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert isinstance(_history(), InMemoryHistory)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert isinstance(_history(), FileHistory)


def test_hybrid_and_rerank_are_switched_on_and_off(typed, tiny_model: Path) -> None:
    outcome = typed(
        "bees",
        ":hybrid",
        "bees",
        ":hybrid",
        "fox",
        ":mode bm25",
        "bees",
        f":rerank {tiny_model}",
        ":rerank no/such/model",
        ":rerank",
        ":quit",
    )
    assert outcome.code == 0
    first, second, third, last = outcome.out.split("» ")[1:]
    assert "x BM25" in first and "BM25" not in second and "x BM25" in third, "both unless switched off"
    assert "score: BM25\n" in last and "cosine" not in last
    for words in ("BM25 beside the vectors", "vectors alone", "model 'no/such/model' does not exist", "no reranking"):
        assert words in outcome.err
