"""What is read without typer is what typer reads; what typer would refuse or explain is left to it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer

from searchapp.cli import search_command
from searchapp.cli.plain_arguments import plain_arguments
from searchapp.cli.program import app
from searchapp.cli.search import Asked

PLAIN = [
    ["indexes/notes", "kill a child process"],
    ["kill a child process"],
    [],
    [""],
    ["ix", "one", "two", "-k", "5", "--mode", "dense"],
    ["--json", "ix", "--filter", "year >= 2020", "q"],
    ["ix", "q", "--no-passages", "--group", "file", "--candidates", "0", "--weight", "0.25"],
    ["ix", "--like", "notes/todo.md#1a2b3c4d5e", "--hybrid", "--device", "cpu"],
    ["ix", "q", "--passages", "--no-passages", "-k", "3", "-k", "4", "--instruction", ""],
]
LEFT = [
    ["--help"], ["ix", "q", "-v"], ["-k5", "q"], ["--mode=dense", "q"], ["-k", "0", "q"], ["-k", "many"], ["-k"],
    ["--", "-q"], ["ix", "-"], ["--candidates", "-1"], ["--weight", "1e-1"], ["--nonsense"], ["--filter", "-x"],
    ["-k", "٣"], ["--rerank-depth", "0"], ["-k", " 3"],
]  # fmt: skip
PIECES = [
    "ix", "a query", "", "-", "--", "-k", "3", "0", "-1", "-k3", "--filter", "year > 1", "--mode", "bm25", "--hybrid",
    "--weight", "0.5", ".5", "1e3", "--json", "--passages", "--no-passages", "--candidates", "--like", "--group", "none",
    "--device", "-q", "--help", "--mod", "--json=true", "\udcff", "007", "1_000",
]  # fmt: skip


def by_typer(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Asked | None:
    """What ``search`` is called with; None where typer refuses the arguments, or answers them itself."""
    asked: list[Asked] = []
    monkeypatch.setattr(search_command, "run", asked.append)
    with contextlib.suppress(typer.TyperException, SystemExit):
        PROGRAM(["search", *arguments], standalone_mode=False)
    return asked[0] if asked else None


PROGRAM: Any = typer.main.get_command(app)


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_plain_arguments_are_read_as_typer_reads_them(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = plain_arguments(Asked(), arguments)
    assert found is not None
    assert found == by_typer(arguments, monkeypatch)


@pytest.mark.parametrize("arguments", LEFT, ids=" ".join)
def test_others_are_left_to_typer(arguments: list[str]) -> None:
    assert plain_arguments(Asked(), arguments) is None


def test_no_arguments_are_read_otherwise(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(0)
    read = 0
    for _ in range(600):
        arguments = random.choices(PIECES, k=random.randint(1, 5))
        found = plain_arguments(Asked(), arguments)
        if found is not None:
            read += 1
            assert found == by_typer(arguments, monkeypatch), arguments
    assert read > 50


def test_windows_is_left_to_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searchapp.cli.plain_arguments.os.name", "nt")
    assert plain_arguments(Asked(), ["q"]) is None


def test_a_plain_search_imports_neither_typer_nor_faiss(index: Path) -> None:
    code = (
        "import sys\nfrom searchapp.cli import main\n"
        f"try:\n    main(['search', {str(index)!r}, 'bees and honey'])\nexcept SystemExit: pass\n"
        "heavy = ('typer', 'pydantic', 'faiss', 'torch', 'transformers', 'pyarrow.compute', 'rich', 'sqlite3')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] in ("[]", "['torch', 'transformers']"), (
        done.stdout
    )  # the tiny model may be full
    assert "Bees" in done.stdout
