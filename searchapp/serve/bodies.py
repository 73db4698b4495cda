"""The bodies of requests and answers. ``/openapi.json`` is made of these; their docstrings are its descriptions."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class Asked(Struct, forbid_unknown_fields=True):
    """Fields that every kind of request may have; a name that is not known is refused, as it may be a misspelling."""


class SearchRequest(Asked):
    """A query, or up to 32 ``queries`` answered alike.

    ``mode`` is auto (the best the index has), dense, bm25 or hybrid. ``rerank`` names a reranker that the server was
    started with. ``passages``: ``words`` marks in each hit the passage with the most of the query's words, ``model``
    the one that the model finds closest, which takes longer. ``columns`` adds what each stage of the search found by
    itself. ``generation`` pins the state of the index; another one is answered with 409. ``fields`` names the metadata
    to return (default: all). ``text``: False leaves the documents' texts out. ``literal``: words in double quotes need
    not occur, and no misspelt word is put right.
    """

    query: str | UnsetType = UNSET
    queries: list[str] | UnsetType = UNSET
    index: str | None = None
    k: int = 10
    mode: str = "auto"
    filter: str | None = None
    candidates: int | None = None
    fusion: dict[str, Any] | None = None
    rerank: str | None = None
    rerank_depth: int = 100
    instruction: str | None = None
    fields: list[str] | None = None
    text: bool = True
    passages: Literal["none", "words", "model"] = "none"
    columns: bool = False
    generation: int | None = None
    literal: bool = False


class PlaceBody(Struct):
    """Where a document stood in one stage: its rank from 1 (null where its score was only looked up), its score."""

    rank: int | None
    score: float


class PassageBody(Struct):
    """Characters ``start`` to ``end`` of a text; ``sentence`` the decisive one in it, ``words`` the query's words."""

    start: int
    end: int
    sentence: tuple[int, int] | None = None
    words: list[tuple[int, int]] = []
    continues: bool = False


class HitBody(Struct, omit_defaults=True):
    """A document that was found. ``score`` is that of the last stage; ``meaning`` of the result says what it is."""

    id: str
    rank: int
    score: float
    stage: str
    title: str
    text: str | None = None
    metadata: dict[str, Any] = {}
    places: dict[str, PlaceBody] = {}
    passage: PassageBody | None = None


class ColumnBody(Struct):
    """What one stage found by itself, best first: ids with their scores, and the milliseconds it took."""

    stage: str
    meaning: str
    ids: list[str]
    scores: list[float]
    milliseconds: float


class ResultBody(Struct, omit_defaults=True):
    """The hits of one query.

    ``truncated``: the query was longer than the model reads. ``documents`` has those of the columns that are no hits,
    by id. ``notices`` say where something else was searched for than the query says, ``words`` what that was.
    """

    query: str
    hits: list[HitBody]
    mode: str
    meaning: str
    truncated: bool = False
    columns: list[ColumnBody] | None = None
    documents: dict[str, HitBody] | None = None
    notices: list[str] = []
    words: str = ""


class CoverageBody(Struct):
    """Which part of an index over several machines has answered: shards and documents, of how many; what is missing."""

    shards: tuple[int, int]
    documents: tuple[int, int]
    missing: list[str] = []


class SearchAnswer(Struct):
    """The results, one for each query.

    ``total`` is how many documents the index has, or how many pass the filter. ``timing_ms`` are milliseconds of the
    request by step: queue, encode, search, rerank, render. ``coverage`` is there where the shards of the index are on
    other machines.
    """

    results: list[ResultBody]
    index: str
    generation: int
    total: int
    timing_ms: dict[str, float]
    notices: list[str] = []
    coverage: CoverageBody | UnsetType = UNSET


class ExplainRequest(Asked):
    """Why the document ``id`` has its score and rank for a query.

    ``spans``: at most so many stretches of its text are taken out one by one; 0: none, which is quick.
    """

    query: str
    id: str
    index: str | None = None
    mode: str = "auto"
    filter: str | None = None
    candidates: int | None = None
    instruction: str | None = None
    rerank: str | None = None
    rerank_depth: int = 100
    spans: int = 0
    depth: int = 1_000
    generation: int | None = None
    literal: bool = False


