"""``searchapp serve``: one process that searches, embeds and reranks over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from searchapp.cli import options
from searchapp.cli.console import notice
from searchapp.cli.signatures import command, options_from
from searchapp.errors import SearchAppError
from searchapp.serve.limits import Limits

SERVER, WHO = "Server", "Who may ask"
INDEXES = "Index directories, or NAME=DIRECTORY; without one the only one under indexes/."


@command(
    "searchapp serve indexes/notes",
    "searchapp serve notes=indexes/notes docs=indexes/docs --rerank bundled",
    "searchapp serve indexes/notes --host 0.0.0.0 --token-file ~/.searchapp-token --allow-host search.example.org",
)
@options_from("limits", Limits())
def serve(
    limits: Limits,
    indexes: Annotated[list[str] | None, typer.Argument(metavar="[INDEX]...", help=INDEXES)] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.", rich_help_panel=SERVER)] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port; 0: any that is free.", min=0, max=65_535, rich_help_panel=SERVER)
    ] = 8_000,
    rerank: Annotated[
        list[str] | None, typer.Option(help="A reranker that requests may ask for; repeat it.", rich_help_panel=SERVER)
    ] = None,
    judgements: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder that judgements are written to, or NAME=FOLDER, as `evaluate init` makes it; repeat it.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    writable: Annotated[
        bool, typer.Option("--writable", help="Documents may be written and deleted.", rich_help_panel=SERVER)
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file with the token to ask for; made where it is not there.", rich_help_panel=WHO),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name this server is known by; repeat it.", rich_help_panel=WHO)
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="A site whose pages may ask; repeat it.", rich_help_panel=WHO)
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Search, embed and rerank over HTTP, with a page to search on.

    It answers this machine alone unless --host says otherwise, which needs a token.
    """
    require_extra("serve", "msgspec", "prometheus_client", "starlette", "uvicorn")
    from searchapp.cli.which import index_and_queries
    from searchapp.serve.door import Door, is_loopback
    from searchapp.serve.names import named_indexes
    from searchapp.serve.run import listen, read_token
    from searchapp.serve.run import serve as run
    from searchapp.serve.server import Setup

    found = named_indexes(indexes or [str(index_and_queries([])[0])])
    token = None if token_file is None else read_token(token_file.expanduser())
    door = Door.of(host, allowed=allow_host or (), token=token, origins=cors_origin or (), limits=limits)
    setup = Setup(found, tuple(dict.fromkeys(rerank or ())), named_folders(judgements or []), device, writable, limits)
    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"

    def said(text: str) -> None:
        page = f"{address}#token={token}" if token is not None and is_loopback(host) else address
        notice(f"{text}: {page}")

    notice(f"loading {', '.join(found)} …")
    run(setup, door, listener, said=said, mounts=_assistants())


def _assistants() -> list[Any]:
    """What answers assistants at ``/mcp``, where the extra ``mcp`` is installed."""
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        return []
    from searchapp.assistants.mount import mounted

    return [mounted]


def named_folders(given: list[str]) -> dict[str, Path]:
    """Folders by name, from ``NAME=FOLDER`` or a folder. Raises SearchAppError where there is none."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, place = text.partition("=")
        path = Path(place if equals and "/" not in name else text)
        name = name if equals and "/" not in name else path.resolve().name
        if not path.is_dir():
            raise SearchAppError(f"{path} is no directory; `searchapp evaluate init` makes one to judge in")
        if not (path / "pool.jsonl").is_file():
            raise SearchAppError(f"{path} has no pool.jsonl; expected a folder that `searchapp evaluate init` has made")
        if name in found:
            raise SearchAppError(f"two folders are named {name!r}; name them apart, as in {name}2={path}")
        found[name] = path
    return found


def require_extra(extra: str, *modules: str) -> None:
    """Raise SearchAppError, with the command that installs them, where packages of an extra are missing."""
    from importlib.util import find_spec

    if missing := [name for name in modules if find_spec(name) is None]:
        raise SearchAppError(
            f"this needs {', '.join(missing)}: not installed here; do `pip install 'searchapp[{extra}]'`"
        )
