"""The program ``searchapp``: its commands, and what becomes of errors.

Exit codes: 0 done; 2 the input or the options are wrong (one line on standard error); 1 a fault of the program;
130 interrupted.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from typing import Any

import typer
from typer import TyperException

from searchapp.cli.console import OutputClosedError, accept_all_characters, complain, flush, flush_output
from searchapp.cli.lazy import Entry, lazy_group
from searchapp.errors import SearchAppError, is_out_of_memory, reason_of

INTERRUPTED = 130
RESUMABLE = (
    ("build",),
    ("demo",),
    ("add",),
    ("reembed",),
    *(("adapt", stage) for stage in ("mntp", "simcse", "supervised", "run")),
)
COMMANDS = {
    "build": Entry("searchapp.cli.build", "build", "Embed documents and build an index over them."),
    "search": Entry("searchapp.cli.search", "search", "Search an index."),
    "add": Entry("searchapp.cli.update", "add", "Add documents to an index; one whose id is there takes its place."),
    "delete": Entry("searchapp.cli.update", "delete", "Delete documents by id, or all whose metadata pass a filter."),
    "compact": Entry(
        "searchapp.cli.update",
        "compact",
        "Drop what was deleted from an index, fold in what was added, and train it again.",
    ),
    "lexical": Entry(
        "searchapp.cli.lexical", "lexical", "Count the words of an index for BM25, complete or change them."
    ),
    "info": Entry("searchapp.cli.inspect", "info", "Show what an index holds and what made it."),
    "verify": Entry(
        "searchapp.cli.inspect",
        "verify",
        "Check every checksum and count of an index, and that a search finds what is stored.",
    ),
    "reindex": Entry(
        "searchapp.cli.tune",
        "reindex",
        "Make the reduction and the search index anew from the stored vectors; no document is encoded again.",
    ),
    "reembed": Entry(
        "searchapp.cli.reembed",
        "reembed",
        "Encode the documents of an index by another model, from its stored texts; the sources are not read.",
    ),
    "tune": Entry(
        "searchapp.cli.tune",
        "tune",
        "Measure recall@10 against exact search and time for many settings, print the curve, perhaps store one of "
        "them.",
    ),
    "serve": Entry("searchapp.cli.serve", "serve", "Search, embed and rerank over HTTP, with a page to search on."),
    "mcp": Entry(
        "searchapp.cli.mcp",
        "mcp",
        "Let an assistant search and read an index, over the Model Context Protocol on standard input and output.",
    ),
    "export": Entry(
        "searchapp.cli.export",
        "export",
        "Merge a model with its adapters into a checkpoint for sentence-transformers and for searchapp.",
    ),
    "models": Entry(
        "searchapp.cli.models",
        "models",
        "List the models that can be used here: the shipped one, those in the hub's cache, those in folders.",
    ),
    "demo": Entry(
        "searchapp.cli.demo",
        "demo",
        "Build an index over the docstrings of the standard library, search it, and say what to type next.",
    ),
    "evaluate": Entry(
        "searchapp.cli.evaluate",
        "app",
        "Measure how good search and reranking are, compare runs, make a test collection.",
    ),
    "adapt": Entry(
        "searchapp.cli.adapt",
        "app",
        "Turn a decoder language model into an embedder: train it on your text and your pairs.",
    ),
    "bench": Entry("searchapp.cli.bench", "app", "Measure speed."),
}
app = typer.Typer(
    name="searchapp",
    cls=lazy_group(COMMANDS),
    help="Semantic search over your own documents: build an index, search it, measure it.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Semantic search over your own documents: build an index, search it, measure it."""


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit with its code."""
    from searchapp.cli.verbosity import verbosity

    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # set, so that it does not warn when a process forks
    # Texts are tokenised while the model runs: its threads have most of the cores, and stall when one is taken away.
    os.environ.setdefault("RAYON_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 4)))
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the user, as in >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - open until the program ends
    accept_all_characters()
    with verbosity():
        code = _run(given, debug)
    flush_output()
    raise SystemExit(code)


def _run(arguments: list[str], debug: bool) -> int:
    from searchapp.cli.verbosity import add_verbosity

    try:
        program = add_verbosity(typer.main.get_command(app))
        result: Any = program(arguments or ["--help"], prog_name="searchapp", standalone_mode=False)
        flush()
    except OutputClosedError:
        return 0
    except SystemExit as stop:  # of --show-completion, or what typer makes of a broken pipe that `say` did not meet
        if stop.code in (0, None) or not arguments or "--help" in arguments:
            return 0
        return _failed(stop.__context__, debug) if isinstance(stop.__context__, Exception) else 1
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except Exception as error:
        return _failed(error, debug)
    if result == INTERRUPTED:  # typer turns Ctrl-C into this code
        _interrupted(arguments)
    return result if isinstance(result, int) else 0


def _failed(error: Exception, debug: bool) -> int:
    """Say what went wrong; the code is 2 for a mistake in the input or the options, 1 for a fault of the program."""
    shown = error if debug else None
    match error:
        case SearchAppError():
            complain(str(error), shown)
        case TyperException():  # what typer itself finds wrong with the options
            context = getattr(error, "ctx", None)
            command = context.command_path if context is not None else "searchapp"
            complain(f"{error.format_message().rstrip('.')}; see {command} --help", shown)
        case OSError(errno=errno.ENOSPC):
            place = error.filename or "the device written to"
            complain(f"no space is left on {place}; make room and run it again", shown)
        case _ if is_out_of_memory(error):
            complain(
                f"memory ran out ({reason_of(error)}); give it less at once (a smaller model, batch or --max-length), "
                "or close other programs",
                shown,
            )
        case _:
            again = "" if debug else ". Run it again with --debug for the traceback"
            complain(f"a fault of searchapp: {type(error).__name__}: {error}{again}", shown)
            return 1
    return 2


def _interrupted(arguments: list[str]) -> None:
    words = [argument for argument in arguments if not argument.startswith("-")]
    if any(tuple(words[: len(command)]) == command for command in RESUMABLE):  # it goes on where it was
        command = shlex.join(["searchapp", *arguments])
        complain(f"interrupted; what was committed is kept. To go on: {command}", fold=False)
    else:
        complain("interrupted")
