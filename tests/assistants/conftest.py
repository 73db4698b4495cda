"""A small index of passages and records, and the tools over it in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")
pytest.importorskip("msgspec")

from searchapp.assistants.desk import Desk
from searchapp.assistants.local import LocalLibrary
from searchapp.index import build
from tests.assistants.made import records


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    """An index that no test changes."""
    folder = tmp_path_factory.mktemp("assistants-canary")
    file = folder / "docs.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records()))
    build([str(file)], folder / "notes", tiny_encoder)
    return folder / "notes"


@pytest.fixture(scope="session")
def library(place: Path) -> LocalLibrary:
    """It, with its model."""
    found = LocalLibrary({"notes": place}, "cpu")
    found.open()
    found.load_models()
    return found


@pytest.fixture(scope="session")
def desk(library: LocalLibrary) -> Desk:
    return Desk(["notes"], lambda deadline: library)


@pytest.fixture(scope="session")
def ask(desk: Desk) -> Callable[..., dict[str, Any]]:
    """Call a tool: (name, arguments) -> its answer."""

    def call(name: str, **arguments: Any) -> dict[str, Any]:
        tool = desk.tool(name)
        assert tool is not None
        began = time.monotonic()
        answer = desk.call(tool, arguments)
        assert time.monotonic() - began < desk.deadline
        return answer

    return call
