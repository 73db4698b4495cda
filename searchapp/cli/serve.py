"""``searchapp serve``: one process that searches, embeds and reranks over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.cli import options
from searchapp.cli.console import notice
from searchapp.cli.signatures import command, options_from
from searchapp.errors import SearchAppError
from searchapp.serve.limits import Limits

if TYPE_CHECKING:
    from searchapp.shards.remote import Cluster

SERVER, WHO, SHARDS = "Server", "Who may ask", "Shards over machines"
INDEXES = "Index directories, or NAME=DIRECTORY; without one the only one under indexes/."


@command(
    "searchapp serve indexes/notes",
    "searchapp serve notes=indexes/notes docs=indexes/docs --rerank bundled",
    "searchapp serve indexes/notes --host 0.0.0.0 --token-file ~/.searchapp-token --allow-host search.example.org",
    "searchapp serve indexes/big --shards s0000,s0001 --host 10.0.0.5 --token-file ~/.searchapp-token",
    "searchapp serve indexes/big --peer http://10.0.0.5:8000=s0000,s0001 --peer http://10.0.0.6:8000=s0002",
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
    shards: Annotated[
        str | None,
        typer.Option(help="Answer coordinators for these shards of a root, or all.", rich_help_panel=SHARDS),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            help="A server with shards, as http://HOST:PORT=SHARD,SHARD; without shards: all. Repeat it.",
            rich_help_panel=SHARDS,
        ),
    ] = None,
    peer_token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that these servers ask for.", rich_help_panel=SHARDS)
    ] = None,
    peer_seconds: Annotated[
        float, typer.Option(help="Seconds a shard may take for one step.", min=0.01, rich_help_panel=SHARDS)
    ] = 2.0,
    require: Annotated[
        str,
        typer.Option(
            help="all: refuse what misses a shard (503); any: answer, and say what is missing.", rich_help_panel=SHARDS
        ),
    ] = "all",
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
    names = shard_names(shards, found)
    cluster = cluster_of(peer or [], peer_token_file, peer_seconds, require, found)
    if names is not None and cluster is not None:
        raise SearchAppError("--shards and --peer go to different servers; give one of them")
    if writable and (names is not None or cluster is not None):
        raise SearchAppError("--writable needs the whole index here; leave it out with --shards and --peer")
    setup = Setup(
        found, tuple(dict.fromkeys(rerank or ())), named_folders(judgements or []), device, writable, limits, names,
        cluster,
    )  # fmt: skip
    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"

    def said(text: str) -> None:
        page = f"{address}#token={token}" if token is not None and is_loopback(host) else address
        notice(f"{text}: {page}")

    notice(f"loading {', '.join(found)} …")
    run(setup, door, listener, said=said, mounts=_assistants() if names is None else _shard_mounts())


def shard_names(given: str | None, indexes: dict[str, Path]) -> tuple[str, ...] | None:
    """The shards to answer for: none for all; None without the option. Raises SearchAppError where there is no root."""
    if given is None:
        return None
    _require_root("--shards", indexes)
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not names:
        raise SearchAppError("--shards names no shard; expected such as s0000,s0001, or all")
    return () if names == ("all",) else names


def cluster_of(
    peers: list[str], token_file: Path | None, seconds: float, require: str, indexes: dict[str, Path]
) -> Cluster | None:
    """The servers that have the shards; None without any. Raises SearchAppError."""
    if require not in ("all", "any"):
        raise SearchAppError(f"--require is {require!r}; expected all or any")
    if not peers:
        if token_file is not None:
            raise SearchAppError("--peer-token-file goes with --peer")
        return None
    from searchapp.serve.run import read_token
    from searchapp.shards.peers import PeerAddress
    from searchapp.shards.remote import Cluster

    _require_root("--peer", indexes)
    if token_file is not None and not token_file.expanduser().is_file():
        raise SearchAppError(f"{token_file} is not there; expected the file with the token of the shard servers")
    token = None if token_file is None else read_token(token_file.expanduser())
    return Cluster([PeerAddress.of(text) for text in peers], token, seconds=seconds, require_all=require == "all")


def _require_root(option: str, indexes: dict[str, Path]) -> None:
    from searchapp.shards.kind import is_root

    if len(indexes) != 1 or not all(is_root(path) for path in indexes.values()):
        shown = ", ".join(str(path) for path in indexes.values())
        raise SearchAppError(f"{option} goes with one root of shards, a folder with root-*.json; found {shown}")


def _shard_mounts() -> list[Any]:
    from searchapp.serve.shard_mount import mounted

    return [mounted]


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
