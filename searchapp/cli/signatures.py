"""Command line options made from dataclass fields, and a help page that groups them by what they are about.

A field says how it looks on the command line in its metadata, so that the library's own dataclass stays the one place
of names, types and defaults::

    @dataclass(frozen=True)
    class Training:
        steps: int = field(default=1_000, metadata={"help": "Optimizer steps.", "panel": "Training", "min": 1})

    @command("searchapp train --steps 10", "searchapp train --steps 10 --seed 1")
    @options_from("settings", Training())
    def train(model: Model, settings: Training) -> None: ...

Keys of the metadata; a field without ``help`` is no option:

- ``help``: one sentence.
- ``flags``: the spellings; default: ``--the-field-name``. ``--on/--off`` names both sides of a switch.
- ``panel``: the heading that the option stands below in ``--help``; default: Options.
- ``default``: what the help gives as the default, where the value does not say it (None, an empty text, 0 for "all").
- ``min``, ``max``: bounds that are checked before the command begins.
- ``metavar``: what stands for the value.
- ``argument``: True for a positional argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from searchapp.cli.option_fields import OptionField, flags, instance, option_fields

Command = Callable[..., None]


def command(*lines: str) -> Callable[[Command], Command]:
    """Say how a command is made of a function: its help in panels, with these examples at its end."""

    def decorate(function: Command) -> Command:
        function.command_settings = {"cls": GroupedCommand, "epilog": examples(*lines)}  # type: ignore[attr-defined]
        return function

    return decorate


def options_from(
    parameter: str, holder: Any, *, only_given: bool = False, without: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Replace a parameter of a command by an option for each field of ``holder``, a dataclass or an instance of one.

    The command is called with an instance of the dataclass. With ``only_given`` it is called with a dict of the
    options that were given, for settings whose defaults depend on each other; the help shows the defaults all the
    same. Fields in ``without`` are no options of this command and keep their values. It may be applied several times,
    once for each parameter. Raises TypeError where the command lacks the parameter, or has another of an option's name.
    """
    items = {item.name: item for item in option_fields(holder) if item.name not in without}

    def decorate(function: Command) -> Command:
        before = inspect.signature(function, eval_str=True).parameters
        if parameter not in before or (twice := sorted(set(items) & (set(before) - {parameter}))):
            found = f"no parameter {parameter}" if parameter not in before else f"a parameter {twice[0]} already"
            raise TypeError(f"{function.__name__} has {found}")
        made: list[inspect.Parameter] = []
        for name, old in before.items():
            new = [_parameter(item, only_given) for item in items.values()] if name == parameter else [old]
            made += [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in new]

        def called(**given: Any) -> None:
            values = {name: items[name].parsed(given.pop(name)) for name in items}
            if only_given:
                function(**given, **{parameter: {name: value for name, value in values.items() if value is not None}})
            else:
                function(**given, **{parameter: instance(holder, values)})

        called.__name__, called.__doc__, called.__module__ = function.__name__, function.__doc__, function.__module__
        called.__annotations__ = {item.name: item.annotation for item in made}
        called.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]  # what typer reads
        return called

    return decorate


class GroupedCommand(TyperCommand):
    """A command whose help puts options below the heading of their panel, and examples as they are to be pasted."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then every panel in the order of its first option, and what has no panel last."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        rest: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is None:
                continue
            panel = getattr(parameter, "rich_help_panel", None)
            if parameter.param_type_name == "argument":
                panels["Arguments"].append(record)
            elif panel:
                panels.setdefault(panel, []).append(record)
            else:
                rest.append(record)
        for name, records in [*panels.items(), ("Options", rest)]:
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, a line each: wrapped lines could not be pasted."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def examples(*lines: str) -> str:
    """Join the examples of a command to its epilog."""
    return "\n".join(lines)


def _parameter(item: OptionField, only_given: bool) -> inspect.Parameter:
    """The parameter that typer reads for a field."""
    kind: Any = list[get_args(item.kind)[0]] if item.is_sequence else item.kind  # type: ignore[misc]
    required = item.default is MISSING
    shown = "" if required else _shown(item)
    details: dict[str, Any] = {
        key: item.metadata[key] for key in ("min", "max", "metavar") if item.metadata.get(key) is not None
    }
    details["help"] = " ".join(filter(None, (item.metadata["help"], f"[default: {shown}]" if shown else "")))
    details["show_default"] = False  # the text above is the same for values that typer would leave out
    details["rich_help_panel"] = item.metadata.get("panel")
    if item.metadata.get("argument"):
        info: Any = typer.Argument(**details)
    else:
        info = typer.Option(*flags(item), **details)
    default: Any = inspect.Parameter.empty
    if not required:
        default = None if only_given or item.default in (None, ()) else _plain(item)
    annotation = Annotated[kind, info] if default is not None else Annotated[kind | None, info]
    return inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _plain(item: OptionField) -> Any:
    return list(item.default) if item.is_sequence else item.default


def _shown(item: OptionField) -> str:
    """What the help gives as the default; "" for nothing."""
    if (text := item.metadata.get("default")) is not None:
        return str(text)
    match item.default:
        case None | "" | () | [] | False if "/" not in "".join(flags(item)):
            return ""
        case bool():
            return "yes" if item.default else "no"
        case Enum():
            return str(item.default.value)
        case float():
            return _number(item.default)
        case tuple() | list():
            return ", ".join(map(str, item.default))
        case Path() | str() | int():
            return str(item.default)
    return ""


def _number(value: float) -> str:
    """A number as people write it: 5e-5, 0.05, 20."""
    mantissa, _, exponent = f"{value:g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
