"""What a server can be asked: the interface of ``Index.search`` and of ``Encoder.encode``, over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, overload
from urllib.parse import quote

import numpy as np

from searchapp.client.connection import Address, Connection
from searchapp.corpus import Document
from searchapp.encoder.prompts import PUBLISHED, Prompts
from searchapp.errors import SearchAppError
from searchapp.progress import Progress
from searchapp.search.fusion import Fusion
from searchapp.search.hit import Answer, Hit, Place
from searchapp.search.mode import wanted
from searchapp.search.options import SearchOptions, require_texts, require_unicode

QUERIES = 32  # that a request may have
TEXTS = 512  # of a request for vectors
CHARACTERS = 4_000_000  # of these together: a quarter of what the body may be, whatever they are
DOCUMENTS = 500  # of a request by ids
SOON, LONG = 30.0, 300.0  # seconds for a search; for embeddings, reranking and explanations


@dataclass(frozen=True, slots=True)
class Ranked:
    """A text that was put in order: its place among those given (from 0), and its score."""

    index: int
    score: float


def connect(url: str, token: str | None = None, *, timeout: float | None = None) -> Client:
    """Ask the server at ``http://HOST:PORT[/NAME]``, where ``NAME`` is one of its indexes (default: the first).

    ``token`` is what ``--token-file`` of the server holds. ``timeout``: the most seconds that a call takes, coming
    again to a busy server included (default: 30, and 300 for vectors, reranking and explanations). Raises
    SearchAppError where no server answers, or not for this index.
    """
    if timeout is not None and not timeout > 0:
        raise SearchAppError(f"timeout is {timeout}; expected seconds above 0")
    address = Address.of(url)
    client = Client(Connection(address, token, timeout), address.index)
    _ = client.description
    return client


class Client:
    """A server, one of its indexes, and that index's model. Safe between threads."""

    def __init__(self, connection: Connection, index: str | None = None) -> None:
        self._connection = connection
        self._index = index

    @property
    def url(self) -> str:
        """Where the server is."""
        return str(self._connection.address)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the index is, as ``GET /api/index`` says it when this is first asked for."""
        found = self._connection.ask("GET", "/api/index", seconds=SOON, index=self._index)
        if not isinstance(found, dict) or "generation" not in found or "model" not in found:
            raise SearchAppError(f"{self.url} does not answer as `searchapp serve` does; check the address")
        return found

    @cached_property
    def _model(self) -> dict[str, Any]:
        found: dict[str, Any] = self._connection.ask("GET", f"/v1/models/{quote(self.model)}", seconds=SOON)
        return found

    @property
    def model(self) -> str:
        """The name of the model that made the index."""
        return str(self.description["model"])

    @property
    def dim(self) -> int:
        """Length of a vector of ``encode``."""
        return int(self._model["dimensions"])

    @property
    def fingerprint(self) -> dict[str, str]:
        """What decides the model's vectors, as a sha256."""
        return {"sha256": str(self._model["fingerprint"])}

    @property
    def prompts(self) -> Prompts | None:
        """What a published model has before texts in each kind of task; None for another model."""
        name = self._model.get("published")
        return next((prompts for prompts in PUBLISHED if name in prompts.names), None)

    @overload
    def search(self, query: str, k: int = ..., **options: Any) -> list[Hit]: ...
    @overload
    def search(self, query: list[str], k: int = ..., **options: Any) -> list[list[Hit]]: ...
    def search(self, query: str | list[str], k: int = 10, **options: Any) -> list[Hit] | list[list[Hit]]:
        """Return the k best hits of a query, or such a list for each of several; options as ``answer`` takes them."""
        if isinstance(query, str):
            return list(self.answer([query], k, **options)[0].hits)
        return [list(answer.hits) for answer in self.answer(query, k, **options)]

    def answer(
        self,
        queries: Sequence[str],
        k: int = 10,
        options: SearchOptions | None = None,
        *,
        progress: Progress | None = None,
        **changes: Any,
    ) -> list[Answer]:
        """Search several queries; as ``Index.answer``, but ``rerank`` is the name of a reranker that the server has.

        Seconds are those of the server, without the network. ``progress`` hears nothing. Raises SearchAppError.
        """
        if isinstance(queries, np.ndarray):
            raise SearchAppError("a server is searched by words, not by vectors; give the queries as texts")
        texts = list(queries)
        require_texts(texts)
        body = self._asked(k, replace(options or SearchOptions(), **changes))
        found: list[Answer] = []
        for start in range(0, len(texts), QUERIES):
            part = texts[start : start + QUERIES]
            one = self._connection.ask("POST", "/api/search", {**body, "queries": part}, seconds=SOON)
            found += _answers(one)
        return found

    def like(self, identifier: str, k: int = 10, *, filter: str | None = None) -> Answer:
        """The k documents closest to the one with an id, itself left out. Raises SearchAppError for an unknown id."""
        if k < 1:
            raise SearchAppError(f"k is {k}; ask for at least 1 hit")
        require_unicode("id", identifier)
        path = f"/api/documents/{quote(identifier, safe='')}"
        found = self._connection.ask(
            "GET", path, seconds=SOON, index=self._index, similar=str(k), filter=filter or None
        )
        return Answer("", tuple(map(_hit, found["similar"])), 0.0, 0.0)

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """The documents that have these ids, in their order; ids that no document has are passed over."""
        found: list[Document] = []
        for identifier in ids:
            require_unicode("id", identifier)
        for start in range(0, len(ids), DOCUMENTS):
            body = {"ids": list(ids[start : start + DOCUMENTS]), "index": self._index}
            answer = self._connection.ask("POST", "/api/documents", body, seconds=SOON)
            found += [Document(one["id"], one["text"], one["title"], one["metadata"]) for one in answer["documents"]]
        return found

    def passing(self, filter: str) -> int:
        """How many documents pass a filter. Raises SearchAppError for one that is not understood."""
        found = self._connection.ask("POST", "/api/filter", {"filter": filter, "index": self._index}, seconds=SOON)
        if not found["valid"]:
            raise SearchAppError(found["message"])
        return int(found["count"])

    def explain(self, query: str, identifier: str, *, spans: int = 0, **options: Any) -> dict[str, Any]:
        """Why a document has its score and rank, as ``searchapp evaluate explain --json`` has it.

        ``spans``: at most so many stretches of its text are taken out one by one. ``options`` are those of ``answer``
        but for ``hybrid``. Raises SearchAppError.
        """
        require_texts([query])
        body = self._asked(1, SearchOptions(**options))
        del body["k"]
        body |= {"query": query, "id": identifier, "spans": spans}
        found: dict[str, Any] = self._connection.ask("POST", "/api/explain", body, seconds=LONG)
        return found

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        model: str = "",
        top: int | None = None,
        instruction: str | None = None,
    ) -> list[Ranked]:
        """Texts in order for a query, best first; all, or the ``top`` first ones.

        ``model`` is a reranker of the server or a model that embeds; "": the server's first reranker, else cosine.
        """
        require_texts([query])
        for text in documents:
            require_unicode("text", text)
        body = {
            "query": query, "documents": list(documents), "model": model, "top_n": top, "instruction": instruction,
            "index": self._index,
        }  # fmt: skip
        found = self._connection.ask("POST", "/rerank", body, seconds=LONG)
        return [Ranked(int(one["index"]), float(one["relevance_score"])) for one in found["results"]]

    def encode(self, texts: str | Sequence[str], instruction: str | None = None) -> np.ndarray:
        """Embed texts, in their order, as float32 (n, dim) with unit rows; one string counts as a list of one.

        ``instruction`` is put before every text. Raises SearchAppError, for an empty text too.
        """
        if instruction is None and self._model.get("document_instruction"):
            instruction = ""  # nothing, instead of what the server would put there
        return self._embedded(texts, instruction=instruction)

    def encode_queries(self, texts: str | Sequence[str], instruction: str | None = None) -> np.ndarray:
        """Embed queries, behind ``instruction`` or else the model's own query instruction; unit rows."""
        return self._embedded(texts, input_type="query", instruction=instruction)

    def encode_documents(self, texts: str | Sequence[str]) -> np.ndarray:
        """Embed documents; they get no instruction unless the model itself has one for them. Unit rows."""
        return self._embedded(texts, input_type="document")

    def close(self) -> None:
        """Close the connections that are kept; another call opens new ones."""
        self._connection.close()

    def _embedded(self, texts: str | Sequence[str], **given: Any) -> np.ndarray:
        texts = [texts] if isinstance(texts, str) else list(texts)
        for number, text in enumerate(texts):
            if not text:
                raise SearchAppError(f"text {number} (counted from 0) is empty, and a server embeds none; leave it out")
            require_unicode("text", text)
        if given.get("instruction") is not None:
            require_unicode("instruction", given["instruction"])
        body = {name: value for name, value in given.items() if value is not None}
        body |= {"model": self.model, "encoding_format": "base64"}
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        done = 0
        for part in _parts(texts):
            found = self._connection.ask("POST", "/v1/embeddings", {**body, "input": part}, seconds=LONG)
            for item in found["data"]:
                rows[done + item["index"]] = np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4")
            done += len(part)
        return rows

    def _asked(self, k: int, options: SearchOptions) -> dict[str, Any]:
        """The fields of a search request."""
        if options.rerank is not None and not isinstance(options.rerank, str):
            raise SearchAppError("a server reranks by a model it was started with; give its name")
        for name in ("filter", "instruction"):
            if (text := getattr(options, name)) is not None:
                require_unicode(name, text)
        body: dict[str, Any] = {
            "k": k,
            "mode": wanted(options.mode, options.hybrid),
            "filter": options.filter or None,
            "candidates": options.candidates,
            "instruction": options.instruction,
            "rerank": options.rerank,
            "rerank_depth": options.rerank_depth,
            "index": self._index,
        }
        if options.literal:
            body["literal"] = True  # which older servers do not know
        if isinstance(options.hybrid, Fusion):
            body["fusion"] = asdict(options.hybrid)
        return body


def _parts(texts: list[str]) -> Iterator[list[str]]:
    """Texts in requests of a size that the server takes."""
    part: list[str] = []
    size = 0
    for text in texts:
        if part and (len(part) == TEXTS or size + len(text) > CHARACTERS):
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part


def _answers(found: dict[str, Any]) -> list[Answer]:
    spent = {name: found["timing_ms"].get(name, 0.0) / 1_000 for name in ("encode", "search", "rerank")}
    return [
        Answer(
            result["query"],
            tuple(map(_hit, result["hits"])),
            spent["encode"],
            spent["search"],
            spent["rerank"],
            result["mode"],
            result["meaning"],
            tuple(result.get("notices", ())),
            result.get("words", result["query"]),
        )
        for result in found["results"]
    ]


def _hit(found: dict[str, Any]) -> Hit:
    places = {name: Place(at["rank"], at["score"]) for name, at in found.get("places", {}).items()}
    return Hit(
        found["id"],
        found["score"],
        found["title"],
        found.get("text") or "",
        found.get("metadata", {}),
        found["stage"],
        places,
    )
