"""``searchapp show``: one document of an index, in its context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.cli import options
from searchapp.cli.console import BOLD, DIM, plain, say, say_json, style
from searchapp.cli.links import linked
from searchapp.cli.places import spots
from searchapp.cli.signatures import command
from searchapp.cli.wording import DOCUMENTS

if TYPE_CHECKING:
    from searchapp.corpus import Document
    from searchapp.search import Hit

HIDDEN = ("file", "line", "end_line", "start", "end", "page", "anchor", "section", "source")  # said otherwise


@command(
    "searchapp show indexes/notes notes/shop.md#1f0c2a9b7e",
    "searchapp show indexes/notes notes/shop.md#1f0c2a9b7e --context 0 --json",
)
def show(
    index: options.Directory,
    id: Annotated[str, typer.Argument(metavar="ID", help="The id of a document, as hits have it.", show_default=False)],
    context: Annotated[
        int,
        typer.Option(min=0, max=100, help="Passages of its file before and behind it.", rich_help_panel=DOCUMENTS),
    ] = 1,
    json: options.Json = False,
) -> None:
    """Print a document of an index, and what stands around it."""
    from searchapp.search.likeness import find_row
    from searchapp.search.neighbours import neighbours
    from searchapp.shards.opening import open_index

    opened = open_index(index)
    row = find_row(opened, id)
    document = opened.rows.read(row)
    near = neighbours(opened, row, document, context)
    at = next(number for number, one in enumerate(near) if one.id == document.id)
    if json:
        say_json(
            {**_content(document), "before": [*map(_content, near[:at])], "after": [*map(_content, near[at + 1 :])]}
        )
        return
    hit = _hit(document)
    [spot] = spots(opened.manifest, [hit])
    say(style(plain(document.title or document.id), BOLD))
    if spot.text:
        say(linked(spot) + "  " + style(plain(document.id), DIM))
    for name, value in document.metadata.items():
        if name not in HIDDEN:
            say(style(plain(f"{name}: {value}"), DIM))
    for number, one in enumerate(near):
        say()
        text = one.text
        if number < at:
            text = text[: len(text) - _shared(one, near[number + 1])]
        elif number > at:
            text = text[_shared(near[number - 1], one) :]
        for line in text.split("\n"):
            say(plain(line) if number == at or not line else style(plain(line), DIM))


def _shared(first: Document, second: Document) -> int:
    """How many characters the second passage repeats of the first."""
    end, start = first.metadata.get("end"), second.metadata.get("start")
    if not isinstance(end, int) or not isinstance(start, int):
        return 0
    return min(max(0, end - start), len(first.text), len(second.text))


def _content(document: Document) -> dict[str, Any]:
    return {
        "id": document.id, "title": document.title, "text": document.text, "metadata": dict(document.metadata),
    }  # fmt: skip


def _hit(document: Document) -> Hit:
    from searchapp.search import Hit

    return Hit(document.id, 0.0, document.title, document.text, document.metadata)
