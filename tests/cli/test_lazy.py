"""Commands are imported when they are run; what is listed before that is true of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import searchapp
from searchapp.cli.lazy import LazyGroup
from searchapp.cli.program import COMMANDS, app

PROGRAM = typer.main.get_command(app)
MODULES = {entry.module for entry in COMMANDS.values()}
SHARED = "print(*sorted(name for name in sys.modules if name.startswith('searchapp')))"


def groups(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], LazyGroup]]:
    if isinstance(group, LazyGroup):
        yield path, group
        for name in group.table:
            yield from groups(group.load(name), *path, name)


def imported(*arguments: str) -> set[str]:
    """The modules of searchapp that a run of the program has imported at its end."""
    code = (
        "import sys\nfrom searchapp.cli.main import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit: pass\nsys.stdout = sys.stderr\n{SHARED}"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "path, group", [pytest.param(*found, id=" ".join(found[0]) or "-") for found in groups(PROGRAM)]
)
def test_the_lines_of_the_table_are_the_commands_own(path: tuple[str, ...], group: LazyGroup) -> None:
    for name, entry in group.table.items():
        paragraph = " ".join((group.load(name).help or "").partition("\n\n")[0].split())
        assert paragraph == entry.help or paragraph.startswith(entry.help + " "), (path, name)
        assert entry.help.endswith("."), (path, name)
        assert group.load(name).name == name


def test_the_program_starts_with_no_command() -> None:
    for arguments in ([], ["--help"], ["--version-that-is-none"], ["nonsense"]):
        assert not imported(*arguments) & MODULES
        assert not any(name.startswith(("searchapp.corpus", "searchapp.index")) for name in imported(*arguments))


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_command_imports_no_other(command: str) -> None:
    found = imported(command, "--help")
    assert found & MODULES == {COMMANDS[command].module}
    settings = {"searchapp.serve", "searchapp.serve.limits"} if command == "serve" else set()  # which are its options
    if command != "adapt":  # whose settings are the options, too
        assert not [
            name
            for name in found - settings
            if name.split(".")[1:2] not in ([], ["cli"], ["errors"], ["logs"], ["telemetry"])
        ]


def test_a_command_of_a_group_imports_no_other() -> None:
    found = {name for name in imported("evaluate", "compare", "--help") if name.startswith("searchapp.cli.evaluate.")}
    assert found == {"searchapp.cli.evaluate.compare", "searchapp.cli.evaluate.options"}


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("searchapp ", set(COMMANDS)),
        (
            "searchapp evaluate ",
            {"retrieval", "rerank", "compare", "explain", "overlap", "tune-fusion", "models", "init", "judge"},
        ),
        ("searchapp adapt mn", {"mntp"}),
        ("searchapp evaluate retrieval --rerank", {"--rerank", "--rerank-depth", "--reranker-kind"}),
        ("searchapp search --pass", {"--passages"}),
        ("searchapp adapt mntp --step", {"--steps"}),
        ("searchapp info --verb", {"--verbose"}),
        ("searchapp evaluate --quie", {"--quiet"}),
    ],
)
def test_a_shell_completes_commands_and_options(typed: str, found: set[str]) -> None:
    words = typed.split(" ")
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1), "_SEARCHAPP_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", "from searchapp.cli import main; main()"], env={**os.environ, **asked},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, set(done.stdout.split()), done.stderr) == (0, found, "")


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a bash that has the program on its path, and a home of its own."""
    program = tmp_path / "bin" / "searchapp"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m searchapp "$@"\n')
    program.chmod(0o755)
    paths = f"{program.parent}:{os.environ['PATH']}"
    root = str(Path(searchapp.__file__).parents[1])
    return {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash", "PATH": paths, "PYTHONPATH": root}


def bash(script: str, shell: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--norc", "-c", script], env=shell, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_with_the_script_that_is_shown(shell: dict[str, str]) -> None:
    shown = bash("searchapp --show-completion; echo code $?", shell)
    script, _, code = shown.stdout.rpartition("code ")
    assert (code, shown.stderr) == ("0\n", "")
    complete = "COMP_WORDS=(searchapp evaluate comp); COMP_CWORD=2; _searchapp_completion searchapp; echo $COMPREPLY"
    assert bash(f"{script}\n{complete}", shell).stdout == "compare\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_script_is_installed(shell: dict[str, str], tmp_path: Path) -> None:
    done = bash("searchapp --install-completion; echo code $?", shell)
    assert done.stdout.endswith("code 0\n"), done
    assert "_SEARCHAPP_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "searchapp.sh").read_text()
    assert ".bash_completions/searchapp.sh" in (tmp_path / ".bashrc").read_text()
