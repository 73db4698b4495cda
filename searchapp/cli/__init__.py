"""The command line. It holds no logic: it reads options, calls the rooms below, and prints."""

from __future__ import annotations

from searchapp.cli.main import main

__all__ = ["main"]
