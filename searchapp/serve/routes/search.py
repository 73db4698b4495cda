"""``POST /api/search`` and ``POST /api/filter``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from msgspec import UNSET

from searchapp.errors import SearchAppError
from searchapp.index import Filter
from searchapp.search import Fusion, Highlight, Hit, SearchOptions, Stage, highlights
from searchapp.search.mode import meaning
from searchapp.search.options import require_texts
from searchapp.serve.app import Route
from searchapp.serve.bodies import (
    ColumnBody,
    CoverageBody,
    FilterAnswer,
    FilterRequest,
    HitBody,
    PassageBody,
    PlaceBody,
    ResultBody,
    SearchAnswer,
    SearchRequest,
)
from searchapp.serve.exchange import Answer, Exchange, json_answer
from searchapp.serve.lane_models import LaneEncoder
from searchapp.serve.model_thread import Lane
from searchapp.serve.problem import ProblemError, refused
from searchapp.serve.searching import Found, Search
from searchapp.serve.served import State
from searchapp.serve.server import Server
from searchapp.shards.peers import StaleGenerationError

MEANINGS = {"exact": "cosine", "compressed": "cosine, compressed", "rescored": "cosine", "bm25": "BM25"}


async def search(server: Server, exchange: Exchange, asked: SearchRequest) -> Answer:
    """Search by one query or several."""
    queries = _queries(server, asked)
    try:
        return await _answered(server, exchange, asked, queries)
    except StaleGenerationError:  # the shard servers went on meanwhile: once more, in a generation that they hold
        await server.searching.aside(server.index(asked.index).reload, slow=True)
        return await _answered(server, exchange, asked, queries)


async def _answered(server: Server, exchange: Exchange, asked: SearchRequest, queries: list[str]) -> Answer:
    """The answer by the state that is there now."""
    state = server.state(asked.index)
    exchange.generation = state.number
    if asked.generation is not None and asked.generation != state.number:
        raise ProblemError(
            409, f"generation {asked.generation} is gone; {state.number} answers now", param="generation",
            code="generation_gone",
        )  # fmt: skip
    wanted = searched(server, state, queries, asked, exchange)
    with server.admission.admitted(exchange.client, sum(map(len, queries)), len(queries)):
        found = await server.searching.find(wanted)
        began = time.perf_counter()
        marked: list[list[Highlight] | None] = [None] * len(queries)
        if asked.passages != "none":
            marked = await _marked(server, exchange, asked, found)
        numbers = range(len(queries))
        if asked.columns and found.index.is_remote:  # what no stage has left is read from other machines
            results = await server.searching.aside(lambda: [_result(asked, found, one, marked[one]) for one in numbers])
        else:
            results = [_result(asked, found, one, marked[one]) for one in numbers]
    exchange.timing |= {
        "queue": wanted.queued,
        "encode": wanted.encoding,
        "search": found.searching,
        "rerank": found.reranking,
        "render": time.perf_counter() - began,
    }
    timing = {name: round(1_000 * seconds, 3) for name, seconds in exchange.timing.items()}
    failure = server.index(state.name).failure
    notices = [f"generation {state.number} answers; a newer one cannot be taken: {failure}"] if failure else []
    answer = SearchAnswer(results, state.name, state.number, found.total, timing, notices)
    if (covered := found.index.coverage) is not None:
        answer.coverage = CoverageBody(covered.shards, covered.documents, list(covered.missing))
    return json_answer(answer)


def _queries(server: Server, asked: SearchRequest) -> list[str]:
    if (asked.query is UNSET) == (asked.queries is UNSET):
        raise ProblemError(400, "give either query or queries", param="query")
    queries = [asked.query] if isinstance(asked.query, str) else list(asked.queries or [])
    limits = server.limits
    if not 1 <= len(queries) <= limits.queries:
        raise ProblemError(400, f"queries has {len(queries)} of them; expected 1 to {limits.queries}", param="queries")
    for query in queries:
        bounded("query", len(query), limits.query_characters, "characters")
    return queries


def bounded(name: str, found: int, most: int, unit: str = "") -> None:
    """Raise ProblemError where a number is above its bound."""
    if found > most:
        raise ProblemError(400, f"{name} is {found:,}; expected at most {most:,} {unit}".rstrip(), param=name)


def searched(server: Server, state: State, queries: list[str], asked: Any, exchange: Exchange) -> Search:
    """The search that a request asks for. ``asked`` has the fields that search and explain share."""
    if server.setup.shards is not None:
        raise ProblemError(400, "a shard server answers coordinators; ask one of these", code="shard_server")
    limits = server.limits
    bounded("k", getattr(asked, "k", 1), limits.k)
    bounded("candidates", asked.candidates or 0, limits.candidates)
    bounded("rerank_depth", asked.rerank_depth, limits.rerank_documents)
    bounded("filter", len(asked.filter or ""), limits.filter_characters, "characters")
    bounded("instruction", len(asked.instruction or ""), limits.query_characters, "characters")
    try:
        require_texts(queries)
    except SearchAppError as error:
        raise refused(error, "query") from None
    try:
        hybrid = _fusion(getattr(asked, "fusion", None))
        options = SearchOptions(
            filter=asked.filter or None,
            candidates=asked.candidates,
            mode=asked.mode,
            hybrid=hybrid,
            rerank_depth=asked.rerank_depth,
        )
        prepared = state.prepared(getattr(asked, "k", 1), options)
    except SearchAppError as error:
        raise refused(error) from None
    reranker = None if asked.rerank is None else server.reranker(asked.rerank)
    plan = prepared.plan
    if reranker is not None:  # says how deep the steps before go; the search gives it its own
        plan = replace(plan, reranker=reranker)
    return Search(state, queries, asked.instruction, plan, exchange.ticket, reranker, asked.literal)


def _fusion(given: dict[str, Any] | None) -> Fusion | None:
    if given is None:
        return None
    try:
        return Fusion(**given)
    except TypeError as error:
        raise ProblemError(400, f"fusion is not understood: {error}", param="fusion") from None


async def _marked(
    server: Server, exchange: Exchange, asked: SearchRequest, found: Found
) -> list[list[Highlight] | None]:
    state = found.search.state
    model = asked.passages == "model" and state.encoder is not None
    encoder = LaneEncoder(server.thread, Lane.BACKGROUND, state.encoder, exchange.ticket) if model else None  # type: ignore[arg-type]

    def mark() -> list[list[Highlight] | None]:
        return [
            highlights(encoder, state.analyzer, typed.words, [hit.text for hit in hits])  # type: ignore[arg-type]
            for typed, hits in zip(found.typed, found.hits, strict=True)
        ]

    marked: list[list[Highlight] | None] = await server.searching.aside(mark, slow=model)
    return marked


def _result(asked: SearchRequest, found: Found, number: int, marked: Sequence[Highlight] | None) -> ResultBody:
    plan = found.search.plan
    hits = [
        hit_body(rank, hit, asked, None if marked is None else marked[rank - 1])
        for rank, hit in enumerate(found.hits[number], 1)
    ]
    mode = "dense" if plan.fusion is None else "hybrid" if plan.dense else "bm25"
    result = ResultBody(
        found.search.queries[number],
        hits,
        mode,
        meaning(mode, plan.fusion, found.search.reranker.name if found.search.reranker is not None else None),
        bool(found.search.cut and found.search.cut[number]),
        notices=list(found.typed[number].notices),
    )
    if found.typed[number].words != found.search.queries[number]:
        result.words = found.typed[number].words
    if asked.columns:
        result.columns, result.documents = _columns(asked, found, number)
    return result


def hit_body(rank: int, hit: Hit, asked: SearchRequest | None = None, marked: Highlight | None = None) -> HitBody:
    """A hit as it goes over the wire."""
    metadata = cast(dict[str, Any], hit.metadata)
    if asked is not None and asked.fields is not None:
        metadata = {name: metadata[name] for name in asked.fields if name in metadata}
    passage = None
    if marked is not None:
        sentence = marked.sentence
        passage = PassageBody(
            marked.passage.start,
            marked.passage.end,
            None if sentence is None else (sentence.start, sentence.end),
            [(word.start, word.end) for word in marked.words],
            marked.continues,
        )
    return HitBody(
        hit.id,
        rank,
        hit.score,
        hit.stage,
        hit.title,
        hit.text if asked is None or asked.text else None,
        metadata,
        cast(dict[str, PlaceBody], hit.places),  # which have the same fields
        passage,
    )


def _columns(asked: SearchRequest, found: Found, number: int) -> tuple[list[ColumnBody], dict[str, HitBody]]:
    """What each stage found by itself, and the documents of these that are no hits."""
    ranking = found.rankings[number]
    read: dict[int, Hit] = {}
    columns = []
    for stage in ranking.stages:
        rows = [row for row in stage.rows[ranking.query, : asked.k].tolist() if row >= 0]
        for row in rows:
            if row not in read:
                [document] = found.index.read([row])
                read[row] = Hit(document.id, 0.0, document.title, document.text, document.metadata, stage.name)
        columns.append(
            ColumnBody(
                stage.name,
                _meaning(stage, found),
                [read[row].id for row in rows],
                [float(score) for score in stage.scores[ranking.query, : len(rows)]],
                1_000 * stage.seconds,
            )
        )
    hits = {hit.id for hit in found.hits[number]}
    others = {hit.id: hit_body(0, hit, asked) for hit in read.values() if hit.id not in hits}
    return columns, others


def _meaning(stage: Stage, found: Found) -> str:
    plan, reranker = found.search.plan, found.search.reranker
    if stage.name == "fused":
        return meaning("hybrid", plan.fusion)
    if stage.name == "reranked" and reranker is not None:
        return meaning("", None, reranker.name)
    return MEANINGS.get(stage.name, stage.name)


async def check_filter(server: Server, exchange: Exchange, asked: FilterRequest) -> Answer:
    """Say how many documents pass a filter, or what is wrong with it."""
    state = server.state(asked.index)
    exchange.generation = state.number
    bounded("filter", len(asked.filter), server.limits.filter_characters, "characters")

    def count() -> FilterAnswer:
        total = state.index.manifest.documents
        if not asked.filter.strip():
            return FilterAnswer(True, total, total)
        try:
            return FilterAnswer(True, state.index.count(Filter(asked.filter)), total)
        except SearchAppError as error:
            return FilterAnswer(False, message=refused(error).message, at=getattr(error, "at", None))

    return json_answer(await server.searching.aside(count))


ROUTES = (
    Route("POST", "/api/search", search, "Search by one query or several.", SearchRequest, SearchAnswer),
    Route("POST", "/api/filter", check_filter, "Try a filter.", FilterRequest, FilterAnswer),
)
