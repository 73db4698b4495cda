"""Front matter: metadata at the top of a Markdown file, as YAML between lines of `---` or TOML between `+++`."""

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
from searchapp.corpus.headings import MODE_LINE

PLACES = ("file", "line", "end_line")
_MAX_LINES = 1000
_MAX_CHARACTERS = 64 * 2**10
_COMMENT = ("-->",)
_ENDS = {"---": ("---", "..."), "+++": ("+++",)}
_KEY = re.compile(r"""["']?[^\W\d][\w .-]*["']?\s*[:=](?:\s|$)""")


@dataclass(frozen=True)
class FrontMatter:
    """Where it ends and what it says; ``fields`` is None where it cannot be understood.

    ``lines`` counts from the top of the file to its last mark. The ``before`` lines above its first mark (comments,
    blank ones) are text of the file.
    """

    lines: int
    fields: Mapping[str, Any] | None = field(default=None)
    before: int = 0

    @property
    def title(self) -> str:
        """The title on one line, the parts of one in several joined; "" where there is none."""
        return " ".join(_words((self.fields or {}).get("title")))

    @property
    def metadata(self) -> dict[str, Any]:
        """The fields, without the title and without those that every passage has of its own.

        The entries of a field `metadata` that is an object stand beside them, as in a record.
        """
        own = ("id", "_id", "title", "text", "metadata", *PLACES)
        return {name: value for name, value in self._every.items() if name not in own}

    @property
    def places(self) -> dict[str, Any]:
        """Fields that say something of their own by the names of a passage's place, such as `line`."""
        return {name: value for name, value in self._every.items() if name in PLACES}

    @property
    def _every(self) -> dict[str, Any]:
        given = self.fields or {}
        nested = given.get("metadata")
        every = {**(nested if isinstance(nested, Mapping) else {}), **given}
        return {name: value for name, value in every.items() if value is not None}


def front_matter(lines: Iterable[str]) -> FrontMatter | None:
    """Find it at the top of a file; None where the file begins otherwise, or with a line between paragraphs.

    Blank lines, comments and an editor's line about the file may stand before it. It may be inside a comment, with its
    marks, or without them where it has a title. Raises nothing.
    """
    held: list[str] = []
    size, begin = 0, 0  # ``begin``: the line of its first mark
    ends: tuple[str, ...] = ()
    for number, line in enumerate(lines, 1):
        text = line.rstrip()
        size += len(line)
        if number > _MAX_LINES or size > _MAX_CHARACTERS:
            return None
        if ends == _COMMENT:
            held.append(line)
            if "-->" in text:
                found = _commented(held, number, begin)
                if found is not None:
                    return found
                held, ends = [], ()
        elif ends:
            if text in ends:
                return _understood(held, begin, toml=ends == ("+++",))
            held.append(line)
        elif text in _ENDS:
            ends, begin = _ENDS[text], number
        elif text.startswith("<!--"):
            if "-->" not in text:
                held, ends, begin = [text[4:] + "\n"], _COMMENT, number
        elif text and not (number == 1 and MODE_LINE.match(text)):
            return None
    return None


def _commented(held: list[str], number: int, begin: int) -> FrontMatter | None:
    """The front matter that a comment is; None where it is a comment like others."""
    inner = [line.strip() for line in held]
    inner[-1], _, behind = inner[-1].partition("-->")
    if behind.strip():
        return None
    held = [*held[:-1], held[-1].partition("-->")[0].rstrip() + "\n"]
    kept = [place for place, line in enumerate(inner) if line.strip()]
    if len(kept) < 2:
        return None
    first, last = kept[0], kept[-1]
    marked = inner[first] in _ENDS and inner[last].strip() in _ENDS[inner[first]]
    body = held[first + 1 : last] if marked else held
    found = _understood(body, begin, toml=marked and inner[first] == "+++")
    if found is None or not found.fields or not (marked or "title" in found.fields):
        return None
    return FrontMatter(number, found.fields, found.before)


def _words(value: Any) -> list[str]:
    """The words of a value, and of all that it holds."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [word for part in value for word in _words(part)]
    return [] if value is None else str(value).split()


def _understood(held: list[str], begin: int, *, toml: bool) -> FrontMatter | None:
    text = "".join(line.rstrip("\r\n") + "\n" for line in held)
    count, before = begin + len(held) + 1, begin - 1
    try:
        fields = tomllib.loads(text) if toml else _yaml(text)
        if fields is None and all(not line.strip() or line.lstrip().startswith("#") for line in held):
            return FrontMatter(count, {}, before) if any(line.strip() for line in held) else None
        if isinstance(fields, Mapping):
            return FrontMatter(count, {str(name): _json_value(value) for name, value in fields.items()}, before)
    except (ValueError, RecursionError):
        first = next((line for line in held if line.strip() and not line.lstrip().startswith("#")), "")
        return FrontMatter(count, None, before) if _KEY.match(first) else None
    return None


def _yaml(text: str) -> Any:
    """Read YAML with the scalars of its version 1.2, each kept as text where it would not come back as it is written.

    Dates stay text too, and so do keys: 1 and true are two. Raises ValueError for what is no YAML, for a key that
    stands twice (YAML 1.2, 3.2.1.3), and for aliases, by which a few lines make millions.
    """
    import yaml  # type: ignore[import-untyped, unused-ignore]

    class Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]  # PyYAML has no types
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the class above has it

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name, value in node.value:
                if not isinstance(name, yaml.ScalarNode) or name.value in found:
                    raise yaml.YAMLError("a key that is no text, or stands twice")
                found[name.value] = self.construct_object(value, deep=True)
            return found

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
