"""Places as links: which terminals get them, what they open, and that no name of a file can end the escape."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from searchapp.cli import links
from searchapp.cli.console import ESCAPES, say
from searchapp.cli.places import Spot

KNOWN = ("TERM", "TERM_PROGRAM", "VTE_VERSION", "FORCE_HYPERLINK", *links.VARIABLES)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    def set_up(is_one: bool = True, **environment: str) -> None:
        for name in KNOWN:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.stdout.isatty", lambda: is_one, raising=False)

    return set_up


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "6800"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4205"}, False),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM_PROGRAM": "WezTerm"}, True),
        ({"WT_SESSION": "1"}, True),
        ({"TERM": "tmux-256color", "VTE_VERSION": "6800"}, False),
        ({"TERM": "dumb", "WT_SESSION": "1"}, False),
        ({"TERM": "tmux-256color", "FORCE_HYPERLINK": "1"}, True),
        ({"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"}, False),
    ],
)
def test_terminals_that_show_links(terminal, environment: dict[str, str], expected: bool) -> None:
    terminal(**environment)
    assert links.shows_links() is expected


def test_no_link_where_nobody_looks(terminal, tmp_path: Path) -> None:
    terminal(False, FORCE_HYPERLINK="1", TERM="xterm-kitty")
    assert links.linked(Spot("a:1", tmp_path, 1)) == "a:1"


def test_a_link_opens_the_file(terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(TERM_PROGRAM="iTerm.app")
    odd = tmp_path / "a b%\x1b]8;;é\udcff.md"
    say(links.linked(Spot("a b.md:3", odd, 3)) + "  after")
    shown = capsys.readouterr().out
    start, address, text, rest = shown.split("\x1b")[0], *shown.split("\x1b")[1:4]
    assert (start, text, rest) == ("", "\\a b.md:3", "]8;;")
    assert shown.endswith("\x1b\\  after\n")
    assert address.startswith("]8;;file://")
    assert address.isascii()
    assert address.isprintable()
    parts = urlsplit(address.removeprefix("]8;;"))
    assert parts.netloc == socket.gethostname()
    assert unquote(parts.path, errors="surrogateescape") == str(odd)
    assert not set(shown) & set(ESCAPES)


def test_editors_are_told_the_line(terminal, tmp_path: Path) -> None:
    terminal(TERM_PROGRAM="vscode")
    assert f"vscode://file{tmp_path}/a.md:3" in links.linked(Spot("a.md:3", tmp_path / "a.md", 3))
    terminal(KITTY_WINDOW_ID="1")
    assert f"{tmp_path}/a.md#3" in links.linked(Spot("a.md:3", tmp_path / "a.md", 3))


def test_an_address_is_its_own_link(terminal) -> None:
    terminal(TERM_PROGRAM="ghostty")
    assert "https://example.org/a?b=%20c" in links.linked(Spot("https://example.org/a?b=%20c"))
    assert links.linked(Spot("some/file:3")) == "some/file:3"  # a file that is gone


def test_records_of_a_list_are_shown_where_they_stand(run, index: Path, terminal) -> None:
    outcome = run("search", index, "bees fly and make honey", "-k", 1)
    lines = (index.parent / "docs.jsonl").read_text().splitlines()
    place = outcome.out.splitlines()[2].split()[0]
    path, number = place.rsplit(":", 1)
    assert Path(path).name == "docs.jsonl"
    assert json.loads(lines[int(number) - 1])["_id"] == outcome.out.splitlines()[2].split()[1] == "bees"
