"""What a shard server answers a coordinator at ``/shards``: one verb of a search over the shards that it holds."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from searchapp.errors import SearchAppError
from searchapp.serve.exchange import Answer, Exchange, Send, send_answer
from searchapp.serve.problem import ProblemError
from searchapp.serve.served import Served
from searchapp.serve.server import Server
from searchapp.shards.holder import Held, answer
from searchapp.shards.peers import PATH
from searchapp.shards.wire import MEDIA_TYPE, Message, pack, unpack

log = logging.getLogger(__name__)


class ShardMount:
    """An ASGI application beside the routes of a server that was started with ``--shards``."""

    path = PATH

    async def __call__(self, server: Server, exchange: Exchange, send: Send) -> None:
        """Answer a request that has passed the door. Raises ProblemError."""
        if exchange.scope["method"] != "POST":
            raise ProblemError(
                405, f"{exchange.scope['method']} is not a method of this route; POST messages of shards"
            )
        exchange.start(server.limits.deadline)
        body = await exchange.body(server.limits.long_body_bytes)
        if server.draining or not server.loaded.is_set():
            raise ProblemError(503, "the shards are being loaded, or the server is stopping", retry=1)
        served = server.index(None)
        content = await server.searching.aside(lambda: _answered(served, body))
        await send_answer(exchange, Answer(content, media_type=MEDIA_TYPE.encode()), send, [])


def _answered(served: Served, body: bytes) -> bytes:
    """The bytes that a request is answered with. Raises ProblemError."""
    try:
        message = unpack(body)
        if message.facts.get("verb") == "held":
            wanted, serving = message.facts.get("wanted"), message.facts.get("serving")
            if type(serving) is int:
                served.keep(serving)
            if type(wanted) is int:
                served.hold(wanted)
            held = served.held()
            said = {
                "generations": [one.generation for one in held],
                "shards": list(held[0].names),
                "held": [[one.generation, list(one.names)] for one in held],
                "there": [[number, names] for number, names in served.there()],
            }
            return pack(Message(said))
        names = message.fact("shards", list)
        holder = _generation(served, message.fact("generation", int)).of([str(name) for name in names])
        return pack(answer(holder, message))
    except ProblemError:
        raise
    except SearchAppError as error:
        raise ProblemError(400, str(error).replace(str(served.root), served.name)) from error
    except Exception as error:
        log.exception("a request for shards failed")
        raise ProblemError(500, f"a fault of the shard server: {type(error).__name__}", code="internal") from error


def _generation(served: Served, number: int) -> Held:
    """A generation that is held; a newer one is looked for at once. Raises ProblemError (409) for another."""
    served.keep(number)
    served.hold(number)
    for one in served.held():
        if one.generation == number:
            return one
    there = ", ".join(str(one.generation) for one in served.held())
    raise ProblemError(409, f"generation {number} is not held; there are {there}", code="generation_gone")


@asynccontextmanager
async def mounted() -> AsyncIterator[ShardMount]:
    """The mount, for as long as its server runs."""
    yield ShardMount()
