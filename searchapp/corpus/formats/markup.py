"""XML read by expat, in pieces: no entity of a document's own, no other file, no depth beyond the limit.

An entity that a document declares can hold gigabytes or the content of another file, so a declaration is refused. A
bare DOCTYPE is legal (books and old office files have one); the entities that it names are never fetched.
"""

from __future__ import annotations

import html.entities
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol
from xml.parsers import expat  # noqa: S407 - entities are refused below

from searchapp.corpus.formats.reading import Limits, Unreadable

_LABEL = 200  # characters of a heading that go into a path


class Handler(Protocol):
    """What is called for each element and each run of characters of a document."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins. Names are ``prefix:local`` with the prefixes that ``parse`` was given."""

    def end(self, name: str) -> None:
        """An element ends."""

    def text(self, data: str) -> None:
        """Characters."""


class _Scope:
    """Short names of the elements and attributes of a document, by the namespaces that are declared at a place.

    Expat could resolve them, but refuses a document that uses a prefix without declaring it, as office files in the
    field do. Such a name is left as it is.
    """

    __slots__ = ("_bound", "_known", "attributes", "elements")

    def __init__(self, known: Mapping[str, str], bound: Mapping[str, str]) -> None:
        self._known = known  # the prefixes that the handler knows, by namespace
        self._bound = bound  # those, by the document's own prefixes ("" for the default namespace)
        self.elements = _Names(bound, default=bound.get("", ""))
        self.attributes = _Names(bound, default="")

    def within(self, attributes: Mapping[str, str]) -> _Scope | None:
        """The scope inside an element; None where it declares no namespace."""
        found = {
            key[6:]: self._known.get(value, "")
            for key, value in attributes.items()
            if key.startswith("xmlns") and key[5:6] in ("", ":")
        }
        return _Scope(self._known, {**self._bound, **found}) if found else None


class _Names(dict[str, str]):
    """Short names, made once each."""

    def __init__(self, bound: Mapping[str, str], default: str) -> None:
        super().__init__()
        self._bound, self._default = bound, default

    def __missing__(self, full: str) -> str:
        own, colon, local = full.rpartition(":")
        prefix = self._bound.get(own, own) if colon else self._default
        short = self[full] = f"{prefix}:{local}" if prefix else local
        return short


def parse(chunks: Iterable[bytes], handler: Handler, limits: Limits, prefixes: Mapping[str, str]) -> Iterator[None]:
    """Feed a document to a handler, and yield after each chunk, so that what it made can be handed on.

    ``prefixes`` are the prefixes of namespaces in the names that the handler sees; a name of any other is local alone.
    Raises Unreadable for XML that is not well-formed, declares entities or is nested deeper than ``limits.depth``.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    scope = _Scope(prefixes, {})
    outer: list[tuple[int, _Scope]] = []  # the scopes around, each with the depth of the element that ends the inner
    depth = 0
    most = limits.depth
    begin, finish = handler.start, handler.end

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, scope
        depth += 1
        if depth > most:
            raise Unreadable(f"elements nested more than {most} deep")
        if attributes:
            if inner := scope.within(attributes):
                outer.append((depth, scope))
                scope = inner
            short = scope.attributes
            attributes = {short[key]: value for key, value in attributes.items()}
        begin(scope.elements[name], attributes)

    def end(name: str) -> None:
        nonlocal depth, scope
        finish(scope.elements[name])
        if outer and outer[-1][0] == depth:
            scope = outer.pop()[1]
        depth -= 1

    def skipped(name: str, is_parameter: bool) -> None:
        if not is_parameter:
            handler.text(html.entities.html5.get(f"{name};", ""))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = handler.text
    parser.SkippedEntityHandler = skipped
    parser.EntityDeclHandler = _refuse
    parser.UnparsedEntityDeclHandler = _refuse
    try:
        for chunk in chunks:
            parser.Parse(chunk, False)
            yield
        parser.Parse(b"", True)
        yield
    except expat.ExpatError as error:
        raise Unreadable(f"damaged: {error}") from None


def run(chunks: Iterable[bytes], handler: Handler, limits: Limits, prefixes: Mapping[str, str]) -> None:
    """Feed a whole document to a handler."""
    for _ in parse(chunks, handler, limits, prefixes):
        pass


def tidy(text: str) -> str:
    """Text with one blank between words and none at the ends of lines; blank lines are left out."""
    if "\n" not in text:
        return " ".join(text.split())
    return "\n".join(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)


def label_of(text: str) -> str:
    """A heading's text as one line that fits into a path."""
    line = " ".join(text.split())
    return line if len(line) <= _LABEL else f"{line[: _LABEL - 1].rstrip()}…"


def _refuse(*_: object) -> None:
    raise Unreadable("declares entities")
