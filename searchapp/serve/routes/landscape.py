"""``GET /api/map``: where documents lie."""

from __future__ import annotations

import threading

import msgspec

from searchapp.serve.app import Route
from searchapp.serve.exchange import Answer, Exchange
from searchapp.serve.landscape import TITLE, landscape
from searchapp.serve.problem import ProblemError
from searchapp.serve.routes.search import bounded
from searchapp.serve.served import State
from searchapp.serve.server import Server

SHOWN = 20_000
_drawing = threading.Lock()  # one map at a time: two would be the same one


async def map_of(server: Server, exchange: Exchange, body: None) -> Answer:
    """Where documents lie, from 0 to 1 both ways, with labels; the same for as long as the generation is."""
    state = server.state(exchange.query("index"))
    exchange.generation = state.number
    wanted = exchange.query("n") or str(SHOWN)
    if not (wanted.isascii() and wanted.isdecimal() and 1 <= int(wanted[:12])):
        raise ProblemError(400, f"n is {wanted[:40]!r}; expected a number of documents", param="n")
    bounded("n", int(wanted[:12]), server.limits.map_points)
    tag = f'"{state.name}-{state.number}-{wanted}"'.encode("ascii", "backslashreplace")
    headers = [(b"etag", tag), (b"cache-control", b"private, no-cache")]
    if (exchange.header(b"if-none-match") or "").encode("ascii", "backslashreplace") == tag:
        return Answer(status=304, headers=headers)
    content = await server.searching.aside(lambda: drawn(state, int(wanted)), slow=True)
    return Answer(content, headers=headers)


def drawn(state: State, most: int) -> bytes:
    """The map as JSON. Drawn once for a state and a number of documents."""
    kept = state.__dict__.setdefault("_maps", {})
    with _drawing:
        if most not in kept:
            kept.clear()
            kept[most] = _rendered(state, most)
        content: bytes = kept[most]
        return content


def _rendered(state: State, most: int) -> bytes:
    found = landscape(state.index, most)
    documents = [state.index.rows.read(row) for row in found.rows.tolist()]
    return msgspec.json.encode(
        {
            "index": state.name,
            "generation": state.number,
            "total": state.index.manifest.documents,
            "x": [round(x, 4) for x in found.places[:, 0].tolist()],
            "y": [round(y, 4) for y in found.places[:, 1].tolist()],
            "ids": [document.id for document in documents],
            "titles": [document.title[:TITLE] for document in documents],
            "labels": [{"x": round(x, 4), "y": round(y, 4), "text": text} for x, y, text in found.labels],
        }
    )


ROUTES = (Route("GET", "/api/map", map_of, "Where documents lie on a map.", parameters=("index", "n")),)
