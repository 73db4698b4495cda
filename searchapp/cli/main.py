"""The program ``searchapp``: its commands, and what becomes of errors.

Exit codes: 0 done; 2 the input or the options are wrong (one line on standard error); 1 a fault of the program;
130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import sys
from typing import Any

from searchapp.cli.configuration import Configuration, is_configured
from searchapp.cli.console import OutputClosedError, accept_all_characters, complain, flush, flush_output
from searchapp.cli.plain_arguments import plain_arguments
from searchapp.cli.verbosity import verbosity
from searchapp.errors import SearchAppError, is_disk_full, is_out_of_memory, reason_of

INTERRUPTED = 130
COLLECTED = 50_000  # objects made before the youngest are searched for cycles; 700 is Python's own
COMPLETION = "_SEARCHAPP_COMPLETE"  # the environment variable by which a shell asks typer what can follow
RESUMABLE = (
    ("build",),
    ("demo",),
    ("add",),
    ("reembed",),
    *(("adapt", stage) for stage in ("mntp", "simcse", "supervised", "run")),
)


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit with its code."""
    if arguments is None:
        _collect_rarely()
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


def _collect_rarely() -> None:
    """Search for cycles rarely, and not at the end of the process: torch and transformers are a million objects.

    Nearly all that they make when they are imported stays. Searching it again and again, and once more at the end, took
    a quarter of the time of a short ``build`` (docs/log.md, 2026-12-01). For a process that is this program's alone.
    """
    gc.set_threshold(COLLECTED, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)


def _run(arguments: list[str], debug: bool) -> int:
    try:
        result = 0 if _searched(arguments) else _program(arguments)
        flush()
    except OutputClosedError:
        return 0
    except SystemExit as stop:  # of --show-completion, or what typer makes of a broken pipe that `say` did not meet
        if stop.code in (0, None) or not arguments or "--help" in arguments:
            return 0
        return _failed(stop.__context__, debug) if isinstance(stop.__context__, Exception) else 1
    except (KeyboardInterrupt, EOFError):
        result = INTERRUPTED
    except Exception as error:
        return _failed(error, debug)
    if result == INTERRUPTED:
        _interrupted(arguments)
    return result


def _searched(arguments: list[str]) -> bool:
    """Search, where the arguments are plain ones of ``search``: typer takes longer to be imported than it takes."""
    if arguments[:1] != ["search"] or COMPLETION in os.environ or is_configured(arguments):
        return False
    from searchapp.cli.search import Asked, search

    if (asked := plain_arguments(Asked(), arguments[1:])) is None:
        return False
    search(asked)
    return True


def _program(arguments: list[str]) -> int:
    """Run what the arguments name, by typer; the exit code, which is ``INTERRUPTED`` after Ctrl-C."""
    import typer

    from searchapp.cli.message_options import add_message_options
    from searchapp.cli.program import app

    try:
        program = add_message_options(typer.main.get_command(app))
        configuration = Configuration(program)
        defaults = configuration.defaults(arguments) if arguments and is_configured(arguments) else {}
        result: Any = program(
            arguments or ["--help"], prog_name="searchapp", standalone_mode=False, default_map=defaults
        )
    except typer.TyperException as error:
        setting = configuration.blamed(arguments, getattr(error, "param", None))
        if setting is None:
            raise
        raise SearchAppError(
            f"{setting.origin}: {setting.name} is {setting.value!r}; {error.format_message().rstrip('.')}"
        ) from error
    except typer.Abort:
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _failed(error: Exception, debug: bool) -> int:
    """Say what went wrong; the code is 2 for a mistake in the input or the options, 1 for a fault of the program."""
    shown = error if debug else None
    match error:
        case SearchAppError():
            complain(str(error), shown)
        case _ if (found := _wrong_option(error)) is not None:
            complain(found, shown)
        case OSError() if is_disk_full(error):
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


def _wrong_option(error: Exception) -> str | None:
    """What typer itself finds wrong with the options; None for another error, or where typer is not at work."""
    if "typer" not in sys.modules:
        return None
    from typer import TyperException

    if not isinstance(error, TyperException):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "searchapp"
    return f"{error.format_message().rstrip('.')}; see {command} --help"


def _interrupted(arguments: list[str]) -> None:
    words = [argument for argument in arguments if not argument.startswith("-")]
    if any(tuple(words[: len(command)]) == command for command in RESUMABLE):  # it goes on where it was
        from searchapp.corpus.urls import is_url, shown_url

        command = shlex.join(["searchapp", *(shown_url(word) if is_url(word) else word for word in arguments)])
        complain(f"interrupted; what was committed is kept. To go on: {command}", fold=False)
    else:
        complain("interrupted")
