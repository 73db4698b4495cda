"""The protocol's own inspector, from npm, asks the program and a server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from searchapp.assistants.mount import mounted
from tests.serve.local import running

PACKAGE = "@modelcontextprotocol/inspector@0.15.0"  # the newest for Node 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its command, installed for these tests."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here")
    folder = tmp_path_factory.mktemp("inspector")
    install = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", PACKAGE]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"the inspector cannot be installed: {done.stderr.strip()[-200:]}")
    return str(folder / "node_modules" / ".bin" / "mcp-inspector")


def inspected(inspector: str, target: list[str], *asked: str) -> Any:
    command = [inspector, "--cli", *target, *asked]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


def require_answers(inspector: str, target: list[str]) -> None:
    tools = inspected(inspector, target, "--method", "tools/list")["tools"]
    assert [tool["name"] for tool in tools] == ["search", "fetch", "similar", "describe"]
    call = ["--method", "tools/call", "--tool-name", "fetch", "--tool-arg", "id=notes/d3"]
    assert inspected(inspector, target, *call)["structuredContent"]["id"] == "notes/d3"
    assert inspected(inspector, target, "--method", "prompts/list") == {"prompts": []}
    found = inspected(inspector, target, "--method", "resources/list")["resources"]
    assert [one["uri"] for one in found] == ["searchapp://notes"]


def test_the_program(inspector: str, place: Path) -> None:
    require_answers(inspector, [sys.executable, "-m", "searchapp", "mcp", f"notes={place}"])


def test_a_server(inspector: str, place: Path) -> None:
    with running({"notes": place}, mounts=(mounted,)) as served:
        require_answers(inspector, [f"{served.url}/mcp", "--transport", "http"])
