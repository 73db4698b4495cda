"""Health, figures, the description of the API, and what an index is."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

import msgspec

from searchapp.search import MODES
from searchapp.search.groups import is_one_file
from searchapp.serve.app import Route
from searchapp.serve.bodies import IndexAnswer
from searchapp.serve.exchange import Answer, Exchange, json_answer
from searchapp.serve.fields import fields_of
from searchapp.serve.served import State
from searchapp.serve.server import Server


async def live(server: Server, exchange: Exchange, body: None) -> Answer:
    """The event loop turns."""
    return json_answer({"status": "live"})


async def ready(server: Server, exchange: Exchange, body: None) -> Answer:
    """Whether a query would be answered now."""
    await asyncio.get_running_loop().run_in_executor(None, server.prove)
    return json_answer({"status": "ready", "indexes": {one.name: one.state.number for one in server.served.values()}})


async def figures(server: Server, exchange: Exchange, body: None) -> Answer:
    """The figures for Prometheus."""
    return Answer(server.metrics.text(), media_type=b"text/plain; version=0.0.4; charset=utf-8")


async def reload(server: Server, exchange: Exchange, body: None) -> Answer:
    """Look for newer states at once."""
    server.watcher.look_now()
    return json_answer({"status": "looking"}, 202)


async def describe_index(server: Server, exchange: Exchange, body: None) -> Answer:
    """What an index is."""
    served = server.index(exchange.query("index"))
    state = served.state
    exchange.generation = state.number
    fields, one_file = await server.searching.aside(lambda: (fields_of(state), is_one_file_of(state)), slow=True)
    manifest = state.index.manifest
    ann, words, reduction = manifest.ann, manifest.lexical, manifest.reduction
    encoder = state.encoder
    answer = IndexAnswer(
        name=state.name,
        indexes=list(server.served),
        generation=state.number,
        documents=manifest.documents,
        deleted=manifest.rows - manifest.documents,
        model=state.model,
        dimensions=manifest.dim,
        max_tokens=encoder.document_reach if encoder is not None else 0,
        instruction=encoder.settings.query_instruction if encoder is not None else None,
        kind=ann.factory if ann is not None else "none",
        recall=1.0 if ann is None or ann.is_exact else ann.measured.get("recall"),
        modes=[mode for mode in MODES if state.has_words or mode in ("auto", "dense")],
        rerankers=list(server.rerankers),
        fields=fields,
        built=manifest.versions.get("created") if isinstance(manifest.versions, dict) else None,
        bytes=sum(entry.size for entry in manifest.files.values()),
        writable=server.setup.writable,
        collections=list(server.setup.collections),
        failure=served.failure,
        notices=[notice.replace(str(state.index.snapshot.root), state.name) for notice in state.index.snapshot.notices],
        words=None
        if words is None
        else {"stemmer": words.stemmer, "stop_words": words.stop_words, "version": words.analysis},
        fusion=None if words is None else words.fusion,
        one_file=one_file,
        fingerprint=manifest.encoder["fingerprint"]["sha256"],
        adapters=[Path(name).name for name in manifest.encoder["reference"]["adapters"]],
        reduced=None if reduction is None else (reduction.dim, reduction.explained_variance),
        rejected=manifest.rejected,
    )
    return json_answer(answer)


def is_one_file_of(state: State) -> bool:
    """Whether all documents are passages of one file. Looked at once a state."""
    kept = state.__dict__.get("_one_file")
    if kept is None:
        kept = state.__dict__["_one_file"] = is_one_file(state.index)
    return bool(kept)


@cache
def _document(server: Server) -> bytes:
    from searchapp.serve.openapi import openapi
    from searchapp.serve.routes import ROUTES

    return msgspec.json.encode(openapi(ROUTES, has_token=server.door.token is not None))


async def describe_api(server: Server, exchange: Exchange, body: None) -> Answer:
    """The OpenAPI document."""
    return Answer(_document(server))


ROUTES = (
    Route("GET", "/livez", live, "Whether the process answers.", cheap=True),
    Route("GET", "/readyz", ready, "Whether a query would be answered now.", cheap=True),
    Route("GET", "/metrics", figures, "Figures in Prometheus' text format.", cheap=True),
    Route("GET", "/openapi.json", describe_api, "This description.", cheap=True),
    Route("GET", "/api/index", describe_index, "What an index is.", answer=IndexAnswer, parameters=("index",)),
    Route("POST", "/api/reload", reload, "Look for newer states at once.", success=202),
)
