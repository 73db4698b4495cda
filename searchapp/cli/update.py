"""``searchapp add``, ``delete`` and ``compact``: changing an index that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, notice, plural, say, say_json, seconds_text
from searchapp.cli.describe import describe_files, describe_notes
from searchapp.cli.lists import listed
from searchapp.cli.options import SelectionOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import DOCUMENTS, FILTER, MODEL, SOURCE_NAME
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.index import Added

NAMED = 10  # ids named in a message


@command(
    "searchapp add indexes/notes notes/",
    "searchapp add indexes/mine ~/Documents --include '*.pdf'",
    "searchapp add indexes/notes notes/ --sync --dry-run",
    "searchapp add indexes/notes notes/ --sync --watch",
    "searchapp add indexes/docs new.jsonl --model models/mine --json",
)
@options_from("chosen", SelectionOptions())
def add(
    index: options.Directory,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="As `searchapp build` takes them.", show_default=False),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Where the index's model is now; default: where it was.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    adapter: options.Adapters = None,
    device: options.Device = "auto",
    sync: Annotated[
        bool,
        typer.Option("--sync", help="Also remove what is gone from the sources.", rich_help_panel=DOCUMENTS),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="With --sync: even where that is more than half, or a source is not there.",
            rich_help_panel=DOCUMENTS,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=DOCUMENTS),
    ] = False,
    retry_refused: Annotated[
        bool,
        typer.Option("--retry-refused", help="Read files again that were refused.", rich_help_panel=DOCUMENTS),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Go on: add what changes in the folders, until Ctrl-C.", rich_help_panel=DOCUMENTS
        ),
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            help=SOURCE_NAME,
            rich_help_panel=DOCUMENTS,
        ),
    ] = None,
    segment_size: options.SegmentSize = 8_192,
    json: options.Json = False,
    chosen: SelectionOptions = SelectionOptions(),  # noqa: B008 - it is frozen
) -> None:
    """Add documents to an index; one whose id is there takes its place. Only new or changed texts are encoded.

    A text file that changed leaves nothing of its former text. They are found as soon as the command is done. One that
    was interrupted goes on where it was.
    """
    from searchapp.cli.following import Following
    from searchapp.cli.progress import Bar
    from searchapp.corpus.source import find_source
    from searchapp.index import AddSettings
    from searchapp.index.encoder_match import document_encoder
    from searchapp.index.intake.names import wanted_of
    from searchapp.shards import noted
    from searchapp.shards.opening import open_index

    if prune and not sync:
        raise SearchAppError("--prune goes with --sync, which removes what is gone; give both")
    if watch and dry_run:
        raise SearchAppError("--watch goes on adding and --dry-run adds nothing; give one of them")
    manifest = open_index(index).manifest
    following = None
    if not sync or watch:  # a missing file is said before a model is loaded
        known = manifest.sources
        found = [find_source(one, selection=wanted_of(one, chosen.selection(), known)) for one in sources]
        following = Following.begin(found, index) if watch else None
    encoder = document_encoder(manifest, index, device, model=model, adapters=adapter)
    settings = AddSettings(
        sync=sync,
        prune=prune,
        dry_run=dry_run,
        names=tuple(name or ()),
        segment_size=segment_size,
        selection=chosen.selection(),
        passwords=chosen.passwords(),
        retry_refused=retry_refused,
    )
    with Bar() as bar:
        done = noted.add(sources, index, encoder, settings, progress=bar)
    if json:
        say_json(_as_json(done, dry_run))
    else:
        _report(done, index, dry_run)
    if following is not None:
        following.go_on(sources, encoder, settings, done, as_json=json)


COUNTS = ("added", "changed", "unchanged", "removed", "rejected")


def _as_json(done: Added, dry_run: bool) -> dict[str, Any]:
    return {
        **{kind: getattr(done, kind) for kind in COUNTS},
        "encoded": done.encoded,
        "resumed": done.resumed,
        "documents": done.manifest.documents,
        "fresh": done.manifest.unindexed_rows,
        "folded": done.folded,
        "notices": done.notices,
        "files": done.files.to_json(),
        "missing": done.missing,
        "dry_run": dry_run,
    }


def _report(done: Added, index: Path, dry_run: bool) -> None:
    """Print what an add did, one fact a line; after a dry run, what it would do."""
    if dry_run:
        say("dry run        nothing was changed; this would be done:")
    if done.resumed:
        say(f"went on after {plural(done.resumed, 'document')} that had been encoded before")
    for kind in COUNTS:
        say(f"{kind:<14} {getattr(done, kind):,}" + _why(index, done.reasons if kind == "rejected" else {}))
    rate = f" ({done.tokens / done.seconds:,.0f} tokens/s)" if done.tokens and done.seconds else ""
    if done.files.walked:
        say(f"files          {describe_files(done.files)}")
        for line in describe_notes(done.files):
            say(line)
    say(f"encoded        {plural(done.encoded, 'document')}{rate}")
    if not dry_run:
        fresh = done.manifest.unindexed_rows
        beside = f", {fresh:,} beside the trained index" if fresh else ""
        say(f"documents      {done.manifest.documents:,} now{beside}")
    if done.missing:
        named = ", ".join(done.missing[:NAMED]) + (" …" if len(done.missing) > NAMED else "")
        notice(
            "notice: not in the sources any more, and kept until you give --sync: "
            f"{plural(len(done.missing), 'file')} ({named})"
        )
    for text in done.notices:
        notice(f"notice: {text}")


def _why(index: Path, reasons: dict[str, int]) -> str:
    if not reasons:
        return ""
    listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1]))
    return f" ({listed}); see {index / 'rejected.jsonl'}"


@command(
    "searchapp delete indexes/docs --id a17 a18",
    "searchapp delete indexes/docs --ids-from gone.txt",
    "searchapp delete indexes/docs --filter 'year < 2000' --json",
)
def delete(
    index: options.Directory,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            help="The id of a document; several may follow.",
            show_default=False,
            rich_help_panel=DOCUMENTS,
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", hidden=True, show_default=False)] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option("--ids-from", help="A file with an id a line.", show_default=False, rich_help_panel=DOCUMENTS),
    ] = None,
    filter: Annotated[str | None, typer.Option("--filter", help=FILTER, rich_help_panel=DOCUMENTS)] = None,
    json: options.Json = False,
) -> None:
    """Delete documents by id, or all whose metadata pass a filter. They are gone from every search at once."""
    from searchapp.shards import noted

    wanted = [*(ids or []), *(more or []), *_ids_in(ids_from)]
    if not wanted and not filter:
        raise SearchAppError("nothing to delete is named; give --id ID..., --ids-from FILE or --filter EXPR")
    done = noted.delete(index, wanted, filter=filter)
    if json:
        say_json({"deleted": done.deleted, "unknown": done.unknown, "documents": done.manifest.documents})
    if done.unknown and not done.deleted:
        raise SearchAppError(f"{index} holds no document {_named(done.unknown)}; nothing was deleted")
    if done.unknown:
        notice(f"notice: {index} holds no document {_named(done.unknown)}")
    if not json:
        say(f"deleted        {done.deleted:,}")
        say(f"documents      {done.manifest.documents:,} now")


def _ids_in(path: Path | None) -> list[str]:
    return [] if path is None else listed(path, "--ids-from", "an id")


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return ", ".join(repr(identifier) for identifier in ids[:NAMED]) + more


@command("searchapp compact indexes/notes", "searchapp compact indexes/notes --json")
def compact(index: options.Directory, json: options.Json = False) -> None:
    """Drop what was deleted from an index, fold in what was added, and train it again. No document is encoded."""
    from searchapp.cli.progress import Bar
    from searchapp.shards import noted

    with Bar() as bar:
        done = noted.compact(index, progress=bar)
    manifest = done.manifest
    size = sum(entry.size for entry in manifest.files.values())
    if json:
        say_json(
            {
                "documents": manifest.documents, "removed": done.removed, "folded": done.folded,
                "segments": len(manifest.segments), "bytes": size, "notices": done.notices,
            }
        )  # fmt: skip
        return
    if done.already_done:
        say(f"{index} is compact already: nothing was deleted or added since it was trained")
        return
    say(f"removed        {done.removed:,} that were deleted or replaced")
    say(f"folded in      {done.folded:,}")
    say(
        f"documents      {manifest.documents:,} in {plural(len(manifest.segments), 'segment')} ({done.segments} before)"
    )
    say(f"on disk        {bytes_text(size)} ({bytes_text(done.bytes)} before)")
    if spent := manifest.build.seconds.get("index"):
        say(f"time           index {seconds_text(spent)}")
    for text in done.notices:
        notice(f"notice: {text}")
