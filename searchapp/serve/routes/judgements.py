"""Judging over HTTP: what waits, and one judgement a request."""

from __future__ import annotations

from typing import Any, cast

from searchapp.encoder import Encoder
from searchapp.errors import SearchAppError
from searchapp.evaluate.judging import LEVELS
from searchapp.serve.app import Route
from searchapp.serve.bodies import JudgementRequest
from searchapp.serve.exchange import Answer, Exchange, json_answer
from searchapp.serve.judged import Judged, Open
from searchapp.serve.lane_models import LaneEncoder
from searchapp.serve.model_thread import Lane
from searchapp.serve.problem import ProblemError, over_http
from searchapp.serve.routes.documents import read
from searchapp.serve.routes.search import bounded
from searchapp.serve.served import State
from searchapp.serve.server import Server


async def folders(server: Server, exchange: Exchange, body: None) -> Answer:
    """The folders that judgements are written to, what is left in each, and how the index does by those so far."""
    state = server.state(exchange.query("index"))

    def answer() -> Answer:
        found = []
        for one in server.judged.values():
            try:
                now = one.next()
                figures = _figures(server, exchange, state, one)
                found.append({"name": one.name, "left": now.left, "judged": now.judged, **figures})
            except SearchAppError as error:
                found.append({"name": one.name, "problem": _without_path(server, one, error)})
        return json_answer({"collections": found, "levels": {str(level): text for level, text in LEVELS.items()}})

    done: Answer = await server.searching.aside(answer, slow=True)
    return done


async def figures(server: Server, exchange: Exchange, body: None) -> Answer:
    """How well the index does by the judgements of a folder so far."""
    judged = _judged(server, exchange)
    state = server.state(exchange.query("index"))
    exchange.generation = state.number

    def answer() -> Answer:
        try:
            return json_answer(_figures(server, exchange, state, judged))
        except SearchAppError as error:
            raise ProblemError(409, _without_path(server, judged, error)) from None

    done: Answer = await server.searching.aside(answer, slow=True)
    return done


async def next_pair(server: Server, exchange: Exchange, body: None) -> Answer:
    """A query and a document that wait for a judgement; null where none does."""
    judged = _judged(server, exchange)
    query, document = exchange.query("query"), exchange.query("document")
    after = (query, document) if query is not None and document is not None else None
    state = server.state(exchange.query("index"))

    def answer() -> Answer:
        try:
            now = judged.next(after)
        except SearchAppError as error:
            raise ProblemError(409, _without_path(server, judged, error)) from None
        found: dict[str, Any] = _counts(now) | {"query": None, "query_id": None, "document": None}
        if now.pair is not None:
            found |= {"query": now.text, "query_id": now.pair[0]}
            try:
                found["document"] = read(state, now.pair[1])
            except ProblemError as problem:
                found["document"] = {"id": now.pair[1], "title": "", "text": "", "metadata": {}}
                found["problem"] = problem.message
        return json_answer(found)

    done: Answer = await server.searching.aside(answer)
    return done


async def of_query(server: Server, exchange: Exchange, body: None) -> Answer:
    """The judgements that a query has, by its words."""
    judged = _judged(server, exchange)
    text = exchange.query("text") or ""
    bounded("text", len(text), server.limits.query_characters, "characters")
    name, levels = await server.searching.aside(lambda: judged.levels(text))
    return json_answer({"query_id": name or None, "levels": levels})


async def judge(server: Server, exchange: Exchange, asked: JudgementRequest) -> Answer:
    """Keep one judgement: it is on disk when this is answered."""
    judged = _judged(server, exchange)
    bounded("query", len(asked.query), server.limits.identifier_characters, "characters")
    bounded("document", len(asked.document), server.limits.identifier_characters, "characters")
    bounded("text", len(asked.text or ""), server.limits.query_characters, "characters")

    def answer() -> Answer:
        try:
            now = judged.judge(asked.query, asked.document, asked.level, asked.text)
        except SearchAppError as error:
            raise ProblemError(409, _without_path(server, judged, error)) from None
        query = now.pair[0] if now.pair is not None else asked.query
        return json_answer(_counts(now) | {"query_id": query, "document": asked.document, "level": asked.level})

    done: Answer = await server.searching.aside(answer)
    return done


def _judged(server: Server, exchange: Exchange) -> Judged:
    name = exchange.parameters["name"]
    if name not in server.judged:
        there = ", ".join(server.judged) or "none; start the server with --judgements FOLDER"
        raise ProblemError(404, f"no folder for judgements is named {name[:100]!r}; there is {there}", param="name")
    return server.judged[name]


def _figures(server: Server, exchange: Exchange, state: State, judged: Judged) -> dict[str, Any]:
    encoder = None
    if state.encoder is not None:
        encoder = cast(Encoder, LaneEncoder(server.thread, Lane.BACKGROUND, state.encoder, exchange.ticket))
    return judged.figures.of(state, encoder, *judged.all())


def _counts(now: Open) -> dict[str, Any]:
    return {"left": now.left, "judged": now.judged}


def _without_path(server: Server, judged: Judged, error: SearchAppError) -> str:
    return over_http(str(error).replace(str(server.setup.collections[judged.name]), judged.name))


ROUTES = (
    Route("GET", "/api/judgements", folders, "Where judgements are written to.", parameters=("index",)),
    Route("GET", "/api/judgements/{name}", of_query, "What was judged of a query.", parameters=("text",)),
    Route(
        "GET", "/api/judgements/{name}/next", next_pair, "What waits for a judgement.",
        parameters=("query", "document", "index"),
    ),
    Route(
        "GET", "/api/judgements/{name}/figures", figures, "How well the index does by the judgements so far.",
        parameters=("index",),
    ),
    Route("PUT", "/api/judgements/{name}", judge, "Keep a judgement.", JudgementRequest),
)  # fmt: skip
