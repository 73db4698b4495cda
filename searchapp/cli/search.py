"""``searchapp search``: one query, several, or a prompt."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import BOLD, complain, notice, say, style
from searchapp.cli.hits import show, show_json
from searchapp.cli.lists import input_lines
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from prompt_toolkit.history import History

    from searchapp.rerank import Reranker
    from searchapp.search import Answer, Fusion, Index

HELP = """type a query, or
  :k 20            hits to show
  :hybrid          BM25 beside the vectors; again: vectors alone
  :rerank MODEL    put the best hits in a reranker's order; without MODEL: not
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
    hybrid: Fusion | None = None
    rerank: str | Reranker | None = None
    rerank_depth: int = 100


def search(
    index: options.Directory,
    queries: Annotated[list[str] | None, typer.Argument(metavar="[QUERY]...", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", help="Hits for each query.", min=1)] = 10,
    filter: options.Filter = None,
    candidates: options.Candidates = None,
    instruction: options.Instruction = None,
    hybrid: options.Hybrid = False,
    fusion: options.FusionMethod = None,
    weight: options.Weight = None,
    fusion_depth: options.FusionDepth = None,
    rerank: options.Rerank = None,
    rerank_depth: options.RerankDepth = 100,
    reranker_kind: options.RerankerKind = "auto",
    passages: Annotated[bool, typer.Option(help="Show the passage that fits best, not the beginning.")] = True,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Search an index. Without a query: a prompt; or queries line by line from standard input."""
    from searchapp.search import Index

    opened = Index.open(index, device=device)
    for text in opened.vectors.snapshot.notices:
        notice(f"notice: {text}")
    wishes = Wishes(
        k,
        filter,
        candidates,
        instruction,
        passages,
        hybrid=options.fusion_of(opened.vectors, hybrid, fusion, weight, fusion_depth),
        rerank=options.reranker_of(rerank, reranker_kind, device),
        rerank_depth=rerank_depth,
    )
    if queries is None and (sys.stdin is None or not sys.stdin.isatty()):
        queries = _read_queries()
    if queries is not None:
        for answer in _ask(opened, queries, wishes):
            show_json(answer) if json else show(opened, answer, passages)
        return
    _prompt(opened, wishes, json)


def _read_queries() -> list[str]:
    """The lines of standard input that are not blank."""
    queries = [] if sys.stdin is None else [text.strip() for text in input_lines()]
    if not queries:
        found = "closed" if sys.stdin is None else "empty"
        raise SearchAppError(
            f"the query is missing: standard input is {found}; give a query after the index, or one a line there"
        )
    return queries


def _ask(index: Index, queries: list[str], wishes: Wishes) -> list[Answer]:
    from searchapp.cli.progress import Bar

    with Bar(keep=False) as bar:
        return index.answer(
            queries,
            wishes.k,
            filter=wishes.filter,
            candidates=wishes.candidates,
            instruction=wishes.instruction,
            hybrid=wishes.hybrid or False,
            rerank=wishes.rerank,
            rerank_depth=wishes.rerank_depth,
            progress=bar,
        )


def _prompt(index: Index, wishes: Wishes, json: bool) -> None:
    from prompt_toolkit import PromptSession

    if wishes.filter:
        _passing(index, wishes.filter)  # a wrong key is said before a model is loaded
    notice(f"loading {index.vectors.manifest.encoder['reference']['model']} …")
    _ = index.encoder
    notice(f"{index.vectors.manifest.documents:,} documents; :help for help")
    session: PromptSession[str] = PromptSession(history=_history())
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
                wishes = _command(line, index, wishes, last)
            else:
                last = _ask(index, [line], wishes)[0]
                show_json(last) if json else show(index, last, wishes.passages)
        except SearchAppError as error:
            complain(str(error))
        except KeyboardInterrupt:
            notice("interrupted; :quit to leave")


def _history() -> History:
    """What was typed before; kept for this session alone where the home directory cannot be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        place = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "searchapp" / "history"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.open("ab").close()
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return InMemoryHistory()
    return FileHistory(str(place))


def _command(line: str, index: Index, wishes: Wishes, last: Answer | None) -> Wishes:
    """Obey a line that begins with a colon. Raises SearchAppError for one that cannot be obeyed."""
    name, _, rest = line[1:].partition(" ")
    rest = rest.strip()
    if name == "k":
        wishes = replace(wishes, k=_number(line, rest, None))
        notice(f"{wishes.k:,} {'hit' if wishes.k == 1 else 'hits'}")
    elif name == "filter":
        there = index.vectors.manifest.documents
        passing = _passing(index, rest) if rest else there
        wishes = replace(wishes, filter=rest or None)
        notice(f"{passing:,} of {there:,} documents pass")
    elif name == "hybrid":
        wishes = replace(wishes, hybrid=None if wishes.hybrid else options.fusion_of(index.vectors, True))
        notice("BM25 beside the vectors" if wishes.hybrid else "vectors alone")
    elif name == "rerank":
        wishes = replace(wishes, rerank=options.reranker_of(rest or None))
        notice(f"the best {wishes.rerank_depth} hits are reranked by {rest}" if rest else "no reranking")
    elif name == "show":
        if last is None or not last.hits:
            raise SearchAppError(f"{line} finds no hits to show; type a query first")
        _show_whole(last, _number(line, rest, len(last.hits)))
    elif name == "help":
        notice(HELP)
    else:
        raise SearchAppError(f"{line} is no command of the prompt; :help lists them")
    return wishes


def _number(line: str, text: str, most: int | None) -> int:
    """Read the whole number, from 1, that stands after a command."""
    if text.isdecimal() and len(text) < 10 and 1 <= int(text) <= (most or int(text)):
        return int(text)
    expected = f"from 1 to {most}" if most else "from 1 on, as in :k 20"
    raise SearchAppError(f"{line} is not understood; give a whole number {expected}")


def _passing(index: Index, expression: str) -> int:
    """How many documents pass a filter. Raises SearchAppError for one that is not understood or names no key."""
    from searchapp.index import Filter

    allowed = index.vectors.allowed(Filter(expression))
    return index.vectors.manifest.documents if allowed is None else int(allowed.sum())


def _show_whole(answer: Answer, rank: int) -> None:
    hit = answer.hits[rank - 1]
    say(f"{style(hit.title or hit.id, BOLD)}\n{hit.text}")
    if hit.metadata:
        say(", ".join(f"{key}: {value}" for key, value in hit.metadata.items()))
