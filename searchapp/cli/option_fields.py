"""Fields of a dataclass as options of a command; ``signatures`` says what their metadata may hold.

No part of this imports typer: a command can be run without it (see ``plain_arguments``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class OptionField:
    """A field of a dataclass as an option: its name, its type without None, its default and its metadata.

    ``default`` is MISSING where the option has to be given.
    """

    name: str
    kind: Any
    default: Any
    metadata: Any

    @property
    def is_sequence(self) -> bool:
        """Whether the option may be repeated."""
        return get_origin(self.kind) in (tuple, list)

    def parsed(self, value: Any) -> Any:
        """A value of the command line as the field holds it: a list as a tuple where the field is one."""
        return tuple(value) if get_origin(self.kind) is tuple and value is not None else value


def option(default: Any, text: str, panel: str, /, **more: Any) -> Any:
    """A field of a dataclass as an option; ``more`` are the other keys of its metadata."""
    return field(default=default, metadata={"help": text, "panel": panel, **more})


def option_fields(holder: Any) -> Iterator[OptionField]:
    """Yield the options of a dataclass, or of an instance, whose values are then the defaults.

    The fields of a dataclass inside an instance follow in its place. Raises TypeError for what is no dataclass.
    """
    if not is_dataclass(holder):
        raise TypeError(f"{holder!r} is no dataclass; options are made from the fields of one")
    hints = get_type_hints(holder if isinstance(holder, type) else type(holder))
    for item in fields(holder):
        default = _default(item) if isinstance(holder, type) else getattr(holder, item.name)
        if is_dataclass(default) and not isinstance(default, type):
            yield from option_fields(default)
        elif "help" in item.metadata:
            yield OptionField(item.name, _without_none(hints[item.name]), default, item.metadata)


def flags(item: OptionField) -> tuple[str, ...]:
    """The spellings of an option; a switch that is off has no spelling for "off", as that is what it is."""
    if flags := item.metadata.get("flags"):
        return tuple(flags)
    flag = "--" + item.name.replace("_", "-")
    return (f"{flag}/--no-{flag[2:]}",) if item.kind is bool and item.default is True else (flag,)


def instance(holder: Any, values: dict[str, Any]) -> Any:
    """An instance of the dataclass with these values; a list that was not given is the field's own default."""
    kind = holder if isinstance(holder, type) else type(holder)
    made = {}
    for item in fields(kind):
        default = _default(item) if isinstance(holder, type) else getattr(holder, item.name)
        if is_dataclass(default) and not isinstance(default, type):
            made[item.name] = instance(default, values)
        elif item.name in values and (values[item.name] is not None or default is MISSING):
            made[item.name] = values[item.name]
        elif default is not MISSING:
            made[item.name] = default
    return kind(**made)


def _default(item: Any) -> Any:
    if item.default is not MISSING:
        return item.default
    return MISSING if item.default_factory is MISSING else item.default_factory()


def _without_none(kind: Any) -> Any:
    """The type of a value that was given: ``X`` of ``X | None``."""
    if get_origin(kind) in (Union, UnionType):
        kinds = [part for part in get_args(kind) if part is not NoneType]
        if len(kinds) > 1:
            raise TypeError(f"{kind} has several types; an option has one")
        return kinds[0]
    return kind
