"""The program ``searchapp``: its commands, and what becomes of errors.

Exit codes: 0 done; 2 the input or the options are wrong (one line on standard error); 1 a fault of the program;
130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import typer

from searchapp.cli import build, demo, evaluate, inspect, search
from searchapp.cli.console import complain
from searchapp.errors import SearchAppError

app = typer.Typer(
    name="searchapp",
    help="Semantic search over your own documents: build an index, search it, measure it.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("build")(build.build)
app.command("search")(search.search)
app.command("info")(inspect.info)
app.command("verify")(inspect.verify)
app.command("demo")(demo.demo)
app.add_typer(evaluate.app, name="evaluate")


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Semantic search over your own documents: build an index, search it, measure it."""


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # set, so that it does not warn when a process forks
    raise SystemExit(_run(given, debug))


def _run(arguments: list[str], debug: bool) -> int:
    command = " ".join(["searchapp", *arguments])
    try:
        result: Any = app(arguments, standalone_mode=False)
    except SearchAppError as error:
        if debug:
            raise
        complain(str(error))
        return 2
    except click.UsageError as error:
        complain(f"{error.format_message()} See: {error.ctx.command_path if error.ctx else 'searchapp'} --help")
        return 2
    except (KeyboardInterrupt, click.Abort):
        complain(f"interrupted; what was committed is kept. To go on: {command}")
        return 130
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader has gone; nothing is left to say to it
        return 0
    except Exception as error:
        if debug:
            raise
        complain(f"a fault of searchapp: {type(error).__name__}: {error}. Run it again with --debug for the traceback")
        return 1
    return result if isinstance(result, int) else 0