class DocumentsRequest(Asked):
    """Documents by their ids, for ids that do not fit into a path."""

    ids: list[str]
    index: str | None = None


class DocumentBody(Struct):
    """A document as it is stored."""

    id: str
    title: str
    text: str
    metadata: dict[str, Any]


class DocumentsAnswer(Struct):
    """The documents that are there, in the order of their ids as given, and the ids that are not."""

    documents: list[DocumentBody]
    unknown: list[str]
    generation: int


class SimilarAnswer(Struct):
    """A document with those whose stored vectors are closest to its own."""

    document: DocumentBody
    similar: list[HitBody]
    generation: int


class FilterRequest(Asked):
    """An expression on metadata, such as ``year >= 2020 and lang == "de"``."""

    filter: str
    index: str | None = None


class FilterAnswer(Struct, omit_defaults=True):
    """How many documents pass; or what is wrong, and at which character where that is known."""

    valid: bool
    count: int | None = None
    total: int | None = None
    message: str | None = None
    at: int | None = None


class FieldBody(Struct, omit_defaults=True):
    """A key of the metadata: its kinds (text, number, flag, other), and in how many documents it is.

    ``values`` are the most frequent texts with their counts, ``low`` and ``high`` the range of numbers.
    """

    name: str
    kinds: list[str]
    documents: int
    values: list[tuple[str, int]] = []
    distinct: int | None = None
    low: float | None = None
    high: float | None = None


class IndexAnswer(Struct):
    """What an index is, in words and numbers. ``failure`` says why its newest state is not the one that answers.

    ``words`` has the stemmer, stop words and version of the analysis of BM25, and ``fusion`` what the index was tuned
    to; both null where there is none. ``one_file``: all documents are passages of one file. ``reduced`` are the
    dimensions that a reduction left, and the share of the variance in them.
    """

    name: str
    indexes: list[str]
    generation: int
    documents: int
    deleted: int
    model: str
    dimensions: int
    max_tokens: int
    instruction: str | None
    kind: str
    recall: float | None
    modes: list[str]
    rerankers: list[str]
    fields: list[FieldBody]
    built: str | None
    bytes: int
    writable: bool
    collections: list[str]
    failure: str | None
    notices: list[str]
    words: dict[str, Any] | None = None
    fusion: dict[str, Any] | None = None
    one_file: bool = False
    fingerprint: str = ""
    adapters: list[str] = []
    reduced: tuple[int, float] | None = None
    rejected: int = 0


class EmbeddingsRequest(Struct):
    """As OpenAI's clients send it.

    ``input_type`` is ``document`` (default) or ``query``, which puts the model's query
    instruction before each text; a model named ``NAME:query`` does the same. ``instruction`` takes its place.
    ``truncate``: False refuses texts that are longer than the model reads, instead of cutting them.
    """

    input: str | list[Any]
    model: str = ""
    encoding_format: str = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: str | None = None
    instruction: str | None = None
    truncate: bool | str = True


class RerankRequest(Struct):
    """Texts to put in order for a query.

    ``model`` is a reranker the server was started with, else the index's encoder
    by cosine. Instead of ``documents``, ``ids`` names stored ones.
    """

    query: str
    documents: list[str | dict[str, Any]] | None = None
    model: str = ""
    top_n: int | None = None
    return_documents: bool = False
    ids: list[str] | None = None
    index: str | None = None
    instruction: str | None = None
    max_tokens_per_doc: int | None = None
    max_chunks_per_doc: int | None = None
    rank_fields: list[str] | None = None


class JudgementRequest(Asked):
    """A judgement of a pair: level 0 not relevant, 1 partly, 2 relevant; null takes it back.

    ``text`` gives the query's words where the collection does not have the query yet.
    """

    query: str
    document: str
    level: int | None
    text: str | None = None


class DocumentWrite(Asked):
    """A document to write; one with its id takes its place."""

    id: str
    text: str
    title: str = ""
    metadata: dict[str, Any] = {}


class DocumentsWrite(Asked):
    """Documents to write."""

    documents: list[DocumentWrite]
    index: str | None = None


class DocumentsDelete(Asked):
    """Documents to delete, by id or by a filter."""

    ids: list[str] = []
    filter: str | None = None
    index: str | None = None


class ErrorBody(Struct):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Struct):
    """Every answer other than success."""

    error: ErrorBody
