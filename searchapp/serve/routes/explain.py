"""``POST /api/explain``: why a document has the score and rank it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from searchapp.encoder import Encoder
from searchapp.evaluate.explain import explain as explain_document
from searchapp.serve.app import Route
from searchapp.serve.bodies import ExplainRequest
from searchapp.serve.exchange import Answer, Exchange, json_answer
from searchapp.serve.lane_models import LaneEncoder, LaneReranker
from searchapp.serve.model_thread import Lane
from searchapp.serve.problem import ProblemError
from searchapp.serve.routes.search import bounded, searched
from searchapp.serve.server import Server

SPANS = 64


async def explain(server: Server, exchange: Exchange, asked: ExplainRequest) -> Answer:
    """Follow a document through the steps of a search; with ``spans`` also take its words out one after the other."""
    state = server.state(asked.index)
    exchange.generation = state.number
    if asked.generation is not None and asked.generation != state.number:
        raise ProblemError(
            409, f"generation {asked.generation} is gone; {state.number} answers now", param="generation"
        )
    bounded("query", len(asked.query), server.limits.query_characters, "characters")
    bounded("spans", asked.spans, SPANS)
    bounded("depth", asked.depth, server.limits.k)
    if asked.spans < 0 or asked.depth < 1:
        raise ProblemError(
            400, "spans is at least 0 and depth at least 1", param="spans" if asked.spans < 0 else "depth"
        )
    search = searched(server, state, [asked.query], asked, exchange)
    if state.encoder is None:
        raise ProblemError(503, "the model is not loaded", retry=2)
    encoder = LaneEncoder(server.thread, Lane.BACKGROUND, state.encoder, exchange.ticket)
    plan = replace(search.plan, k=asked.depth, compressed=True)
    if search.reranker is not None:
        plan = replace(plan, reranker=LaneReranker(server.thread, Lane.BACKGROUND, search.reranker, exchange.ticket))

    def answer() -> Any:
        state.row(asked.id)  # an id that is not there is said as elsewhere
        return explain_document(
            state.index, cast(Encoder, encoder), asked.query, asked.id, plan,
            instruction=asked.instruction, spans=asked.spans, literal=asked.literal,
        ).to_json()  # fmt: skip

    with server.admission.admitted(exchange.client, len(asked.query), 1 + asked.spans):
        return json_answer(await server.searching.aside(answer, slow=True))


ROUTES = (Route("POST", "/api/explain", explain, "Why a document has its score and rank.", ExplainRequest, long=True),)
