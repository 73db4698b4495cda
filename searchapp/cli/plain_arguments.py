"""The arguments of a command as its dataclass holds them, read without typer where nothing about them is in doubt.

typer takes longer to be imported than a search. What it would refuse, ask about or explain is left to it, as is all
that is spelled in a way of its own: nothing is decided here that it would decide otherwise, which a test compares.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from searchapp.cli.option_fields import OptionField, flags, instance, option_fields

WHOLE = re.compile(r"[0-9]{1,9}")
DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
Holder = TypeVar("Holder")


class _DoubtError(Exception):
    """typer has to read the arguments."""


def plain_arguments(holder: Holder, arguments: Sequence[str]) -> Holder | None:
    """An instance like ``holder``, a dataclass with options, with what the arguments give; None: typer has to read it.

    Options stand as ``--name value``, switches as ``--name``, and all else is for the positional argument.
    """
    if os.name == "nt":  # where typer replaces patterns by the names of files
        return None
    try:
        return _read(holder, arguments)
    except _DoubtError:
        return None


def _read(holder: Holder, arguments: Sequence[str]) -> Holder:
    items = list(option_fields(holder))
    spelled = {spelling: (item, value) for item in items for spelling, value in _spellings(item)}
    words = [item for item in items if item.metadata.get("argument")]
    given: dict[str, Any] = {}
    value: Any
    rest = iter(arguments)
    for text in rest:
        if text in spelled:
            item, value = spelled[text]
            if value is None:
                value = _value(item, next(rest, "-"))
        elif text.startswith("-") or not words:
            raise _DoubtError
        else:
            item, value = words[0], text
        given[item.name] = (*given.get(item.name, ()), value) if item.is_sequence else value
    made: Holder = instance(holder, given)
    return made


def _spellings(item: OptionField) -> Iterator[tuple[str, bool | None]]:
    """Each spelling of an option, and the value it stands for; None where one follows."""
    if item.metadata.get("argument"):
        return
    for spelling in flags(item):
        on, _, off = spelling.partition("/")
        yield on, True if item.kind is bool else None
        if off:
            yield off, False


def _value(item: OptionField, text: str) -> Any:
    if text.startswith("-"):
        raise _DoubtError
    if item.kind is str:
        return text
    if item.kind is int and WHOLE.fullmatch(text):
        value: float = int(text)
    elif item.kind is float and DECIMAL.fullmatch(text):
        value = float(text)
    else:
        raise _DoubtError
    least, most = item.metadata.get("min"), item.metadata.get("max")
    if (least is not None and value < least) or (most is not None and value > most):
        raise _DoubtError
    return value
