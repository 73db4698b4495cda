"""``searchapp shard``: one part of a build, for programs that start processes themselves, and how far a build is."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.cli.console import bytes_text, notice, plural, say, say_json, seconds_text
from searchapp.cli.lazy import Entry, lazy_group
from searchapp.cli.signatures import command
from searchapp.cli.wording import DEVICES, MODEL, OUTPUT, WORKERS
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.shards.driver import Progressed
    from searchapp.shards.make import Made

COMMANDS = {
    "run": Entry(
        "searchapp.cli.shard",
        "run",
        "Encode chunks of a build that was planned with --engine none: those whose number, modulo n, is i.",
    ),
    "fetch": Entry(
        "searchapp.cli.shard",
        "fetch",
        "Copy an index of an object store to a folder of this machine, to be searched: only what is not there yet.",
    ),
}
app = typer.Typer(cls=lazy_group(COMMANDS), help="Do one part of a build on many machines.", rich_markup_mode=None)
SHOWN = 8  # failed chunks


@app.callback()
def shard() -> None:
    """Do one part of a build on many machines."""


@command("searchapp shard run /shared/indexes/wiki --chunk 0/64", "searchapp shard run s3://bucket/wiki --chunk 5/64")
def run(
    plan: Annotated[
        str, typer.Argument(metavar="INDEX", help="The folder or URL that was given as --index.", show_default=False)
    ],
    chunk: Annotated[
        str,
        typer.Option(
            "--chunk",
            metavar="I/N",
            help="Which chunks: I from 0 to N - 1.",
            show_default=False,
            rich_help_panel=WORKERS,
        ),
    ],
    device: Annotated[str, typer.Option(help=DEVICES, rich_help_panel=MODEL)] = "auto",
    scratch: Annotated[
        str | None, typer.Option(help="A folder of this machine to work in.", rich_help_panel=OUTPUT)
    ] = None,
) -> None:
    """Encode chunks of a build that was planned with --engine none: those whose number, modulo n, is i."""
    from searchapp.shards.chunk import done_ids, missing
    from searchapp.shards.places import open_store
    from searchapp.shards.plan import load_plan
    from searchapp.shards.worker import here, load_encoder, require_versions, work

    part, count = _share(chunk)
    store = open_store(as_place(plan), scratch)
    planned = load_plan(store)
    left = [one for one in missing(planned, done_ids(store)) if one.number % count == part]
    if not left:
        say(f"nothing to do: all chunks of {chunk} are done")
        return
    require_versions(planned)
    encoder = load_encoder(planned, device)
    failed = 0
    for one in left:
        if reason := work(store, planned, one.number, encoder, here(f"run-{part}")):
            notice(f"chunk {one.number} failed: {reason}")
            failed += 1
    say(f"{plural(len(left) - failed, 'chunk')} encoded, {failed} failed")
    if failed:
        raise typer.Exit(1)


@command(
    "searchapp shard fetch s3://bucket/indexes/wiki /nvme/wiki",
    "searchapp shard fetch /mnt/share/wiki indexes/wiki",
)
def fetch(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where the index lies, e.g. s3://bucket/wiki.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it goes.", show_default=False)],
) -> None:
    """Copy an index of an object store to a folder of this machine, to be searched: only what is not there yet."""
    from searchapp.shards.fetching import fetch_root
    from searchapp.shards.places import open_store

    root, copied = fetch_root(open_store(as_place(url)), folder, stage=lambda name: notice(f"{name} …"))
    documents = plural(root.statistics.documents, "document")
    say(f"{folder} has generation {root.generation}: {documents}, {bytes_text(copied)} copied")


def _share(chunk: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", chunk)
    if not found or not int(found[1]) < int(found[2]):
        raise SearchAppError(f"--chunk {chunk!r} names no share; give I/N, I from 0 to N - 1, e.g. --chunk 0/64")
    return int(found[1]), int(found[2])


def as_place(index: Path | str) -> str:
    """What the user typed as the place of an index; a path has one slash where a URL has two."""
    return re.sub(r"^([a-z][a-z0-9+.-]*):/(?!/)", r"\1://", str(index))


def show_build(index: Path, json: bool) -> None:
    """Print how far a build is."""
    from searchapp.shards.places import open_store
    from searchapp.shards.plan import load_plan
    from searchapp.shards.progress_of import build_state

    place = as_place(index)
    store = open_store(place)
    state = build_state(store, load_plan(store))
    if json:
        say_json({"path": place, **asdict(state), "failed": {str(key): why for key, why in state.failed.items()}})
        return
    say(f"build          {place}: {state.stage}")
    share = state.tokens_done / max(1, state.tokens)
    say(
        f"chunks         {state.done:,} of {state.chunks:,} done, {share:.1%} of the tokens; {len(state.failed)} failed"
    )
    for number, reason in list(state.failed.items())[:SHOWN]:
        say(f"  chunk {number}: {reason}")
    say(f"shards         {state.shards:,} made" + (f"; generation {state.generation}" if state.generation else ""))


def progress_line(state: Progressed) -> dict[str, Any]:
    """A line of JSON for how far the chunks are."""
    return {"stage": "encoding", **{name: _rounded(value) for name, value in asdict(state).items()}}


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def progress_text(state: Progressed) -> str:
    """The same for people."""
    rest = f", about {seconds_text(state.left)} left" if state.left else ""
    failed = f", {state.failed} failed" if state.failed else ""
    return (
        f"chunks {state.done:,} of {state.total:,}{failed}, {state.rate:,.0f} tokens/s, {state.workers} workers busy "
        f"{state.occupancy:.0%} of the time{rest}"
    )


def report_made(place: str, made: Made, json: bool) -> None:
    """Print what a build on many workers came to; ends the program with 1 where chunks are missing."""
    published, driven = made.published, made.driven
    if json:
        say_json(
            {
                "stage": "published" if published else "encoding",
                "path": place,
                "documents": published.root.statistics.documents if published else None,
                "shards": len(published.root.shards) if published else None,
                "generation": published.root.generation if published else None,
                "rejected": published.rejected if published else None,
                "tokens": published.tokens if published else None,
                "already_done": bool(published and published.already_done),
                "chunks": len(made.plan.chunks),
                "encoded": driven.encoded if driven else 0,
                "lost": driven.lost if driven else 0,
                "occupancy": round(driven.occupancy, 4) if driven else None,
                "left": made.left,
                "failed": {str(number): reason for number, reason in made.failed.items()},
            }
        )
    elif published is None and not made.failed:
        say(f"planned        {plural(len(made.plan.chunks), 'chunk')}, {made.left:,} of them not done yet")
        say(f"run            searchapp shard run {place} --chunk I/N for each I from 0 to N - 1, wherever you like,")
        say("               then this command again")
    elif published is None:
        for number, reason in list(made.failed.items())[:SHOWN]:
            say(f"chunk {number} failed: {reason}")
        say(f"{plural(len(made.failed), 'chunk')} failed; the others are done: mend it, and run it again with --resume")
    elif published.already_done:
        say(f"{place} is already built from these sources by this model: nothing to do")
    else:
        root = published.root
        say(f"documents      {root.statistics.documents:,} in {plural(len(root.shards), 'shard')}")
        say(f"rejected       {published.rejected:,}")
        if driven is not None:
            spent = f"{seconds_text(driven.seconds)}, workers busy {driven.occupancy:.1%} of the time"
            say(f"encoded        {plural(driven.encoded, 'chunk')}, {published.tokens:,} tokens, in {spent}")
    if published is None:
        raise typer.Exit(1)
