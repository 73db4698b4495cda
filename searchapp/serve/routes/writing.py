"""Writing documents, for a server that was started with ``--writable``."""

from __future__ import annotations

from searchapp.errors import SearchAppError
from searchapp.index import Filter
from searchapp.serve.app import Route
from searchapp.serve.bodies import DocumentsDelete, DocumentsWrite
from searchapp.serve.exchange import Answer, Exchange, json_answer
from searchapp.serve.jobs import Job, events
from searchapp.serve.problem import ProblemError, refused
from searchapp.serve.routes.search import bounded
from searchapp.serve.server import Server


async def write(server: Server, exchange: Exchange, asked: DocumentsWrite) -> Answer:
    """Write documents: a job that goes on when this is answered."""
    _require_writable(server)
    served = server.index(asked.index)
    if not asked.documents:
        raise ProblemError(400, "documents is empty; give at least one", param="documents")
    bounded("documents", len(asked.documents), server.limits.inputs, "of them")
    for number, document in enumerate(asked.documents):
        bounded(f"document {number}'s text", len(document.text), server.limits.text_characters, "characters")
        if not 1 <= len(document.id) <= server.limits.identifier_characters:
            raise ProblemError(400, f"document {number}'s id has {len(document.id)} characters", param="id")
    return _started(server.jobs.write(served, asked.documents))


async def delete(server: Server, exchange: Exchange, asked: DocumentsDelete) -> Answer:
    """Delete documents."""
    _require_writable(server)
    served = server.index(asked.index)
    if not asked.ids and not asked.filter:
        raise ProblemError(400, "nothing to delete is named; give ids or filter", param="ids")
    if asked.filter:
        bounded("filter", len(asked.filter), server.limits.filter_characters, "characters")
        try:
            served.state.index.passing(Filter(asked.filter))  # a mistake in it is said at once
        except SearchAppError as error:
            raise refused(error, "filter") from None
    return _started(server.jobs.delete(served, asked.ids, asked.filter))


async def job(server: Server, exchange: Exchange, body: None) -> Answer:
    """How far a job is."""
    return json_answer(server.jobs.get(exchange.parameters["identifier"]).to_json())


async def follow(server: Server, exchange: Exchange, body: None) -> Answer:
    """How far a job is, as server-sent events until it has ended."""
    return Answer(media_type=b"text/event-stream", stream=events(server.jobs.get(exchange.parameters["identifier"])))


def _require_writable(server: Server) -> None:
    if not server.setup.writable:
        raise ProblemError(403, "this server does not write; start it with --writable", code="read_only")


def _started(job: Job) -> Answer:
    return json_answer(job.to_json(), 202, (b"location", f"/api/jobs/{job.identifier}".encode()))


ROUTES = (
    Route("PUT", "/api/documents", write, "Write documents.", DocumentsWrite, long=True),
    Route("DELETE", "/api/documents", delete, "Delete documents.", DocumentsDelete),
    Route("GET", "/api/jobs/{identifier}", job, "How far a job is."),
    Route("GET", "/api/jobs/{identifier}/events", follow, "How far a job is, as server-sent events."),
)
