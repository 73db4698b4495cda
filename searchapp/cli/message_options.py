"""The options that every command has, before or after its name: how much the program says beside its results."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from searchapp.cli.verbosity import JSON_LOG, ask

PANEL = "Messages"  # the heading of help pages


def _verbose(value: int) -> int:
    ask(verbose=value)
    return value


def _quiet(value: bool) -> bool:
    ask(quiet=value)
    return value


def _json(value: bool) -> bool:
    ask(json=value)
    return value


def _options(
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            callback=_verbose,
            is_eager=True,
            expose_value=False,
            rich_help_panel=PANEL,
            show_default=False,
            metavar="",
            help="Say what is done, where it comes from and what it takes; -vv: every detail.",
        ),
    ] = 0,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            callback=_quiet,
            is_eager=True,
            expose_value=False,
            rich_help_panel=PANEL,
            help="Say nothing but results and errors; draw no progress bars.",
        ),
    ] = False,
    log_json: Annotated[
        bool,
        typer.Option(
            "--log-json",
            callback=_json,
            is_eager=True,
            expose_value=False,
            rich_help_panel=PANEL,
            help=f"Say it as lines of JSON on standard error; also {JSON_LOG}=json in the environment.",
        ),
    ] = False,
) -> None: ...


def add_message_options(command: Any) -> Any:
    """Give a command, and those below it, the options; returns it."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(_options)
    command.params += typer.main.get_command(app).params
    for below in getattr(command, "commands", {}).values():
        add_message_options(below)
    return command
