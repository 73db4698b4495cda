"""``searchapp search``: one query, several, or a prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.cli.console import BOLD, complain, notice, plain, say, style
from searchapp.cli.hits import name_of, show, show_json
from searchapp.cli.lists import input_lines
from searchapp.cli.option_fields import option
from searchapp.cli.search_options import FusionOptions, RerankOptions
from searchapp.cli.served import (
    ServedIndex,
    as_index,
    depth_of,
    has_one_file,
    like_one,
    mode_of,
    open_searchable,
    passing,
    reranker_of,
)
from searchapp.cli.which import index_and_queries
from searchapp.cli.wording import CANDIDATES, DEVICES, FILTER, INSTRUCTION, LITERAL, MODEL, OUTPUT, SEARCH
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from prompt_toolkit.history import History

    from searchapp.search import Answer, Group, Hit, Index, SearchOptions

WORDS = "An index directory or a server's address, else the only index under indexes/; then queries."
LIKE = "Documents like the one with this id, by its stored vector; itself is left out."
HELP = """type a query, or
  :k 20            hits to show
  :mode MODE       auto, dense (vectors), bm25 (words) or hybrid (both)
  :hybrid          BM25 beside the vectors; again: vectors alone
  :rerank MODEL    put the best hits in a reranker's order; without MODEL: not
  :filter EXPR     only documents whose metadata pass; without EXPR: all
  :show N          the whole text of hit N
  :like N          more like hit N
  :help  :quit"""


SAID = {"dense": "vectors alone", "bm25": "BM25 alone", "hybrid": "BM25 beside the vectors"}


@dataclass(frozen=True)
class QueryOptions:
    """How queries are answered and shown."""

    k: int = option(10, "Hits for each query.", SEARCH, flags=("-k",), min=1)
    filter: str | None = option(None, FILTER, SEARCH)
    candidates: int | None = option(None, CANDIDATES, SEARCH, min=0)
    instruction: str | None = option(None, INSTRUCTION, SEARCH)
    literal: bool = option(False, LITERAL, SEARCH)
    fusing: FusionOptions = FusionOptions()
    reranking: RerankOptions = RerankOptions()
    passages: bool = option(True, "Show the passage that fits best, not the beginning.", OUTPUT)
    group: str | None = option(
        None,
        "file: passages of a file are one hit, as are equal texts; or none. Default: file; with --json: none.",
        OUTPUT,
    )
    token_file: Path | None = option(
        None, "A file with the token that a server asks for; else SEARCHAPP_TOKEN of the environment.", SEARCH
    )

    def request(self, index: Index | ServedIndex, device: str, json: bool = False) -> Request:
        """What is asked of an index. Raises SearchAppError."""
        from searchapp.search import SearchOptions

        if self.group not in (None, "file", "none"):
            raise SearchAppError(f"--group {self.group!r} is unknown; expected file or none")
        mode, fusion = mode_of(index, self.fusing)
        return Request(
            self.k,
            SearchOptions(
                filter=self.filter,
                candidates=self.candidates,
                instruction=self.instruction,
                literal=self.literal,
                mode=mode,
                hybrid=fusion if mode == "hybrid" else None,
                rerank=reranker_of(index, self.reranking, device),
                rerank_depth=self.reranking.rerank_depth,
            ),
            self.passages,
            not json and not has_one_file(index) if self.group is None else self.group == "file",
        )


@dataclass(frozen=True)
class Request:
    """How the next query is answered, and whether its passages are shown and those of one file are one hit."""

    k: int
    options: SearchOptions
    passages: bool
    folds: bool


@dataclass(frozen=True)
class Result:
    """An answer as it is shown: what its hits stand for, where they are groups; the id asked with, if no query."""

    answer: Answer
    groups: list[Group] | None = None
    like: str | None = None

    def show(self, index: Index | ServedIndex, request: Request, json: bool) -> None:
        """Print it."""
        for text in self.answer.notices:
            notice(f"notice: {text}")
        if json:
            show_json(self.answer, self.groups, self.like)
        else:
            show(as_index(index), self.answer, request.passages, self.groups, self.like)


@dataclass(frozen=True)
class Asked:
    """What ``searchapp search`` is asked."""

    query: QueryOptions = QueryOptions()
    words: tuple[str, ...] = option((), WORDS, "", argument=True, metavar="[INDEX] [QUERY]...")
    like: str | None = option(None, LIKE, SEARCH)
    queries: Path | None = option(None, "A file of queries: one a line, or a queries.jsonl with ids.", SEARCH)
    log: Path | None = option(None, "Add each query and what it found to this file, as a line of JSON.", OUTPUT)
    run: Path | None = option(None, "Write the hits of all queries to this file, as a TREC run.", OUTPUT)
    device: str = option("auto", DEVICES, MODEL)
    json: bool = option(False, "Write JSON to standard output, and nothing else.", OUTPUT)


def search(asked: Asked) -> None:
    """Search an index. Without a query: a prompt; or queries line by line from standard input."""
    index, queries, is_named = index_and_queries(asked.words)
    if asked.like is not None:
        _require_like_alone(asked.query, queries)
    if not is_named:
        notice(f"index {index}")
    if asked.queries is not None and queries:
        raise SearchAppError(f"--queries has the queries; leave out {queries[0]!r}")
    listed = {str(number): text for number, text in enumerate(queries, 1)}
    if asked.queries is not None:
        from searchapp.cli.query_files import queries_in

        listed = queries_in(asked.queries)
    opened = open_searchable(index, asked.device, asked.query.token_file)
    for text in opened.vectors.snapshot.notices:
        notice(f"notice: {text}")
    request = asked.query.request(opened, asked.device, asked.json)
    if asked.like is not None:
        _like(opened, asked.like, request).show(opened, request, asked.json)
        return
    if not listed and (sys.stdin is None or not sys.stdin.isatty()):
        listed = {str(number): text for number, text in enumerate(_read_queries(), 1)}
    if asked.run is not None:
        _logged(asked.log, _write_run(opened, listed, request, asked.run))
        return
    if listed:
        results = _ask(opened, list(listed.values()), request)
        _logged(asked.log, [result.answer for result in results])
        for result in results:
            result.show(opened, request, asked.json)
        return
    _prompt(opened, request, asked.json, asked.log)


def _logged(path: Path | None, answers: Sequence[Answer]) -> None:
    """Add answers to the log, where there is one."""
    if path is not None:
        from searchapp.cli.query_log import append

        append(path, answers)


def _write_run(index: Index | ServedIndex, queries: dict[str, str], request: Request, path: Path) -> list[Answer]:
    """Search for all queries, every passage by itself, and write what was found."""
    from searchapp.cli.progress import Bar
    from searchapp.cli.query_files import write_answers
    from searchapp.evaluate.retrieval import check_writable

    if not queries:
        raise SearchAppError("--run writes the hits of queries, and there are none; give --queries FILE")
    check_writable(path)
    with Bar(keep=False) as bar:
        answers = index.answer(list(queries.values()), request.k, request.options, progress=bar)
    for number, answer in zip(queries, answers, strict=True):
        for text in answer.notices:
            notice(f"notice: query {number}: {text}")
    write_answers(path, list(queries), answers)
    return answers


def _require_like_alone(asked: QueryOptions, queries: list[str]) -> None:
    """Refuse what says how a query in words is answered, beside ``--like``."""
    given = {
        f"the query {queries[0]!r}" if queries else "": bool(queries),
        "--hybrid": asked.fusing.hybrid,
        f"--mode {asked.fusing.mode}": asked.fusing.mode not in ("auto", "dense"),
        "--rerank": asked.reranking.rerank is not None,
        "--instruction": asked.instruction is not None,
    }
    if wrong := next((name for name, is_given in given.items() if is_given), None):
        raise SearchAppError(f"--like searches with the vector of a document, not with words; leave out {wrong}")


def _read_queries() -> list[str]:
    """The lines of standard input that are not blank."""
    queries = [] if sys.stdin is None else [text.strip() for text in input_lines()]
    if not queries:
        found = "closed" if sys.stdin is None else "empty"
        raise SearchAppError(
            f"the query is missing: standard input is {found}; give a query after the index, or one a line there"
        )
    return queries


def _ask(index: Index | ServedIndex, queries: list[str], request: Request) -> list[Result]:
    from searchapp.cli.progress import Bar
    from searchapp.search import answer_groups

    with Bar(keep=False) as bar:
        if not request.folds:
            return [Result(answer) for answer in index.answer(queries, request.k, request.options, progress=bar)]

        def ask(numbers: Sequence[int], depth: int) -> list[Answer]:
            depth = depth_of(index, depth, request.k)
            return index.answer([queries[number] for number in numbers], depth, request.options, progress=bar)

        depth = 0 if request.options.rerank is None else request.options.rerank_depth  # these are scored anyway
        return [Result(*found) for found in answer_groups(ask, len(queries), request.k, depth)]


def _like(index: Index | ServedIndex, identifier: str, request: Request) -> Result:
    """What is like a document. Raises SearchAppError for an id that is not there."""
    from searchapp.search import answer_groups

    def ask(_: Sequence[int], depth: int) -> list[Answer]:
        return [like_one(index, identifier, depth_of(index, depth, request.k), request.options)]

    if not request.folds:
        return Result(ask((0,), request.k)[0], like=identifier)
    return Result(*answer_groups(ask, 1, request.k)[0], like=identifier)


def _prompt(index: Index | ServedIndex, request: Request, json: bool, log: Path | None = None) -> None:
    from prompt_toolkit import PromptSession

    if request.options.filter:
        passing(index, request.options.filter)  # a wrong key is said before a model is loaded
    if request.options.mode != "bm25" and not isinstance(index, ServedIndex):
        notice(f"loading {index.vectors.manifest.encoder['reference']['model']} …")
        _ = index.encoder
    notice(f"{index.vectors.manifest.documents:,} documents; :help for help")
    session: PromptSession[str] = PromptSession(history=_history())
    last: Result | None = None
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
            if line.partition(" ")[0] == ":like":
                last = _like(index, _hit_at(line, last).id, request)
                last.show(index, request, json)
            elif line.startswith(":"):
                request = _command(line, index, request, last)
            else:
                last = _ask(index, [line], request)[0]
                _logged(log, [last.answer])
                last.show(index, request, json)
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


def _command(line: str, index: Index | ServedIndex, request: Request, last: Result | None) -> Request:
    """Obey a line that begins with a colon. Raises SearchAppError for one that cannot be obeyed."""
    name, _, rest = line[1:].partition(" ")
    rest, now = rest.strip(), request.options
    if name == "k":
        request = replace(request, k=_number(line, rest, None))
        notice(f"{request.k:,} {'hit' if request.k == 1 else 'hits'}")
    elif name == "filter":
        there = index.vectors.manifest.documents
        left = passing(index, rest) if rest else there
        now = replace(now, filter=rest or None)
        notice(f"{left:,} of {there:,} documents pass")
    elif name in ("mode", "hybrid"):
        wanted = rest if name == "mode" else "dense" if now.mode == "hybrid" else "hybrid"
        mode, fusion = mode_of(index, FusionOptions(mode=wanted))
        now = replace(now, mode=mode, hybrid=fusion if mode == "hybrid" else None)
        notice(SAID[mode])
    elif name == "rerank":
        now = replace(now, rerank=reranker_of(index, RerankOptions(rerank=rest or None)))
        notice(f"the best {now.rerank_depth} hits are reranked by {rest}" if rest else "no reranking")
    elif name == "show":
        _show_whole(_hit_at(line, last))
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


def _hit_at(line: str, last: Result | None) -> Hit:
    """The hit whose number stands after a command. Raises SearchAppError where there is none."""
    if last is None or not last.answer.hits:
        raise SearchAppError(f"{line} finds no hits to show; type a query first")
    hits = last.answer.hits
    return hits[_number(line, line.partition(" ")[2].strip(), len(hits)) - 1]


def _show_whole(hit: Hit) -> None:
    say(f"{style(plain(name_of(hit)), BOLD)}\n{hit.text}")
    if hit.metadata:
        say(", ".join(f"{key}: {value}" for key, value in hit.metadata.items()))
