"""The examples in docstrings, run; and that everything meant for people who write Python has one."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import searchapp

MODULES = (
    "searchapp.corpus.memory",
    "searchapp.encoder.sentence",
    "searchapp.evaluate.runs",
    "searchapp.html_table",
    "searchapp.search.contents",
    "searchapp.search.hit",
    "searchapp.search.making",
    "searchapp.search.searcher",
    "searchapp.search.spelling",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("examples")))
    monkeypatch.setattr("tempfile.tempdir", None)
    result = doctest.testmod(import_module(name))
    assert result.attempted and not result.failed


def test_the_page_about_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "python.md"
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 20 and not result.failed


@pytest.mark.parametrize("name", ["Index", "build", "evaluate_runs"])
def test_every_public_function_has_an_example(name: str) -> None:
    value = getattr(searchapp, name)
    members = dict(inspect.getmembers(value, inspect.isroutine)) if inspect.isclass(value) else {name: value}
    public = {key: one for key, one in members.items() if not key.startswith("_")}
    assert [key for key, one in public.items() if ">>>" not in (inspect.getdoc(one) or "")] == []
