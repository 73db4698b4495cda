"""The program ``searchapp``: its commands, and what becomes of errors.

Exit codes: 0 done; 2 the input or the options are wrong (one line on standard error); 1 a fault of the program;
130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer import TyperException

from searchapp.cli import build, demo, evaluate, inspect, search
from searchapp.cli.console import complain
from searchapp.errors import SearchAppError

INTERRUPTED = 130
app = typer.Typer(
    name="searchapp",
    help="Semantic search over your own documents: build an index, search it, measure it.",
    add_completion=False,
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
        result: Any = app(arguments or ["--help"], standalone_mode=False)
    except SearchAppError as error:
        if debug:
            raise
        complain(str(error))
        return 2
    except TyperException as error:  # what typer itself finds wrong with the options
        complain(f"{error.format_message().rstrip('.')}; see {command.split(' --')[0]} --help")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader has gone; nothing is left to say to it
        return 0
    except Exception as error:
        if debug:
            raise
        complain(f"a fault of searchapp: {type(error).__name__}: {error}. Run it again with --debug for the traceback")
        return 1
    if result == INTERRUPTED:  # typer turns Ctrl-C into this code
        complain(f"interrupted; what was committed is kept. To go on: {command}")
    return result if isinstance(result, int) else 0
