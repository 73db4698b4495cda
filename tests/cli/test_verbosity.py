"""What the program says beside its results: nothing, more, or as JSON; results are the same bytes each time."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from searchapp.cli.console import complain, notice
from searchapp.cli.verbosity import verbosity
from searchapp.logs import JsonFormatter, LineHandler, PlainFormatter, handled_by


@pytest.fixture
def build(tmp_path: Path, tiny_model: Path):
    (tmp_path / "docs.jsonl").write_text('{"_id": "a", "text": "bees"}\n{"_id": "b", "text": "foxes"}\n')

    def arguments(*more: str) -> list[str]:
        target = tmp_path / "ix"
        command = ["build", str(tmp_path / "docs.jsonl"), "--index", str(target), "--model", str(tiny_model)]
        return [*more, *command, "--overwrite"]

    return arguments


def test_quiet_says_nothing_but_results(run, build, index: Path) -> None:
    loud, silent = run(*build()), run(*build("-q"))
    assert "encoding …" in loud.err and "model " in loud.err
    assert (silent.code, silent.err) == (0, "")
    assert "documents      2\n" in silent.out
    for place in (["-q", "info", index], ["info", "--quiet", index]):
        assert run(*place).out == run("info", index).out


def test_quiet_says_errors(run, tmp_path: Path) -> None:
    for option in ("-q", "-v", "--log-json"):
        outcome = run("info", tmp_path / "none", option)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.count("\n") == 1
        assert "does not exist" in outcome.err
    assert run("info", tmp_path / "none", "-q").err == run("info", tmp_path / "none").err


def test_verbose_says_what_the_rooms_log(run, build) -> None:
    usual = run(*build()).err
    once, twice = run(*build("-v")).err, run(*build("-vv")).err
    for words in ("searchapp.index.build: reading ", "searchapp.encoder.encoder: loaded ", "encode 0."):
        assert words in once
        assert words not in usual
    assert "searchapp.index.build: built " in once
    assert "weights from " in twice and "weights from " not in once
    assert set(usual.splitlines()) <= set(once.splitlines())  # what is always said stays as it is


def test_lines_of_json(run, build, monkeypatch: pytest.MonkeyPatch) -> None:
    by_option = run(*build("-v", "--log-json"))
    monkeypatch.setenv("SEARCHAPP_LOG", "json")
    by_environment = run(*build("-v"))
    for outcome in (by_option, by_environment):
        records = [json.loads(line) for line in outcome.err.splitlines()]
        assert all(set(record) == {"time", "level", "logger", "message"} for record in records)
        assert {record["level"] for record in records} == {"info"}
        assert {"searchapp.cli", "searchapp.index.build"} <= {record["logger"] for record in records}
        assert all(record["time"][10] == "T" and record["time"].endswith("Z") for record in records)
        assert "documents      2\n" in outcome.out


def test_a_traceback_travels_in_its_record(run, tmp_path: Path) -> None:
    [line] = run("info", tmp_path / "none", "--log-json", "--debug").err.splitlines()
    record = json.loads(line)
    assert record["level"] == "error"
    assert "Traceback" in record["traceback"] and "IndexStoreError" in record["traceback"]


def test_results_as_json_are_untouched(run, index: Path) -> None:
    plain = run("info", index, "--json")
    for options in (["-v"], ["-q"], ["--log-json"], ["-vv", "--log-json"]):
        assert run(*options, "info", index, "--json").out == plain.out


def test_an_option_that_is_a_value_stays_one(run, index: Path) -> None:
    assert "holds no document '-q'" in run("delete", index, "--id", "-q").err
    assert "holds no document '-v'" in run("delete", index, "--", "-v").err


def test_quiet_and_verbose_exclude_each_other(run, index: Path) -> None:
    for arguments in (["-q", "info", index, "-v"], ["info", index, "-v", "-q"]):
        outcome = run(*arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert "--quiet" in outcome.err and "--verbose" in outcome.err


def test_no_bar_is_drawn_when_quiet(run, monkeypatch: pytest.MonkeyPatch, build) -> None:
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    assert "encoding" in run(*build()).err
    assert run(*build("-q")).err == ""


def test_all_is_as_before_when_the_program_has_ended(run, index: Path) -> None:
    logger = logging.getLogger("searchapp")
    before = logger.level, logger.propagate, list(logger.handlers), sys.stderr
    run("-q", "info", index)
    run("info", index, "-vv", "--log-json")
    assert (logger.level, logger.propagate, list(logger.handlers), sys.stderr) == before


def test_news_without_the_program_is_written_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    notice("some \x1b[31mnews")
    complain("two\nlines")
    assert capsys.readouterr().err == "some [31mnews\nsearchapp: error: two lines\n"
    with verbosity():
        notice("news")
    assert capsys.readouterr().err == "news\n"


def test_records_become_lines() -> None:
    lines: list[str] = []
    handler = LineHandler(lines.append)
    with handled_by(handler, logging.DEBUG) as logger:
        handler.setFormatter(PlainFormatter("searchapp.mine"))
        logger.getChild("mine").info("100 %s", "%")
        logger.getChild("other").debug("it")
        handler.setFormatter(JsonFormatter())
        logger.getChild("other").warning("é\n%d", 3)
    assert lines[0] == "100 %"
    assert lines[1].endswith(" searchapp.other: it") and lines[1][2] == lines[1][5] == ":"
    assert json.loads(lines[2]) | {"time": ""} == {
        "time": "", "level": "warning", "logger": "searchapp.other", "message": "é\n3",
    }  # fmt: skip
    assert lines[2].isascii()
