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
from searchapp.cli.hits import name_of, show, show_json
from searchapp.cli.lists import input_lines
from searchapp.cli.options import OUTPUT, SEARCH, FusionOptions, RerankOptions
from searchapp.cli.signatures import command, option, options_from
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from prompt_toolkit.history import History

    from searchapp.search import Answer, Index, SearchOptions

HELP = """type a query, or
  :k 20            hits to show
  :mode MODE       auto, dense (vectors), bm25 (words) or hybrid (both)
  :hybrid          BM25 beside the vectors; again: vectors alone
  :rerank MODEL    put the best hits in a reranker's order; without MODEL: not
  :filter EXPR     only documents whose metadata pass; without EXPR: all
  :show N          the whole text of hit N
  :help  :quit"""


SAID = {"dense": "vectors alone", "bm25": "BM25 alone", "hybrid": "BM25 beside the vectors"}


@dataclass(frozen=True)
class QueryOptions:
    """How queries are answered and shown."""

    k: int = option(10, "Hits for each query.", SEARCH, flags=("-k",), min=1)
    filter: str | None = option(None, options.FILTER, SEARCH)
    candidates: int | None = option(None, options.CANDIDATES, SEARCH, min=0)
    instruction: str | None = option(None, options.INSTRUCTION, SEARCH)
    fusing: FusionOptions = FusionOptions()
    reranking: RerankOptions = RerankOptions()
    passages: bool = option(True, "Show the passage that fits best, not the beginning.", OUTPUT)

    def request(self, index: Index, device: str) -> Request:
        """What is asked of an index. Raises SearchAppError."""
        from searchapp.search import SearchOptions

        mode, fusion = self.fusing.chosen(index.vectors)
        return Request(
            self.k,
            SearchOptions(
                filter=self.filter,
                candidates=self.candidates,
                instruction=self.instruction,
                mode=mode,
                hybrid=fusion if mode == "hybrid" else None,
                rerank=self.reranking.load(device),
                rerank_depth=self.reranking.rerank_depth,
            ),
            self.passages,
        )


@dataclass(frozen=True)
class Request:
    """How the next query is answered, and whether its passages are shown."""

    k: int
    options: SearchOptions
    passages: bool


@command(
    "searchapp search indexes/notes",
    "searchapp search indexes/notes 'kill a child process' -k 5 --mode dense",
    "searchapp search indexes/notes --filter 'year >= 2020' --json < queries.txt",
)
@options_from("asked", QueryOptions())
def search(
    index: options.Directory,
    asked: QueryOptions,
    queries: Annotated[list[str] | None, typer.Argument(metavar="[QUERY]...", show_default=False)] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Search an index. Without a query: a prompt; or queries line by line from standard input."""
    from searchapp.search import Index

    opened = Index.open(index, device=device)
    for text in opened.vectors.snapshot.notices:
        notice(f"notice: {text}")
    request = asked.request(opened, device)
    if queries is None and (sys.stdin is None or not sys.stdin.isatty()):
        queries = _read_queries()
    if queries is not None:
        for answer in _ask(opened, queries, request):
            show_json(answer) if json else show(opened, answer, request.passages)
        return
    _prompt(opened, request, json)


def _read_queries() -> list[str]:
    """The lines of standard input that are not blank."""
    queries = [] if sys.stdin is None else [text.strip() for text in input_lines()]
    if not queries:
        found = "closed" if sys.stdin is None else "empty"
        raise SearchAppError(
            f"the query is missing: standard input is {found}; give a query after the index, or one a line there"
        )
    return queries


def _ask(index: Index, queries: list[str], request: Request) -> list[Answer]:
    from searchapp.cli.progress import Bar

    with Bar(keep=False) as bar:
        return index.answer(queries, request.k, request.options, progress=bar)


def _prompt(index: Index, request: Request, json: bool) -> None:
    from prompt_toolkit import PromptSession

    if request.options.filter:
        _passing(index, request.options.filter)  # a wrong key is said before a model is loaded
    if request.options.mode != "bm25":
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
                request = _command(line, index, request, last)
            else:
                last = _ask(index, [line], request)[0]
                show_json(last) if json else show(index, last, request.passages)
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


def _command(line: str, index: Index, request: Request, last: Answer | None) -> Request:
    """Obey a line that begins with a colon. Raises SearchAppError for one that cannot be obeyed."""
    name, _, rest = line[1:].partition(" ")
    rest, now = rest.strip(), request.options
    if name == "k":
        request = replace(request, k=_number(line, rest, None))
        notice(f"{request.k:,} {'hit' if request.k == 1 else 'hits'}")
    elif name == "filter":
        there = index.vectors.manifest.documents
        passing = _passing(index, rest) if rest else there
        now = replace(now, filter=rest or None)
        notice(f"{passing:,} of {there:,} documents pass")
    elif name in ("mode", "hybrid"):
        wanted = rest if name == "mode" else "dense" if now.mode == "hybrid" else "hybrid"
        mode, fusion = FusionOptions(mode=wanted).chosen(index.vectors)
        now = replace(now, mode=mode, hybrid=fusion if mode == "hybrid" else None)
        notice(SAID[mode])
    elif name == "rerank":
        now = replace(now, rerank=RerankOptions(rerank=rest or None).load())
        notice(f"the best {now.rerank_depth} hits are reranked by {rest}" if rest else "no reranking")
    elif name == "show":
        if last is None or not last.hits:
            raise SearchAppError(f"{line} finds no hits to show; type a query first")
        _show_whole(last, _number(line, rest, len(last.hits)))
    elif name == "help":
        notice(HELP)
    else:
        raise SearchAppError(f"{line} is no command of the prompt; :help lists them")
    return replace(request, options=now)


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
    say(f"{style(name_of(hit), BOLD)}\n{hit.text}")
    if hit.metadata:
        say(", ".join(f"{key}: {value}" for key, value in hit.metadata.items()))
