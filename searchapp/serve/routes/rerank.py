"""Reranking, as the clients of Cohere and Jina ask for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from searchapp.corpus import passage_of
from searchapp.serve.app import Route
from searchapp.serve.bodies import RerankRequest
from searchapp.serve.exchange import Answer, Exchange, json_answer
from searchapp.serve.lane_models import LaneEncoder, LaneReranker
from searchapp.serve.model_thread import Lane
from searchapp.serve.problem import ProblemError
from searchapp.serve.routes.search import bounded
from searchapp.serve.server import Server


async def rerank(server: Server, exchange: Exchange, asked: RerankRequest) -> Answer:
    """Put texts in order for a query: best first, each with its place in the request."""
    limits = server.limits
    if not asked.query.strip():
        raise ProblemError(400, "the query is empty; give at least one word", param="query")
    bounded("query", len(asked.query), limits.query_characters, "characters")
    texts = _texts(server, exchange, asked)
    if not 1 <= len(texts) <= limits.rerank_documents:
        raise ProblemError(
            400, f"documents has {len(texts):,} texts; expected 1 to {limits.rerank_documents:,}", param="documents"
        )
    for number, text in enumerate(texts):
        bounded(f"document {number}", len(text), limits.text_characters, "characters")
    if asked.top_n is not None and asked.top_n < 1:
        raise ProblemError(400, f"top_n is {asked.top_n}; expected at least 1", param="top_n")
    with server.admission.admitted(exchange.client, sum(map(len, texts)) + len(asked.query), len(texts)):
        name, scores, used = await server.searching.aside(lambda: _scores(server, exchange, asked, texts), slow=True)
    server.metrics.pairs.inc(len(texts))
    order = np.argsort(-scores, kind="stable")[: asked.top_n]
    results: list[dict[str, Any]] = []
    for number in order.tolist():
        result: dict[str, Any] = {"index": number, "relevance_score": float(scores[number])}
        if asked.ids is not None:
            result["id"] = asked.ids[number]
        if asked.return_documents:
            result["document"] = {"text": texts[number]}
        results.append(result)
    return json_answer(
        {
            "id": exchange.identifier,
            "model": name,
            "results": results,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
            **({"usage": {"total_tokens": used}} if used else {}),
        }
    )


def _texts(server: Server, exchange: Exchange, asked: RerankRequest) -> list[str]:
    if (asked.documents is None) == (asked.ids is None):
        raise ProblemError(400, "give either documents or ids", param="documents")
    if asked.ids is not None:
        bounded("ids", len(asked.ids), server.limits.rerank_documents, "of them")
        state = server.state(asked.index)
        exchange.generation = state.number
        return [passage_of(state.index.read([state.row(identifier)])[0]) for identifier in asked.ids]
    texts = []
    for number, given in enumerate(asked.documents or []):
        text = given.get("text") if isinstance(given, dict) else given
        if not isinstance(text, str):
            raise ProblemError(
                400, f"document {number} (counted from 0) has no text; expected a string, or an object with text",
                param="documents",
            )  # fmt: skip
        texts.append(text)
    return texts


def _scores(server: Server, exchange: Exchange, asked: RerankRequest, texts: list[str]) -> tuple[str, np.ndarray, int]:
    """The name of the model, each text's score, and how many tokens were read, where that is known (else 0)."""
    if asked.model in server.rerankers or (asked.model == "" and server.rerankers):
        name = asked.model or next(iter(server.rerankers))
        model = LaneReranker(server.thread, Lane.BULK, server.rerankers[name], exchange.ticket)
        return name, model.score([asked.query], [texts])[0], 0
    name, encoder, _ = server.model(asked.model)
    lane = LaneEncoder(server.thread, Lane.BULK, encoder, exchange.ticket)
    query = lane.encode_queries(asked.query, asked.instruction)[0]
    scores: np.ndarray = lane.encode_documents(texts) @ query
    return name, scores, lane.tokens


ROUTES = tuple(
    Route("POST", path, rerank, "Put texts in order for a query.", RerankRequest, long=True)
    for path in ("/rerank", "/v1/rerank", "/v2/rerank")
)
