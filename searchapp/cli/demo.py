"""``searchapp demo``: the whole way once, over the documentation of the Python that runs it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice, say
from searchapp.cli.describe import report
from searchapp.cli.everyday import QUESTIONS, ask_everyday_questions
from searchapp.cli.hits import show
from searchapp.cli.signatures import command
from searchapp.cli.wording import OUTPUT, SEARCH

QUERIES = (
    "read a csv file",
    "remove a directory",
    "random number from a range",
    "parse an xml document",
    "compress data with gzip",
)


@command("searchapp demo", "searchapp demo --index indexes/python --model models/mine -k 5")
def demo(
    index: Annotated[Path, typer.Option("--index", help="Where the index goes.", rich_help_panel=OUTPUT)] = Path(
        "indexes/python-stdlib"
    ),
    model: options.Model = "bundled",
    k: Annotated[int, typer.Option("-k", help="Hits for each query.", min=1, rich_help_panel=SEARCH)] = 3,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Build an index over the docstrings of the standard library, search it, and say what to type next."""
    from searchapp.cli.progress import Bar
    from searchapp.encoder import Encoder
    from searchapp.index import build
    from searchapp.search import Index

    notice("1. an index over the docstrings of this Python's standard library")
    encoder = Encoder.load(model, device=device)
    notice(f"   model {model}: {encoder.description}")
    with Bar() as bar:
        summary = build(["python:stdlib"], index, encoder, overwrite=overwrite, progress=bar)
    report(index, summary)
    say()
    notice("2. some queries")
    opened = Index.open(index, encoder=encoder)
    for answer in opened.answer(QUERIES, k):
        show(opened, answer)
    notice(f"3. {len(QUESTIONS)} everyday questions: where the right answer stands")
    ask_everyday_questions(opened)
    say()
    say("Next:")
    if shutil.which("searchapp") is None:
        say(f"  source {Path(sys.prefix) / 'bin' / 'activate'}")
    for line, what in (
        (f"searchapp search {index}", "your own queries, at a prompt"),
        (f"searchapp search {index} 'parse html' --filter 'kind == \"class\"'", "only what passes"),
        (f"searchapp search {index} 'kill a child process' --mode dense", "the vectors alone, without words (BM25)"),
        ("searchapp build notes/ --index indexes/notes", "your own folder: PDF, web pages, Word, mail, Markdown …"),
        ("searchapp build docs.jsonl --index indexes/docs --pca 128", "or JSONL, Parquet, CSV"),
        (f"searchapp add {index} notes/", "into the index that is there; delete and compact follow"),
        ("searchapp evaluate retrieval path/to/beir-folder", "how good is it?"),
    ):
        say(f"  {line}\n      {what}")
