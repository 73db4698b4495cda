"""``searchapp demo``: the whole way once, over the documentation of the Python that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from searchapp.cli import options
from searchapp.cli.build import report
from searchapp.cli.console import notice, say
from searchapp.cli.search import show

QUERIES = (
    "read a csv file with a header line",
    "run a command and capture its output",
    "remove a directory tree",
    "compress data with gzip",
    "difference between two dates",
)


def demo(
    index: Annotated[Path, typer.Option("--index", help="Where the index goes.")] = Path("indexes/python-stdlib"),
    model: options.Model = "bundled",
    k: Annotated[int, typer.Option("-k", help="Hits for each query.", min=1)] = 3,
    device: options.Device = "auto",
) -> None:
    """Build an index over the docstrings of the standard library, search it, and say what to type next."""
    from searchapp.cli.progress import Bar
    from searchapp.index import build
    from searchapp.search import Index

    notice("1. an index over the docstrings of this Python's standard library")
    encoder = options.load_encoder(model, None, device=device)
    with Bar() as bar:
        summary = build(["python:stdlib"], index, encoder, progress=bar)
    report(index, summary)
    say()
    notice("2. some queries")
    opened = Index.open(index, encoder=encoder)
    for answer in opened.answer(QUERIES, k):
        show(opened, answer)
    say("Next:")
    say(f"  searchapp search {index}                        # your own queries, at a prompt")
    say(f"  searchapp search {index} 'parse html' --filter 'kind == \"class\"'")
    say("  searchapp build notes/ --index indexes/notes                       # your own folder of text or Markdown")
    say("  searchapp build docs.jsonl --index indexes/docs --pca 128          # or JSONL, Parquet, CSV")
    say("  searchapp evaluate retrieval path/to/beir-folder                   # how good is it?")
