"""``searchapp add``, ``delete`` and ``compact``: changing an index that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, notice, plural, say, say_json, seconds_text
from searchapp.cli.lists import listed
from searchapp.cli.signatures import command
from searchapp.errors import SearchAppError

NAMED = 10  # ids named in a message


@command(
    "searchapp add indexes/notes notes/",
    "searchapp add indexes/docs new.jsonl --model models/mine --json",
)
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
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    adapter: options.Adapters = None,
    device: options.Device = "auto",
    segment_size: options.SegmentSize = 8_192,
    json: options.Json = False,
) -> None:
    """Add documents to an index; one whose id is there takes its place. Only new or changed texts are encoded.

    They are found as soon as the command is done. One that was interrupted goes on where it was.
    """
    from searchapp.cli.progress import Bar
    from searchapp.corpus import open_source
    from searchapp.encoder import Encoder
    from searchapp.index import VectorIndex, recorded_encoder
    from searchapp.index import add as add_to
    from searchapp.index.encoder_match import recorded_backend

    for source in sources:
        open_source(source)  # a missing file is said before a model is loaded
    manifest = VectorIndex.open(index).manifest
    backend = recorded_backend(manifest)
    if model is None and adapter is None:
        encoder = recorded_encoder(manifest, index, device, backend=backend)
    else:
        recorded = dict(manifest.encoder["reference"])
        recorded |= {"model": model or recorded["model"], "adapters": adapter or recorded["adapters"]}
        dtype = manifest.encoder["dtype"]
        encoder = Encoder.load(recorded.pop("model"), device=device, dtype=dtype, backend=backend, **recorded)
    with Bar() as bar:
        done = add_to(sources, index, encoder, segment_size=segment_size, progress=bar)
    counts = {name: getattr(done, name) for name in ("added", "changed", "unchanged", "rejected")}
    if json:
        more: dict[str, Any] = {"encoded": done.encoded, "resumed": done.resumed, "documents": done.manifest.documents}
        say_json(
            {**counts, **more, "fresh": done.manifest.unindexed_rows, "folded": done.folded, "notices": done.notices}
        )
        return
    if done.resumed:
        say(f"went on after {plural(done.resumed, 'document')} that had been encoded before")
    for name, count in counts.items():
        say(f"{name:<14} {count:,}" + _why(index, done.reasons if name == "rejected" else {}))
    rate = f" ({done.tokens / done.seconds:,.0f} tokens/s)" if done.tokens and done.seconds else ""
    say(f"encoded        {plural(done.encoded, 'document')}{rate}")
    fresh = done.manifest.unindexed_rows
    say(f"documents      {done.manifest.documents:,} now" + (f", {fresh:,} beside the trained index" if fresh else ""))
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
            rich_help_panel=options.DOCUMENTS,
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", hidden=True, show_default=False)] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option(
            "--ids-from", help="A file with an id a line.", show_default=False, rich_help_panel=options.DOCUMENTS
        ),
    ] = None,
    filter: Annotated[
        str | None, typer.Option("--filter", help=options.FILTER, rich_help_panel=options.DOCUMENTS)
    ] = None,
    json: options.Json = False,
) -> None:
    """Delete documents by id, or all whose metadata pass a filter. They are gone from every search at once."""
    from searchapp.index import delete as delete_from

    wanted = [*(ids or []), *(more or []), *_ids_in(ids_from)]
    if not wanted and not filter:
        raise SearchAppError("nothing to delete is named; give --id ID..., --ids-from FILE or --filter EXPR")
    done = delete_from(index, wanted, filter=filter)
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
    from searchapp.index import compact as compact_index

    with Bar() as bar:
        done = compact_index(index, progress=bar)
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
