"""The arguments of tools: what there is, and values out of what an assistant sends, which is seldom quite right.

A number out of its range is clamped, a name that other servers use is understood, an argument that there is not is
ignored; a note says so. Only what makes an answer impossible is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from searchapp.assistants.fault import ToolError
from searchapp.assistants.visible import one_line, quoted
from searchapp.unicode import find_surrogate

UNBOUNDED = 1 << 31
SHOWN = 60  # characters of a value that a message repeats


@dataclass(frozen=True)
class Text:
    """An argument that is text of at most ``most`` characters."""

    name: str
    about: str
    most: int
    is_required: bool = False
    aliases: tuple[str, ...] = ()

    def schema(self, choices: Sequence[str] = ()) -> dict[str, Any]:
        """As JSON Schema; ``choices`` are the only values, where there are any."""
        return {"type": "string", "description": self.about, **({"enum": list(choices)} if choices else {})}

    def read(self, given: Any, notes: list[str]) -> str:
        """The text. Raises ToolError."""
        if isinstance(given, list) and len(given) == 1:
            given = given[0]
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            given = str(given)
        if not isinstance(given, str):
            raise ToolError(f"{self.name} is {_kind(given)}; send text")
        if find_surrogate(given) is not None:
            raise ToolError(f"{self.name} is no valid Unicode; send it as UTF-8 text")
        if len(given) > self.most:
            raise ToolError(f"{self.name} has {len(given):,} characters; send at most {self.most:,}")
        return given


@dataclass(frozen=True)
class Number:
    """An argument that is a whole number from ``least`` to ``most``."""

    name: str
    about: str
    default: int
    least: int
    most: int
    aliases: tuple[str, ...] = ()

    def schema(self, choices: Sequence[str] = ()) -> dict[str, Any]:
        """As JSON Schema."""
        bounds = {"minimum": self.least, **({"maximum": self.most} if self.most < UNBOUNDED else {})}
        return {
            "type": "integer",
            **bounds,
            "default": self.default,
            **({"description": self.about} if self.about else {}),
        }

    def read(self, given: Any, notes: list[str]) -> int:
        """The number, within its bounds. Raises ToolError for what is none."""
        try:
            number = float(given) if not isinstance(given, bool) and isinstance(given, (int, float, str)) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if math.isnan(number):
            raise ToolError(f"{self.name} is {_kind(given)}; send a number from {self.least} to {self.most}")
        clamped = int(min(max(number, self.least), self.most))
        if clamped != number:
            notes.append(f"{self.name} {one_line(str(given), SHOWN)} was taken as {clamped}.")
        return clamped


Argument = Text | Number


def values_of(arguments: Sequence[Argument], given: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
    """The value of each argument by its name (None: left out), and notes on what was put right. Raises ToolError."""
    left = {} if given is None else dict(given)
    values: dict[str, Any] = {}
    notes: list[str] = []
    for argument in arguments:
        found = next((name for name in (argument.name, *argument.aliases) if left.get(name) is not None), None)
        if found is None:
            if isinstance(argument, Text) and argument.is_required:
                sent = f"; {', '.join(one_line(name, SHOWN) for name in list(left)[:5])} came" if left else ""
                raise ToolError(f"{argument.name} is missing{sent}; send {argument.name}: {argument.about}")
            values[argument.name] = argument.default if isinstance(argument, Number) else None
        else:
            values[argument.name] = argument.read(left[found], notes)
            if isinstance(values[argument.name], str) and not values[argument.name].strip():
                if isinstance(argument, Text) and argument.is_required:
                    raise ToolError(f"{argument.name} is empty; send {argument.about}")
                values[argument.name] = None
        for name in (argument.name, *argument.aliases):
            left.pop(name, None)
    if unknown := [one_line(name, SHOWN) for name in left]:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        notes.append(f"Ignored: {', '.join(unknown[:5])}{more}; there is no such argument.")
    return values, notes


def _kind(given: Any) -> str:
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return kinds.get(type(given), f"{quoted(str(given), SHOWN)}")
