"""The tools as a server of the Model Context Protocol, by the official SDK, which knows its versions."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import anyio
import mcp_types as types
from anyio import to_thread
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from searchapp import __version__
from searchapp.assistants.desk import Desk
from searchapp.assistants.fault import ToolError
from searchapp.assistants.library import Payload
from searchapp.assistants.links import SCHEME, uri
from searchapp.assistants.tools import INSTRUCTIONS, Tool
from searchapp.serve.problem import ProblemError

GRACE = 2.0  # seconds beyond a call's own deadline after which it is given up
LASTING = 3_600_000  # milliseconds for which lists stay as they are
JSON = "application/json"
Admitted = Callable[[Any], AbstractContextManager[None]]


class Handlers:
    """What the SDK calls. ``workers`` calls are answered at the same time, in threads."""

    def __init__(self, desk: Desk, text: bool, workers: int, admitted: Admitted | None) -> None:
        self._desk = desk
        self._text = text
        self._workers = workers
        self._admitted = admitted
        self._limiter: anyio.CapacityLimiter | None = None
        self._tools = [_listed(desk, tool, text) for tool in desk.tools]

    async def _aside(self, function: Callable[[], Any], request: Any) -> Any:
        """The result of a function that is called in another thread. Raises ToolError."""
        if self._limiter is None:  # which belongs to the event loop
            self._limiter = anyio.CapacityLimiter(self._workers)
        place = nullcontext() if self._admitted is None else self._admitted(request)
        try:
            with place, anyio.fail_after(self._desk.deadline + GRACE):
                return await to_thread.run_sync(function, abandon_on_cancel=True, limiter=self._limiter)
        except TimeoutError:
            raise ToolError("it took too long and was given up; ask for less, or again in 5 s") from None
        except ProblemError as problem:
            again = f"; ask again in {problem.retry} s" if problem.retry else ""
            raise ToolError(f"{problem.message}{again}") from None

    async def list_tools(self, context: Any, params: Any) -> types.ListToolsResult:
        """The tools."""
        return types.ListToolsResult(tools=self._tools)

    async def call_tool(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        """The answer of a tool; what it cannot answer is an answer as well, which the assistant reads."""
        tool = self._desk.tool(params.name)
        if tool is None:
            names = ", ".join(one.name for one in self._desk.tools)
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:100]}; there are {names}")
        try:
            payload = await self._aside(partial(self._desk.call, tool, params.arguments), context.request)
        except ToolError as error:
            return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)
        shown = types.TextContent(type="text", text=plain(payload) if self._text else compact(payload))
        return types.CallToolResult(content=[shown], structured_content=None if self._text else payload)

    async def list_resources(self, context: Any, params: Any) -> types.ListResourcesResult:
        """The indexes; documents are found by searching."""
        found = [types.Resource(uri=uri(name), name=name, mime_type=JSON) for name in self._desk.indexes]
        return types.ListResourcesResult(resources=found)

    async def list_templates(self, context: Any, params: Any) -> types.ListResourceTemplatesResult:
        """How the URI of a document is made."""
        form = f"{SCHEME}{{name}}/{{+id}}"
        about = "A document by its id."
        template = types.ResourceTemplate(uri_template=form, name="document", description=about, mime_type=JSON)
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(self, context: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """An index or a document by its URI."""
        address = str(params.uri)
        try:
            payload = await self._aside(partial(self._desk.read, address), context.request)
        except ToolError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        if payload is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown resource: {address[:200]}")
        content = types.TextResourceContents(uri=address, mime_type=JSON, text=compact(payload))
        return types.ReadResourceResult(contents=[content])

    async def list_prompts(self, context: Any, params: Any) -> types.ListPromptsResult:
        """None: some hosts ask all the same."""
        return types.ListPromptsResult(prompts=[])


def make_server(
    desk: Desk, *, text: bool = False, workers: int = 2, admitted: Admitted | None = None
) -> Server[dict[str, Any]]:
    """The server. ``text``: answers are one plain text instead of JSON. ``workers``: calls at the same time.

    ``admitted`` is given the HTTP request of a call, if it has one, and may raise ProblemError.
    """
    handlers = Handlers(desk, text, workers, admitted)
    lists: tuple[CacheableMethod, ...] = (
        "tools/list", "resources/list", "resources/templates/list", "prompts/list", "server/discover"
    )  # fmt: skip
    return Server(
        "searchapp",
        version=__version__,
        title="searchapp",
        instructions=INSTRUCTIONS,
        cache_hints={method: CacheHint(ttl_ms=LASTING) for method in lists},
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
        on_list_prompts=handlers.list_prompts,
    )


def compact(payload: Payload) -> str:
    """JSON in one line, without blanks."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def plain(payload: Payload) -> str:
    """An answer as text, for hosts that show nothing else.

    What comes of documents stands between two lines with the same random word, which no document can know.
    """
    fence = f"data {secrets.token_hex(4)}"
    head = [str(payload["note"])] if payload.get("note") else []
    state = {name: payload[name] for name in ("mode", "generation", "more", "next") if name in payload}
    head += [", ".join(f"{name}: {compact_value(value)}" for name, value in state.items())] if state else []
    rest = {name: value for name, value in payload.items() if name not in state and name != "note"}
    if "results" in rest:
        lines = [_lines(result) for result in rest["results"]]
    else:
        lines = [_lines(rest)]
    return "\n".join([*head, f"--- {fence}", "\n\n".join(lines), f"--- end of {fence}"])


def compact_value(value: Any) -> str:
    """A value in one line; text as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _lines(record: Payload) -> str:
    first = [f"{name}: {compact_value(value)}" for name, value in record.items() if name != "text"]
    return "\n".join([*first, record["text"]] if "text" in record else first)


def _listed(desk: Desk, tool: Tool, text: bool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema(desk.indexes),
        output_schema=None if text else tool.answer,
        annotations=types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
    )
