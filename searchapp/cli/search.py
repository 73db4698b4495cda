"""``searchapp search``: one query, several, or a prompt."""

from __future__ import annotations

import os
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import BOLD, DIM, GREEN, complain, notice, say, say_json, seconds_text, style, width
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.search import Answer, Index

HELP = """type a query, or
  :k 20            hits to show
  :filter EXPR     only documents whose metadata pass; without EXPR: all
  :show N          the whole text of hit N
  :help  :quit"""


@dataclass(frozen=True)
class Wishes:
    """How the user wants to be answered."""

    k: int
    filter: str | None
    candidates: int | None
    instruction: str | None
    passages: bool


def search(
    index: options.Directory,
    queries: Annotated[list[str] | None, typer.Argument(metavar="[QUERY]...", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", help="Hits for each query.", min=1)] = 10,
    filter: options.Filter = None,
    candidates: options.Candidates = None,
    instruction: options.Instruction = None,
    passages: Annotated[bool, typer.Option(help="Show the passage that fits best, not the beginning.")] = True,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Search an index. Without a query: a prompt; or queries line by line from standard input."""
    from searchapp.search import Index

    opened = Index.open(index, device=device)
    for text in opened.vectors.store.notices:
        notice(f"notice: {text}")
    wishes = Wishes(k, filter, candidates, instruction, passages)
    if queries is None and not sys.stdin.isatty():
        queries = [line.strip() for line in sys.stdin if line.strip()]
    if queries is not None:
        if not queries:
            raise SearchAppError("the query is empty; give at least one word")
        for answer in _ask(opened, queries, wishes):
            show_json(answer) if json else show(opened, answer, passages)
        return
    _prompt(opened, wishes, json)


def _ask(index: Index, queries: list[str], wishes: Wishes) -> list[Answer]:
    return index.answer(
        queries, wishes.k, filter=wishes.filter, candidates=wishes.candidates, instruction=wishes.instruction
    )


def show_json(answer: Answer) -> None:
    """One JSON line for each hit."""
    for rank, hit in enumerate(answer.hits, 1):
        say_json(
            {
                "query": answer.query,
                "rank": rank,
                "id": hit.id,
                "score": hit.score,
                "title": hit.title,
                "text": hit.text,
                "metadata": dict(hit.metadata),
            }
        )


def show(index: Index, answer: Answer, passages: bool = True) -> None:
    """Print the hits of one query: rank, score, title, id, and the passage that fits best."""
    say(style(f"» {answer.query}", BOLD, GREEN))
    if not answer.hits:
        say("  nothing passes")
    snippets = _snippets(index, answer, passages)
    for rank, (hit, snippet) in enumerate(zip(answer.hits, snippets, strict=True), 1):
        title = hit.title or hit.id
        label = "" if title == hit.id else "  " + style(hit.id, DIM)
        say(f"{rank:>3}  {hit.score:.3f}  {style(textwrap.shorten(title, width() - 14), BOLD)}{label}")
        for line in textwrap.wrap(snippet, width() - 12, max_lines=3, placeholder=" …"):
            say(" " * 12 + line)
    say(style(f"     encode {seconds_text(answer.encode_seconds)}, search {seconds_text(answer.search_seconds)}", DIM))
    say()


def _snippets(index: Index, answer: Answer, passages: bool) -> list[str]:
    from searchapp.search import best_passages

    texts = [hit.text for hit in answer.hits]
    if not passages:
        return [" ".join(text.split()) for text in texts]
    chosen = best_passages(index.encoder, answer.query, texts)
    snippets = []
    for text, passage in zip(texts, chosen, strict=True):
        before = "… " if passage.start > 0 else ""
        snippets.append(before + " ".join(text[passage.start : passage.end].split()))
    return snippets


def _prompt(index: Index, wishes: Wishes, json: bool) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    place = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "searchapp"
    place.mkdir(parents=True, exist_ok=True)
    session: PromptSession[str] = PromptSession(history=FileHistory(str(place / "history")))
    notice(f"{index.vectors.manifest.rows:,} documents; loading {index.encoder.checkpoint.name} … :help for help")
    last: Answer | None = None
    while True:
        try:
            line = session.prompt("search> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if line in (":quit", ":q", ":exit"):
            return
        if not line:
            continue
        try:
            if line.startswith(":"):
                wishes = _command(line, wishes, last)
            else:
                last = _ask(index, [line], wishes)[0]
                show_json(last) if json else show(index, last, wishes.passages)
        except SearchAppError as error:
            complain(str(error))


def _command(line: str, wishes: Wishes, last: Answer | None) -> Wishes:
    """Obey a line that begins with a colon."""
    name, _, rest = line[1:].partition(" ")
    rest = rest.strip()
    if name == "k" and rest.isdigit() and int(rest) > 0:
        return replace(wishes, k=int(rest))
    if name == "filter":
        from searchapp.index import Filter

        if rest:
            Filter(rest)
        return replace(wishes, filter=rest or None)
    if name == "show" and last is not None and rest.isdigit() and 0 < int(rest) <= len(last.hits):
        hit = last.hits[int(rest) - 1]
        say(f"{style(hit.title or hit.id, BOLD)}\n{hit.text}")
        if hit.metadata:
            say(", ".join(f"{key}: {value}" for key, value in hit.metadata.items()))
        return wishes
    notice(HELP)
    return wishes
