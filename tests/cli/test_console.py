"""What the program prints is safe for a terminal, and its own colours still work."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapp.cli.console import BOLD, DIM, notice, plain, say, say_json, style


@given(st.text() | st.text("ab\x1b\x9b\u202e\u2066\u200f\t\n"))
def test_plain_text_holds_no_control_but_tab_and_newline(text: str) -> None:
    reordering = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    controls = {*map(chr, range(32)), *map(chr, range(127, 160)), *reordering} - {"\t", "\n"}
    kept = [mark for mark in text if mark not in controls]
    assert plain(text) == "".join(kept)


def test_our_own_styles_reach_a_terminal_and_those_of_a_text_do_not(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    say(style("a\x1b[31mb", BOLD) + "\x1b[2mc" + style("d", DIM))
    assert capsys.readouterr().out == "\x1b[1ma[31mb\x1b[0m[2mc\x1b[2md\x1b[0m\n"


def test_no_styles_where_standard_output_is_no_terminal(capsys) -> None:
    say(style("a", BOLD))
    assert capsys.readouterr().out == "a\n"


def test_odd_paths_can_be_printed(capsys) -> None:
    say("path \udcff")
    notice("path \udcff\x1b[1m")
    say_json({"path": "\udcff\x9b"})
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "path ?"
    assert captured.err == "path ?[1m\n"
    assert captured.out.splitlines()[1].isascii()
    assert json.loads(captured.out.splitlines()[1]) == {"path": "\udcff\x9b"}
