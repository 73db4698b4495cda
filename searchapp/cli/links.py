"""Links in a terminal: a stretch of text that opens a file or an address, by the escape OSC 8.

The form is that of "Hyperlinks in Terminal Emulators" (Egmont Koblinger). A terminal that does not know it should show
the text alone; as not every one does, those that are known to know it get links, and all where FORCE_HYPERLINK says so.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from urllib.parse import quote

from searchapp.cli.console import LINK, LINKED, UNLINK, plain
from searchapp.cli.places import ADDRESS, Spot

PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio", "WarpTerminal")
VARIABLES = ("WT_SESSION", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "DOMTERM", "ALACRITTY_WINDOW_ID", "TERMINAL_EMULATOR")
TERMS = ("xterm-kitty", "alacritty", "foot", "xterm-ghostty", "wezterm")
VTE = 5000  # GNOME's terminal library from 0.50 on
SAFE = "/:?#[]@!$&'()*+,;=%~-._"  # what an address may hold as it stands


def shows_links() -> bool:
    """Whether standard output is a terminal that shows links. ``FORCE_HYPERLINK`` 0 or 1 overrides what is known."""
    if not sys.stdout.isatty():
        return False
    if forced := os.environ.get("FORCE_HYPERLINK"):
        return forced != "0"
    term, vte = os.environ.get("TERM", ""), os.environ.get("VTE_VERSION", "")
    if term in ("dumb", "linux") or term.startswith(("screen", "tmux")):  # these two pass on what they know
        return False
    known = os.environ.get("TERM_PROGRAM") in PROGRAMS or term.startswith(TERMS)
    return known or any(map(os.environ.get, VARIABLES)) or (vte.isdecimal() and int(vte) >= VTE)


def linked(spot: Spot) -> str:
    """The text of a place, as a link where the terminal shows links and there is something to open."""
    target = _target(spot) if shows_links() else ""
    return f"{LINK}{target}{LINKED}{plain(spot.text)}{UNLINK}" if target else spot.text


def _target(spot: Spot) -> str:
    """The address that a place opens at, percent-encoded, so that no character of it ends the escape; "" for none."""
    if spot.path is None:
        return quote(spot.text, safe=SAFE) if ADDRESS.fullmatch(spot.text) else ""
    path = quote(os.fsencode(spot.path.absolute()))
    if spot.fragment:
        return f"file://{_host()}{path}#{quote(spot.fragment, safe=SAFE)}"
    if os.environ.get("TERM_PROGRAM") == "vscode":
        return f"vscode://file{path}" + (f":{spot.line}" if spot.line else "")
    line = f"#{spot.line}" if spot.line and os.environ.get("KITTY_WINDOW_ID") else ""  # others look for such a file
    return f"file://{_host()}{path}{line}"


@cache
def _host() -> str:
    """The name of this machine, by which a terminal elsewhere knows that the file is not its own."""
    return quote(socket.gethostname(), safe="")
