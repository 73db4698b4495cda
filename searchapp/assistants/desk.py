"""Where calls of tools come in, whatever brought them: arguments are read, the tool answers, faults become one line.

Nothing is imported here that takes time, so that a list of tools can be had at once.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from searchapp.assistants.arguments import values_of
from searchapp.assistants.fault import ToolError, refused, scrubbed
from searchapp.assistants.library import Call, Library, Payload
from searchapp.assistants.links import uri
from searchapp.assistants.tools import TOOLS, Tool
from searchapp.assistants.visible import quoted
from searchapp.errors import SearchAppError

log = logging.getLogger(__name__)

DEADLINE = 20.0  # seconds a call may take; hosts give up after 60


@dataclass(frozen=True)
class Desk:
    """The tools over a library. ``library`` waits for it until a time (``time.monotonic``) and may raise ToolError.

    ``folders`` are where the files of an index stand now, by its name: hits in files that changed are marked stale.
    """

    indexes: Sequence[str]
    library: Callable[[float], Library]
    tools: tuple[Tool, ...] = tuple(TOOLS.values())
    folders: Mapping[str, Path] = field(default_factory=dict)
    deadline: float = DEADLINE

    def tool(self, name: str) -> Tool | None:
        """A tool by its name."""
        return next((tool for tool in self.tools if tool.name == name), None)

    def call(self, tool: Tool, given: Mapping[str, Any] | None) -> Payload:
        """The answer of a tool. Raises ToolError, whose one line says what to do next."""
        return self._answered(tool.name, lambda: values_of(tool.arguments, given))

    def read(self, address: str) -> Payload | None:
        """What a URI names, as ``fetch`` or ``describe`` has it; None where it is not one of this server's.

        Raises ToolError where it is, and cannot be answered.
        """
        for name in self.indexes:
            if address == uri(name):
                return self._answered("describe", lambda name=name: ({"index": name}, []))  # type: ignore[misc]
        if not any(address.startswith(uri(name) + "/") for name in self.indexes):
            return None
        return self._answered("fetch", lambda: values_of(TOOLS["fetch"].arguments, {"id": address}))

    def _answered(self, name: str, values: Callable[[], tuple[dict[str, Any], list[str]]]) -> Payload:
        deadline = time.monotonic() + self.deadline
        roots: Mapping[str, Path] = {}
        try:
            read, notes = values()
            self._check_index(read)
            library = self.library(deadline)
            roots = library.roots
            from searchapp.assistants.answers import ANSWERS  # what it needs takes a second to import

            return ANSWERS[name](Call(library, self.indexes, read, notes, deadline, self.folders))
        except ToolError:
            raise
        except SearchAppError as error:
            raise refused(error, roots) from None
        except Exception as error:
            from searchapp.serve.problem import ProblemError

            if isinstance(error, ProblemError):
                again = f"; ask again in {error.retry} s" if error.retry else ""
                raise ToolError(scrubbed(error.message, roots) + again) from None
            reference = secrets.token_hex(4)
            log.exception("call %s of %s failed", reference, name)
            raise ToolError(
                f"a fault of the server, reference {reference}; its standard error has more. Another query may work"
            ) from None

    def _check_index(self, values: dict[str, Any]) -> None:
        if "index" not in values:
            return
        given = values["index"]
        if given is None or (len(self.indexes) == 1 and given not in self.indexes):
            values["index"] = self.indexes[0]
        elif given not in self.indexes:
            raise ToolError(f"no index is named {quoted(given, 60)}; there are {', '.join(self.indexes)}")
