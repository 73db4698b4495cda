"""Documents by id, and those like one."""

from __future__ import annotations

from searchapp.search.likeness import known_row, like
from searchapp.serve.app import Route
from searchapp.serve.bodies import DocumentBody, DocumentsAnswer, DocumentsRequest, SimilarAnswer
from searchapp.serve.exchange import Answer, Exchange, json_answer
from searchapp.serve.problem import ProblemError
from searchapp.serve.routes.search import bounded, hit_body
from searchapp.serve.served import State
from searchapp.serve.server import Server


def read(state: State, identifier: str) -> DocumentBody:
    """A stored document. Raises ProblemError for an id that there is not."""
    return _body(state, state.row(identifier))


def _body(state: State, row: int) -> DocumentBody:
    [document] = state.index.read([row])
    return DocumentBody(document.id, document.title, document.text, dict(document.metadata))


async def one(server: Server, exchange: Exchange, body: None) -> Answer:
    """A document by its id; with ``similar=k`` also the k closest to it."""
    state = server.state(exchange.query("index"))
    exchange.generation = state.number
    identifier = exchange.parameters["identifier"]
    bounded("id", len(identifier), server.limits.identifier_characters, "characters")
    wanted = exchange.query("similar") or "0"
    if not (wanted.isascii() and wanted.isdecimal() and len(wanted) < 10):
        raise ProblemError(400, f"similar is {wanted[:40]!r}; expected a number of documents", param="similar")
    count = int(wanted)
    bounded("similar", count, server.limits.k)

    def answer() -> Answer:
        document = read(state, identifier)
        if not count:
            return json_answer(document)
        near = like(state.index, identifier, count, filter=exchange.query("filter") or None)
        hits = [hit_body(rank, hit) for rank, hit in enumerate(near.hits, 1)]
        return json_answer(SimilarAnswer(document, hits, state.number))

    found: Answer = await server.searching.aside(answer)
    return found


async def several(server: Server, exchange: Exchange, asked: DocumentsRequest) -> Answer:
    """Documents by their ids."""
    state = server.state(asked.index)
    exchange.generation = state.number
    bounded("ids", len(asked.ids), server.limits.k, "of them")

    def answer() -> Answer:
        found, unknown = [], []
        for identifier in asked.ids:
            row = known_row(state.index, identifier)  # ids like it are not looked for: there may be many
            if row is None:
                unknown.append(identifier)
            else:
                found.append(_body(state, row))
        return json_answer(DocumentsAnswer(found, unknown, state.number))

    done: Answer = await server.searching.aside(answer)
    return done


ROUTES = (
    Route(
        "GET",
        "/api/documents/{identifier:path}",
        one,
        "A document by its id; with similar=k, in an object with those closest to it.",
        parameters=("index", "similar", "filter"),
    ),
    Route("POST", "/api/documents", several, "Documents by their ids.", DocumentsRequest, DocumentsAnswer),
)
