"""What the server accepts at most. Everything that a request can make large has a bound here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PANEL = "Limits"


def _limit(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, "panel": PANEL, "min": 1, **more})


@dataclass(frozen=True)
class Limits:
    """Bounds of requests, waiting and connections. Fields with a help text are options of ``searchapp serve``."""

    body_bytes: int = _limit(4 << 20, "Bytes of a request's body.")
    long_body_bytes: int = _limit(32 << 20, "The same for embeddings, reranking and documents to write.")
    inputs: int = _limit(2_048, "Texts of one embeddings request.")
    waiting: int = _limit(256, "Requests that wait or are worked on; more are answered with 429.")
    waiting_tokens: int = _limit(262_144, "Tokens of these together, about; a single request may have more.")
    waiting_each: int = _limit(64, "Requests of one client's address among them.")
    deadline: int = _limit(30, "Seconds a request may take; x-timeout-ms of a request may shorten it.")
    long_deadline: int = _limit(300, "The same for embeddings, reranking and documents to write.")
    connections: int = _limit(512, "Open connections.")
    queries: int = 32
    query_characters: int = 8_192
    text_characters: int = 1_000_000
    filter_characters: int = 4_096
    k: int = 1_000
    candidates: int = 100_000
    rerank_documents: int = 1_000
    identifier_characters: int = 4_096
    header_bytes: int = 32_768
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    write_seconds: float = 30.0
    keep_alive_seconds: int = 5
    batch_texts: int = 64
    slice_seconds: float = 0.05
    query_vectors: int = 2_000
    map_points: int = 50_000
