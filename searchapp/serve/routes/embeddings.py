"""``/v1/embeddings`` and ``/v1/models``, as OpenAI's clients know them."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import msgspec
import numpy as np

from searchapp.encoder import Encoder
from searchapp.serve.app import Route
from searchapp.serve.bodies import EmbeddingsRequest
from searchapp.serve.exchange import Answer, Exchange, json_answer
from searchapp.serve.model_thread import Encoding, Lane
from searchapp.serve.problem import ProblemError
from searchapp.serve.routes.search import bounded
from searchapp.serve.server import Server

TYPES = {None: None, "document": False, "query": True, "search_document": False, "search_query": True, "passage": False}


async def embed(server: Server, exchange: Exchange, asked: EmbeddingsRequest) -> Answer:
    """Embed texts."""
    name, encoder, is_query = server.model(asked.model)
    texts = _texts(asked.input, server.limits.inputs)
    for number, text in enumerate(texts):
        if not text:
            raise ProblemError(400, f"input {number} (counted from 0) is empty; leave it out", param="input")
        bounded(f"input {number}", len(text), server.limits.text_characters, "characters")
    if asked.encoding_format not in ("float", "base64"):
        raise ProblemError(
            400, f"encoding_format is {asked.encoding_format[:40]!r}; expected float or base64", param="encoding_format"
        )
    if asked.dimensions is not None and asked.dimensions != encoder.dim:
        raise ProblemError(
            400, f"dimensions is {asked.dimensions}; the vectors of {name} have {encoder.dim} and are not cut",
            param="dimensions",
        )  # fmt: skip
    if asked.input_type not in TYPES:
        raise ProblemError(400, f"input_type is {asked.input_type!r}; expected document or query", param="input_type")
    if TYPES[asked.input_type] is not None:
        is_query = bool(TYPES[asked.input_type])
    settings = encoder.settings
    instruction = asked.instruction
    if instruction is None:
        instruction = settings.query_instruction if is_query else settings.document_instruction
    with server.admission.admitted(exchange.client, sum(map(len, texts)), len(texts)):
        inputs = encoder.inputs(texts, instruction)
        future = server.thread.submit(Lane.BULK, encoder, inputs, exchange.ticket)
        encoding: Encoding = await asyncio.wrap_future(future)
    if encoding.cut.any() and asked.truncate in (False, "NONE", "none"):
        number = int(encoding.cut.argmax())
        raise ProblemError(
            400, f"input {number} (counted from 0) has more than the {encoder.document_reach} tokens the model reads; "
            "shorten it, or leave truncate out", param="input",
        )  # fmt: skip
    used = int(encoding.tokens.sum())
    head: dict[str, Any] = {"object": "list", "model": name, "usage": {"prompt_tokens": used, "total_tokens": used}}
    if encoding.cut.any():
        head["truncated"] = np.flatnonzero(encoding.cut).tolist()
    if len(texts) <= 8:
        return Answer(_rendered(head, encoding.vectors, asked.encoding_format))
    content = await server.searching.aside(lambda: _rendered(head, encoding.vectors, asked.encoding_format))
    return Answer(content)


def _texts(given: str | list[Any], most: int) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not 1 <= len(texts) <= most:
        raise ProblemError(400, f"input has {len(texts):,} texts; expected 1 to {most:,}", param="input")
    for text in texts:
        if isinstance(text, int) or (isinstance(text, list) and all(isinstance(one, int) for one in text)):
            raise ProblemError(
                400, "input has token numbers, which are another tokenizer's; send strings (LangChain: "
                "check_embedding_ctx_length=False)", param="input", code="token_ids",
            )  # fmt: skip
        if not isinstance(text, str):
            raise ProblemError(400, f"input has a {type(text).__name__}; expected strings", param="input")
    return texts


def _rendered(head: dict[str, Any], vectors: np.ndarray, form: str) -> bytes:
    """The answer's JSON. Numbers are written as float32 has them."""
    data = []
    for number, vector in enumerate(np.ascontiguousarray(vectors, dtype="<f4")):
        if form == "base64":
            part: Any = base64.b64encode(vector.tobytes()).decode()
        else:
            part = vector.tolist()
        data.append({"object": "embedding", "index": number, "embedding": part})
    return msgspec.json.encode({**head, "data": data})


async def models(server: Server, exchange: Exchange, body: None) -> Answer:
    """The models that embed, each also as ``NAME:query``, and the rerankers."""
    data = []
    for name, encoder in server.models.by_name.items():
        data += [_model(one, encoder) for one in (name, f"{name}:query")]
    for name, reranker in server.rerankers.items():
        data.append({**_listed(name), "kind": "reranker", "fingerprint": reranker.fingerprint})
    return json_answer({"object": "list", "data": data})


async def model(server: Server, exchange: Exchange, body: None) -> Answer:
    """One model."""
    name, encoder, is_query = server.model(exchange.parameters["name"])
    return json_answer(_model(f"{name}:query" if is_query else name, encoder))


def _listed(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(time.time()), "owned_by": "searchapp"}


def _model(name: str, encoder: Encoder) -> dict[str, Any]:
    return {
        **_listed(name),
        "kind": "embedding",
        "dimensions": encoder.dim,
        "max_tokens": encoder.document_reach,
        "fingerprint": encoder.fingerprint["sha256"],
        "query_instruction": encoder.settings.query_instruction,
        "document_instruction": encoder.settings.document_instruction,
        "published": encoder.prompts.names[0] if encoder.prompts is not None else None,
    }


ROUTES = (
    Route("POST", "/v1/embeddings", embed, "Embed texts, as OpenAI's clients ask.", EmbeddingsRequest, long=True),
    Route("GET", "/v1/models", models, "The models that are loaded."),
    Route("GET", "/v1/models/{name:path}", model, "One of them."),
)
