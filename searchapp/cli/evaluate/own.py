"""``searchapp evaluate init`` and ``judge``: a test collection of one's own documents."""

from __future__ import annotations

import shlex
import sys
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import BOLD, DIM, flush, notice, say, style, width
from searchapp.cli.option_fields import option
from searchapp.cli.signatures import command, options_from

if TYPE_CHECKING:
    from searchapp.evaluate.judging import Judging

KEYS = "0 not relevant, 1 partly, 2 relevant, s skip, u undo, q quit"
DRAWN = "Collection"
SHOWN = 1_200  # characters of a document
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The test collection's folder.", show_default=False)]


@dataclass(frozen=True)
class DrawOptions:
    """What is drawn from an index."""

    queries: Path | None = option(None, "Your questions, one a line, or a queries.jsonl.", DRAWN)
    count: int = option(50, "Queries to make from titles where none are given.", DRAWN, flags=("--known-item",), min=1)
    documents: int = option(20_000, "Documents of the collection.", DRAWN, min=1)
    pool: int = option(10, "Documents to judge from each way to search a query.", DRAWN, min=1)
    seed: int = option(0, "Of what is drawn.", DRAWN, min=0)


@command(
    "searchapp evaluate init my-collection indexes/notes --queries questions.txt",
    "searchapp evaluate init my-collection indexes/notes --known-item 100 --documents 5000",
)
@options_from("asked", DrawOptions())
def init(
    folder: Folder,
    index: options.Directory,
    asked: DrawOptions,
    device: options.Device = "auto",
) -> None:
    """Draw a test collection from an index: documents, queries, and a pool of documents to judge."""
    from searchapp.evaluate.sample import draw
    from searchapp.search import Index

    opened = Index.open(index, device=device)
    made = draw(folder, opened.vectors, opened.encoder, **asdict(asked))
    say(f"{folder}: {made.documents:,} of {made.of:,} documents, {made.queries} queries, {made.pairs:,} pairs to judge")
    if made.known_item:
        say("the queries are titles, each answered by its document: a first estimate, higher than for real questions")
        say(_measuring(folder, index))
    say(f"judge:       searchapp evaluate judge {folder}")


@command("searchapp evaluate judge my-collection")
def judge(folder: Folder) -> None:
    """Judge the pool in the terminal, one document after the other; what is said is kept at once, so stop any time."""
    from searchapp.evaluate.judging import Judging

    state = Judging.open(folder)
    texts = _texts(folder, {document for _, document in state.pairs})
    while left := state.left():
        pair = left[0]
        _show(state, pair, texts, len(left))
        answer = _ask()
        if answer is None or answer == "q":
            break
        if answer in ("0", "1", "2"):
            state.judge(pair, int(answer))
        elif answer == "s":
            state.skip(pair)
        elif answer == "u":
            taken = state.undo()
            notice(f"taken back: {taken[1]}" if taken else "there is nothing to take back in this session")
        else:
            notice(f"{answer!r} is not understood; {KEYS}")
    judged, left_over = state.judged(), len(state.pairs) - state.judged()
    say(f"{judged:,} judged, {max(0, left_over):,} left" + (f"; judgements in {state.file}" if judged else ""))
    if judged:
        say(_measuring(folder, state.index or "INDEX"))  # for a folder drawn by an earlier version


def _measuring(folder: Path, index: Path | str) -> str:
    """How to measure the index that was judged; without it, the bundled model would be measured."""
    return f"measure it:  {shlex.join(['searchapp', 'evaluate', 'retrieval', str(folder), '--index', str(index)])}"


def _ask() -> str | None:
    """What was typed; None where there is no more input."""
    sys.stderr.write("relevant? ")
    sys.stderr.flush()
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        return "?"
    return line.lstrip("\ufeff").strip().lower() if line else None


def _texts(folder: Path, wanted: set[str]) -> dict[str, tuple[str, str]]:
    """Title and text of the documents to judge."""
    from searchapp.corpus import Document, open_source

    return {
        record.item.id: (record.item.title, record.item.text)
        for record in open_source(str(folder / "corpus.jsonl")).records()
        if isinstance(record.item, Document) and record.item.id in wanted
    }


def _show(state: Judging, pair: tuple[str, str], texts: dict[str, tuple[str, str]], left: int) -> None:
    query, document = pair
    title, text = texts.get(document, ("", "(this document is not in corpus.jsonl any more)"))
    say()
    say(style(f"» {state.queries[query]}", BOLD))
    say(style(title or document, BOLD) + style(f"  {document}", DIM))
    shown = text if len(text) <= SHOWN else text[:SHOWN] + " …"
    for paragraph in shown.splitlines():
        for line in textwrap.wrap(paragraph, width()) or [""]:
            say(line)
    say(style(f"{left:,} to go; {KEYS}", DIM))
    flush()
