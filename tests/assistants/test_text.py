"""Answers as plain text: what comes of documents stands between fences that no document can know."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("mcp")

from mcp import Client

from searchapp.assistants.desk import Desk
from searchapp.assistants.local import LocalLibrary
from searchapp.assistants.sdk import make_server
from searchapp.assistants.tools import chosen_tools


def test_plain_text_is_fenced(library: LocalLibrary) -> None:
    desk = Desk(["notes"], lambda deadline: library, chosen_tools("search,fetch"))

    async def ask() -> None:
        async with Client(make_server(desk, text=True)) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == ["search", "fetch"]
            assert all(tool.output_schema is None for tool in tools)
            fences = set()
            for _ in range(2):
                result = await client.call_tool("fetch", {"id": "notes/d3"})
                assert result.structured_content is None
                first, *lines, last = result.content[0].text.split("\n")
                assert last == first.replace("--- data", "--- end of data")
                assert lines[0] == "id: notes/d3"
                fences.add(first)
            assert len(fences) == 2
            found = (await client.call_tool("search", {"query": "honey", "limit": 2})).content[0].text
            assert "mode: hybrid, generation: " in found
            assert found.count("\n\nid: notes/") == 1

    asyncio.run(ask())
