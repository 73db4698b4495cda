"""``searchapp mcp``: the tools of an index for an assistant that starts this program."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice, say
from searchapp.cli.signatures import command
from searchapp.errors import SearchAppError

TOOLS, HOST = "Tools", "Host"
INDEXES = "Index directories, or NAME=DIRECTORY; without one the only one under indexes/."


@command(
    "searchapp mcp indexes/notes --print-config claude",
    "searchapp mcp notes=indexes/notes docs=indexes/docs --tools search,fetch",
    "searchapp mcp --connect http://127.0.0.1:8000",
)
def mcp(
    indexes: Annotated[list[str] | None, typer.Argument(metavar="[INDEX]...", help=INDEXES)] = None,
    rerank: Annotated[
        str | None, typer.Option(help="A reranker for the best hits, once it is loaded.", rich_help_panel=TOOLS)
    ] = None,
    tools: Annotated[str | None, typer.Option(help="Only these, as in search,fetch.", rich_help_panel=TOOLS)] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=DIRECTORY: where the files of an index are; results from files that changed are marked stale.",
            rich_help_panel=TOOLS,
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Answer in plain text, for hosts that show no JSON.", rich_help_panel=TOOLS)
    ] = False,
    connect: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Pass messages on to a running `searchapp serve`.", rich_help_panel=HOST),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="With --connect: the file with the server's token.", rich_help_panel=HOST)
    ] = None,
    print_config: Annotated[
        str | None,
        typer.Option(
            metavar="CLIENT",
            help="Print the settings of a host and stop: claude, claude-desktop, cursor, vscode, codex.",
            rich_help_panel=HOST,
        ),
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Let an assistant search and read an index, over the Model Context Protocol on standard input and output.

    It only reads. It answers by words until the model is loaded, and takes newer states of the index by itself.
    """
    if connect is not None:
        _forward(connect, token_file, indexes, print_config, text or bool(root) or rerank is not None)
        return
    if token_file is not None:
        raise SearchAppError("--token-file goes with --connect; an index in a directory asks for no token")
    from searchapp.assistants.desk import Desk
    from searchapp.assistants.loading import Loading
    from searchapp.assistants.tools import chosen_tools
    from searchapp.cli.which import index_and_queries, is_index
    from searchapp.serve.names import named_indexes

    found = named_indexes(indexes or [str(index_and_queries([])[0])])
    for path in found.values():
        if not is_index(path):
            raise SearchAppError(f"{path} is not an index; make one with `searchapp build --index {path}`")
    chosen = chosen_tools(tools)
    folders = _folders(root or [], list(found))
    if print_config is not None:
        given = [f"{name}={path.resolve()}" for name, path in found.items()]
        given += _options(rerank, tools, folders, text, device)
        _print(print_config, list(found), given)
        return
    _require_sdk()
    from searchapp.assistants.stdio import run_stdio
    from searchapp.assistants.streams import claim

    if sys.stdin.isatty():
        notice("waiting for a host on standard input; --print-config CLIENT prints what to tell one")
    os.environ["HF_HUB_OFFLINE"] = "1"  # a model that is not on this machine is not fetched behind a host's back
    loading = Loading(found, device, rerank)
    desk = Desk(list(found), loading.library, chosen, folders)
    run_stdio(desk, claim(), text=text, started=loading.start)


def _forward(url: str, token_file: Path | None, indexes: list[str] | None, client: str | None, more: bool) -> None:
    from searchapp.assistants.connect import Address, Forwarding, read_secret
    from searchapp.assistants.streams import claim

    if indexes or more:
        raise SearchAppError("--connect asks the server's own indexes; leave out INDEX, --rerank, --root and --text")
    address = Address(url, None if token_file is None else read_secret(token_file))
    if client is not None:
        secret = [] if token_file is None else ["--token-file", str(token_file.expanduser().resolve())]
        _print(client, [], ["--connect", url, *secret])
        return
    Forwarding(address, claim()).run()


def _print(client: str, names: list[str], arguments: list[str]) -> None:
    from searchapp.assistants.configuration import PLACES, configuration, server_name

    text = configuration(client, server_name(names), *_program(arguments))
    notice(f"for {client}: {PLACES[client]}")
    say(text)


def _program(arguments: list[str]) -> tuple[str, list[str]]:
    """The command that starts this program from anywhere, and its arguments."""
    script = Path(sys.executable).parent / "searchapp"
    if script.is_file():
        return str(script), ["mcp", *arguments]
    return sys.executable, ["-m", "searchapp", "mcp", *arguments]


def _options(rerank: str | None, tools: str | None, folders: dict[str, Path], text: bool, device: str) -> list[str]:
    given = [] if rerank is None else ["--rerank", str(Path(rerank).resolve()) if Path(rerank).is_dir() else rerank]
    given += [] if tools is None else ["--tools", tools]
    for name, path in folders.items():
        given += ["--root", f"{name}={path}"]
    return [*given, *(["--text"] if text else []), *(["--device", device] if device != "auto" else [])]


def _folders(given: list[str], names: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals and len(names) == 1:
            name, place = names[0], text
        if name not in names:
            raise SearchAppError(f"--root {text!r} names no index; expected NAME=DIRECTORY with {' or '.join(names)}")
        if not Path(place).is_dir():
            raise SearchAppError(f"--root {text!r}: {place!r} is no directory; give the folder that was indexed")
        found[name] = Path(place).resolve()
    return found


def _require_sdk() -> None:
    from importlib.util import find_spec

    if missing := [name for name in ("mcp", "msgspec", "prometheus_client") if find_spec(name) is None]:
        raise SearchAppError(f"this needs {', '.join(missing)}: not installed here; do `pip install 'searchapp[mcp]'`")
