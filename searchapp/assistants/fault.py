"""What a tool says when it cannot answer: one line, with the next step, and no path of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from searchapp.errors import SearchAppError

ABSOLUTE = re.compile(r"(?<![\w.:/~-])~?(?:/[^\s/'\"`;:,()]+)+/?")
LONGEST = 600  # characters of a message


class ToolError(Exception):
    """A tool could not answer. The message is for the assistant: what was found, what to do."""


def scrubbed(text: str, roots: Mapping[str, Path]) -> str:
    """A message of the library in one line, with the names of indexes for their directories.

    Of any other absolute path only the last part is left.
    """
    line = " ".join(text.split())
    known = {str(form): name for name, root in roots.items() for form in (root, root.absolute(), root.resolve())}
    for path in sorted(known, key=len, reverse=True):
        if len(path) > 1:
            line = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", lambda _, name=known[path]: name, line)  # type: ignore[misc]
    line = ABSOLUTE.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], line)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def refused(error: SearchAppError, roots: Mapping[str, Path]) -> ToolError:
    """What the library refuses, as a tool says it."""
    return ToolError(scrubbed(str(error).removeprefix("--"), roots))
