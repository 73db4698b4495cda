"""What stands at the top of a Markdown file about the file: YAML between lines of `---`, or TOML between `+++`."""

from __future__ import annotations

import base64
import datetime
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from searchapp.corpus.cells import typed

_MAX_LINES = 1000
_MAX_CHARACTERS = 64 * 2**10
_ENDS = {"---": ("---", "..."), "+++": ("+++",)}
_KEY = re.compile(r"""["']?[^\W\d][\w .-]*["']?\s*[:=](?:\s|$)""")


@dataclass(frozen=True)
class FrontMatter:
    """The lines it takes, with both marks, and what they say; ``fields`` is None where they cannot be understood."""

    lines: int
    fields: Mapping[str, Any] | None = field(default=None)

    @property
    def title(self) -> str:
        """The title on one line; "" where there is none."""
        title = (self.fields or {}).get("title")
        return "" if title is None or isinstance(title, dict | list) else " ".join(str(title).split())

    @property
    def metadata(self) -> dict[str, Any]:
        """The fields but the title, and but those that a passage has of its own."""
        own = ("id", "_id", "title", "text", "file", "line", "end_line", "metadata")
        return {name: value for name, value in (self.fields or {}).items() if name not in own and value is not None}


def front_matter(lines: Iterable[str]) -> FrontMatter | None:
    """Find it at the top of a file; None where the file begins otherwise, or with a line between paragraphs.

    Raises nothing.
    """
    held: list[str] = []
    size = 0
    ends: tuple[str, ...] = ()
    for number, line in enumerate(lines, 1):
        text = line.rstrip()
        if number == 1:
            if text not in _ENDS:
                return None
            ends = _ENDS[text]
        elif text in ends:
            return _understood(held, toml=ends == ("+++",))
        else:
            held.append(line)
            size += len(line)
        if number > _MAX_LINES or size > _MAX_CHARACTERS:
            return None
    return None


def _understood(held: list[str], *, toml: bool) -> FrontMatter | None:
    text = "".join(line.rstrip("\r\n") + "\n" for line in held)
    count = len(held) + 2
    try:
        fields = tomllib.loads(text) if toml else _yaml(text)
        if fields is None and all(not line.strip() or line.lstrip().startswith("#") for line in held):
            return FrontMatter(count, {}) if any(line.strip() for line in held) else None
        if isinstance(fields, Mapping):
            return FrontMatter(count, {str(name): _json_value(value) for name, value in fields.items()})
    except (ValueError, RecursionError):
        first = next((line for line in held if line.strip() and not line.lstrip().startswith("#")), "")
        return FrontMatter(count) if _KEY.match(first) else None
    return None


def _yaml(text: str) -> Any:
    """Read YAML with the scalars of its version 1.2, each kept as text where it would not come back as it is written.

    Dates stay text too. Raises ValueError for what is no YAML, and for aliases, by which a few lines make millions.
    """
    import yaml  # type: ignore[import-untyped, unused-ignore]

    class Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]  # PyYAML has no types
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the class above has it

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias")
            return super().compose_node(parent, index)

    Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), None)
    Loader.add_implicit_resolver("!cell", re.compile(r"(?:[-0-9][-+.0-9eE]*|[tTfF][a-zA-Z]{3,4})\Z"), None)
    Loader.add_constructor("!cell", lambda loader, node: typed(loader.construct_scalar(node)))
    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, TypeError) as error:  # TypeError: a list as a key
        raise ValueError(str(error)) from error


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _json_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [_json_value(part) for part in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
