"""``searchapp export-index``: an index as files that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, plural, say, say_json
from searchapp.cli.signatures import command
from searchapp.cli.wording import OUTPUT
from searchapp.errors import SearchAppError


@command(
    "searchapp export-index indexes/notes notes.parquet",
    "searchapp export-index indexes/notes notes.faiss --force",
)
def export_index(
    index: options.Directory,
    out: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A .parquet file of ids, texts, metadata and vectors, or a .faiss file with its ids beside it.",
            show_default=False,
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.", rich_help_panel=OUTPUT)
    ] = False,
    json: options.Json = False,
) -> None:
    """Write the documents and vectors of an index to a file that other programs read, and `build` without encoding."""
    from searchapp.index.exchange import ENDINGS, export_faiss, export_parquet
    from searchapp.shards.opening import open_index

    if out.suffix not in ENDINGS:
        raise SearchAppError(f"{out} ends in {out.suffix or 'nothing'}; expected one of {', '.join(ENDINGS)}")
    if out.exists() and not force:
        raise SearchAppError(f"{out} is there already; give another file, or --force to write over it")
    opened = open_index(index)
    count = (export_parquet if out.suffix == ".parquet" else export_faiss)(opened, out)
    size = out.stat().st_size
    if json:
        say_json({"file": str(out), "documents": count, "dim": opened.manifest.dim, "bytes": size})
        return
    say(f"{out}: {plural(count, 'document')}, vectors of {opened.manifest.dim} numbers, {bytes_text(size)}")
    if out.suffix == ".faiss":
        say(f"{out.with_suffix('.ids')}: the id of each row")
