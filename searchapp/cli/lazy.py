"""A group of commands that imports the module of a command when that command is run, and not before.

The group knows each command by one line of a table, which is all that ``--help`` and the completion of a shell need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True)
class Entry:
    """A command: the module, the name in it that holds its function or its ``typer.Typer``, and its line of help.

    The line is the first sentence of the command's own help; a test compares the two.
    """

    module: str
    name: str
    help: str


class LazyGroup(TyperGroup):
    """A group whose commands are those of ``table``, each imported when it is first run."""

    table: Mapping[str, Entry] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._loaded: dict[str, Any] = {}
        for name, entry in self.table.items():  # stands for the command where it is listed and where it is completed
            self.add_command(TyperCommand(name, help=entry.help, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name, imported now."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, self.load(name) if name and name in self.table else command, rest

    def load(self, name: str) -> Any:
        """The command itself."""
        if name not in self._loaded:
            from searchapp.cli.message_options import add_message_options

            self._loaded[name] = add_message_options(_load(name, self.table[name]))
        return self._loaded[name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the lines of the table, whole."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.table.items()])


def lazy_group(table: Mapping[str, Entry]) -> type[LazyGroup]:
    """The class of a group of these commands, as ``typer.Typer(cls=…)`` takes it."""
    return type("LazyGroup", (LazyGroup,), {"table": table})


def _load(name: str, entry: Entry) -> Any:
    """Import a command, and make of it what the group calls."""
    found = getattr(import_module(entry.module), entry.name)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
        return typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]  # a group, as it has a group
    app.command(name, **getattr(found, "command_settings", {}))(found)
    return typer.main.get_command(app)
