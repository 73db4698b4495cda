"""What else an index can be asked: its filter keys, each with a condition that some document meets."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.cli.cells import clip
from searchapp.cli.console import say, width

if TYPE_CHECKING:
    import pyarrow as pa

    from searchapp.index import VectorIndex

KEYS = 12  # keys that are listed
LONGEST = 30  # characters of a value in an example
PLACES = ("line", "end_line", "start", "end", "file", "page")  # which nobody asks for first


def say_what_to_ask(path: Path) -> None:
    """Print how the index is searched, and what its documents can be filtered by."""
    from searchapp.shards.opening import open_index

    here = shlex.quote(str(path))
    say(f"to search      searchapp search {here} 'your question'")
    conditions = filter_examples(open_index(path))
    if conditions:
        first = shlex.quote(conditions[0][1])
        say(f"filters        searchapp search {here} 'your question' --filter {first}")
        names = ", ".join(name for name, _ in conditions[:KEYS]) + (" …" if len(conditions) > KEYS else "")
        say(f"               keys: {clip(names, width() - 21)}")


def filter_examples(index: VectorIndex) -> list[tuple[str, str]]:
    """The keys a filter can name, spelled as it must name them, each with a condition that some document passes."""
    found: dict[str, str] = {}
    for segment in index.rows.fields():
        for number, field in enumerate(segment.type):
            kind, _, key = field.name.partition(":")
            name = key if _is_understood(f"{key} == 1", key) else f"meta[{json.dumps(key, ensure_ascii=False)}]"
            if kind == "other" or name in found:
                continue
            condition = _condition(kind, name, segment.field(number))
            if condition and _is_understood(condition):
                found[name] = condition
    keys = sorted(found, key=lambda name: (name in PLACES, PLACES.index(name) if name in PLACES else 0))
    return [(name, found[name]) for name in keys]


def _is_understood(condition: str, name: str | None = None) -> bool:
    """Whether a filter can be this, and, where a name is given, names it alone."""
    from searchapp.errors import SearchAppError
    from searchapp.index import Filter

    try:
        return Filter(condition).names == {name} if name is not None else bool(Filter(condition).names)
    except SearchAppError:
        return False


def _condition(kind: str, name: str, column: pa.Array) -> str:
    """A condition on a key that the first of its values passes; "" where it is too long to be an example."""
    value = column.drop_null()[0].as_py() if len(column) > column.null_count else None
    if kind == "number" and value is not None:
        return f"{name} >= {value}"
    if kind == "flag" and value is not None:
        return f"{name} == {str(value).lower()}"
    if kind == "text" and value and len(value) <= LONGEST and value.isprintable():
        return f"{name} == {json.dumps(value, ensure_ascii=False)}"
    return f'{name} != ""' if kind == "text" and value else ""
