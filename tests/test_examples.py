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
PAGES = [Path(__file__).resolve().parents[1] / "docs" / "how-to" / f"{name}.md" for name in ("python", "encoder")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("examples")))
    monkeypatch.setattr("tempfile.tempdir", None)
    result = doctest.testmod(import_module(name))
    assert result.attempted and not result.failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_about_python(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 20 and not result.failed


def test_every_public_function_has_an_example() -> None:
    """In its docstring, which a test above runs, or, called by its name, on a page, which the other one runs."""
    parser, lines = doctest.DocTestParser(), ""
    for page in PAGES:
        lines += "".join(example.source for example in parser.get_examples(page.read_text()))
    assert set(searchapp.__all__) == {"Encoder", "Index", "__version__", "build", "evaluate_runs"}
    lacking = []
    for name in searchapp.__all__:
        value = getattr(searchapp, name)
        members = dict(inspect.getmembers(value, inspect.isroutine)) if inspect.isclass(value) else {name: value}
        for key, one in members.items():
            if key.startswith("_") or not callable(one):
                continue
            if ">>>" not in (inspect.getdoc(one) or "") and f".{key}(" not in lines:
                lacking.append(f"{name}.{key}")
    assert lacking == []
