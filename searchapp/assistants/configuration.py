"""What to write into a host's settings so that it starts this server: its own command, with absolute paths.

A host starts servers in a folder and with a search path of its own.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

from searchapp.errors import SearchAppError

PLACES = {
    "claude": "run this once",
    "claude-desktop": "claude_desktop_config.json, which Settings > Developer > Edit Config opens",
    "cursor": ".cursor/mcp.json of a project, or ~/.cursor/mcp.json",
    "vscode": ".vscode/mcp.json of a workspace, or what the command `MCP: Open User Configuration` opens",
    "codex": "~/.codex/config.toml",
}


def server_name(indexes: Sequence[str]) -> str:
    """What a host calls the server: the index's name where there is one."""
    name = indexes[0] if len(indexes) == 1 else "searchapp"
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "searchapp"


def configuration(client: str, name: str, command: str, arguments: Sequence[str]) -> str:
    """The text for a host. Raises SearchAppError for one that is not known."""
    if client not in PLACES:
        raise SearchAppError(f"--print-config {client!r} is unknown; expected one of {', '.join(PLACES)}")
    entry = {"command": command, "args": list(arguments)}
    if client == "claude":
        return shlex.join(["claude", "mcp", "add", name, "--", command, *arguments])
    if client == "codex":
        return "\n".join(
            [f"[mcp_servers.{name}]", f"command = {_toml(command)}", f"args = [{', '.join(map(_toml, arguments))}]"]
        )
    whole = {"servers": {name: {"type": "stdio", **entry}}} if client == "vscode" else {"mcpServers": {name: entry}}
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _toml(text: str) -> str:
    """A basic string of TOML: JSON's escapes are among its own."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
