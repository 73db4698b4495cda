"""Options made from dataclass fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from searchapp.cli.signatures import GroupedCommand, examples, options_from


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    steps: int = field(default=10, metadata={"help": "Steps.", "panel": "Training", "min": 1})
    hidden: int = 7


@dataclass(frozen=True)
class Outer:
    source: Path = field(metadata={"help": "Where from.", "panel": "Data", "flags": ("--source", "-s")})
    inner: Inner = field(default_factory=Inner)
    rate: float = field(default=5e-5, metadata={"help": "Rate.", "panel": "Training"})
    limit: int | None = field(default=None, metadata={"help": "Limit.", "default": "none"})
    dims: tuple[int, ...] = field(default=(), metadata={"help": "Dimensions."})
    names: tuple[str, ...] = field(default=("a", "b"), metadata={"help": "Names."})
    colour: Colour = field(default=Colour.RED, metadata={"help": "Colour."})
    fast: bool = field(default=False, metadata={"help": "Fast."})
    checked: bool = field(default=True, metadata={"help": "Checked."})


def _program(holder: Any, only_given: bool = False) -> tuple[typer.Typer, list[Any]]:
    app, seen = typer.Typer(rich_markup_mode=None), []

    @app.command(cls=GroupedCommand, epilog=examples("program ONE --steps 3", "program TWO " + "long " * 30))
    @options_from("settings", holder, only_given=only_given)
    def command(word: Annotated[str, typer.Argument(help="A word.")], settings: Any, last: int = 1) -> None:
        """Do it."""
        seen.append((word, settings, last))

    return app, seen


def _run(app: typer.Typer, *arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_a_command_gets_an_instance() -> None:
    app, seen = _program(Outer)
    assert _run(app, "w", "-s", "x").exit_code == 0
    assert seen.pop() == ("w", Outer(Path("x")), 1)
    given = "w -s x --steps 3 --rate 1e-3 --limit 4 --dims 8 --dims 16 --names c --colour blue --fast --no-checked"
    assert _run(app, *given.split(), "--last", "2").exit_code == 0
    wanted = Outer(Path("x"), Inner(3), 1e-3, 4, (8, 16), ("c",), Colour.BLUE, True, False)
    assert seen.pop() == ("w", wanted, 2)


def test_the_values_of_an_instance_are_the_defaults() -> None:
    app, seen = _program(Outer(Path("given"), inner=Inner(99, hidden=5)))
    assert _run(app, "w").exit_code == 0
    assert seen.pop()[1] == Outer(Path("given"), inner=Inner(99, hidden=5))
    assert "[default: 99]" in _run(app, "--help").output


def test_only_what_was_given() -> None:
    app, seen = _program(Outer(Path("x")), only_given=True)
    assert _run(app, "w").exit_code == 0
    assert seen.pop()[1] == {}
    assert _run(app, "w", "--steps", "10", "--no-checked", "--dims", "8").exit_code == 0
    assert seen.pop()[1] == {"steps": 10, "checked": False, "dims": (8,)}


def test_what_is_wrong_is_refused() -> None:
    app, _ = _program(Outer)
    for arguments in (["w"], ["w", "-s", "x", "--steps", "0"], ["w", "-s", "x", "--hidden", "1"],
                      ["w", "-s", "x", "--no-fast"], ["w", "-s", "x", "--colour", "green"]):  # fmt: skip
        assert _run(app, *arguments).exit_code == 2, arguments


def test_the_help_is_grouped_and_its_examples_are_not_wrapped() -> None:
    app, _ = _program(Outer)
    text = _run(app, "--help").output
    headings = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Arguments", "Data", "Training", "Options", "Examples"]
    training = text.partition("Training:\n")[2].partition("\n\n")[0]
    assert "[default: 10]" in training
    assert "[default: 5e-5]" in training
    assert "--source" not in training
    assert "  program TWO " + "long " * 29 + "long" in text
    assert "[default: a, b]" in text
    assert "Limit. [default: none]" in text


def test_a_mistake_of_the_programmer_is_said() -> None:
    with pytest.raises(TypeError, match="no parameter options"):

        @options_from("options", Inner)
        def command(other: int) -> None: ...

    with pytest.raises(TypeError, match="a parameter steps already"):

        @options_from("options", Inner)
        def again(options: Inner, steps: int) -> None: ...

    with pytest.raises(TypeError, match="is no dataclass"):
        options_from("options", 3)
