"""What the program prints is safe for a terminal, and its own colours still work."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapp.cli.console import BOLD, DIM, notice, plain, say, say_json, style


@given(st.text())
def test_plain_text_holds_no_control_but_tab_and_newline(text: str) -> None:
    kept = [mark for mark in text if mark in "\t\n" or not (ord(mark) < 32 or 127 <= ord(mark) < 160)]
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
