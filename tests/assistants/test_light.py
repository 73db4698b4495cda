"""Messages, settings of hosts and other small parts; and that what comes before the list of tools is light."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from searchapp.assistants.configuration import PLACES, configuration, server_name
from searchapp.assistants.connect import Address
from searchapp.assistants.fault import scrubbed
from searchapp.assistants.links import parted, uri
from searchapp.assistants.tools import TOOLS, chosen_tools
from searchapp.errors import SearchAppError

COMMAND = "/opt/my tools/bin/searchapp"
ARGUMENTS = ["mcp", 'no"tes=/data/ünï code/ix', "--tools", "search,fetch"]


@pytest.mark.parametrize("client", PLACES)
def test_the_settings_of_a_host_hold_the_command(client: str) -> None:
    text = configuration(client, "notes", COMMAND, ARGUMENTS)
    match client:
        case "claude":
            words = shlex.split(text)
            assert words[:5] == ["claude", "mcp", "add", "notes", "--"]
            assert words[5:] == [COMMAND, *ARGUMENTS]
        case "codex":
            assert tomllib.loads(text) == {"mcp_servers": {"notes": {"command": COMMAND, "args": ARGUMENTS}}}
        case "vscode":
            entry = {"type": "stdio", "command": COMMAND, "args": ARGUMENTS}
            assert json.loads(text) == {"servers": {"notes": entry}}
        case _:
            assert json.loads(text) == {"mcpServers": {"notes": {"command": COMMAND, "args": ARGUMENTS}}}


def test_another_host_is_refused_with_those_known() -> None:
    with pytest.raises(SearchAppError, match="'emacs' is unknown; expected one of claude, claude-desktop, cursor"):
        configuration("emacs", "notes", COMMAND, ARGUMENTS)
    assert server_name(["mein Index.ü"]) == "mein-Index"
    assert server_name(["a", "b"]) == server_name(["ü"]) == "searchapp"


def test_the_schemas_are_small_and_plain() -> None:
    for tool in TOOLS.values():
        for names in (["one"], ["one", "two"]):
            schema = tool.input_schema(names)
            assert ("index" in schema["properties"]) == (len(names) > 1 and tool.name in ("search", "describe"))
            for about in schema["properties"].values():
                assert about["type"] in ("string", "integer", "number", "boolean")
                assert not {"anyOf", "oneOf", "$ref"} & set(about)
    assert [tool.name for tool in chosen_tools("fetch, search")] == ["search", "fetch"]
    for wrong in ("", "search,delete"):
        with pytest.raises(SearchAppError, match="expected some of search, fetch, similar, describe"):
            chosen_tools(wrong)


@pytest.mark.parametrize("document", ["plain", "a b/ü#1", "100%", "?x=1", "日本", "../up", "searchapp://x"])
def test_an_address_names_its_document(document: str) -> None:
    address = uri("my notes", document)
    assert address.isascii()
    assert parted(address, ["my notes", "other"]) == ("my notes", document)
    assert parted(f"other/{document}", ["my notes", "other"]) == ("other", document)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no model of /data/secret/ix is there", "no model of notes is there"),
        ("'/data/secret/ix/data/x.json' is gone", "'notes/data/x.json' is gone"),
        ("/data/secret/ixion and /home/me/models/tiny.gguf differ", "ixion and tiny.gguf differ"),
        ("see ~/models/x/; 3/4 of a/b", "see x; 3/4 of a/b"),
        ("two\nlines", "two lines"),
        ("x" * 700, "x" * 599 + "…"),
    ],
)
def test_a_message_names_no_path(text: str, expected: str) -> None:
    assert scrubbed(text, {"notes": Path("/data/secret/ix")}) == expected


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "http://", "http://u:p@x/", "http://x:99999/", "http://[::1"]
)
def test_an_address_to_connect_to_is_http(url: str) -> None:
    with pytest.raises(SearchAppError, match="expected such as http://127.0.0.1:8000"):
        Address(url)


@pytest.mark.parametrize(("url", "path"), [("http://x", "/mcp"), ("http://x/a/", "/a/mcp"), ("https://x/mcp", "/mcp")])
def test_the_path_of_the_door_is_added(url: str, path: str) -> None:
    assert Address(url).path == path


def test_nothing_heavy_is_imported_before_the_tools_are_listed() -> None:
    names = "desk links loading tools streams stdio connect configuration".split()
    code = "; ".join([f"import searchapp.assistants.{name}" for name in names])
    heavy = "[x for x in ('numpy', 'torch', 'pyarrow', 'transformers', 'mcp', 'msgspec') if x in sys.modules]"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, searchapp.cli.mcp, searchapp.serve.names; {code}; print({heavy})"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
