"""What documents are called: ``NAME/ID``, the id of a tool's answer, and an address to cite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

SCHEME = "searchapp://"
ADDRESS = re.compile(r"https?://[^\s\"'<>\x00-\x20]{1,1000}")


def identifier(name: str, document: str) -> str:
    """The id of a document of an index, as tools say it."""
    return f"{name}/{document}"


def address(name: str, document: str, metadata: Mapping[str, Any]) -> str:
    """Where a document is: its own ``url`` where that is on the web, else the URI for ``resources/read``."""
    own = metadata.get("url")
    return own if isinstance(own, str) and ADDRESS.fullmatch(own) else uri(name, document)


def uri(name: str, document: str = "") -> str:
    """The URI of a document, or of an index."""
    whole = f"{SCHEME}{quote(name, safe='')}"
    return f"{whole}/{quote(document, safe='/', errors='surrogatepass')}" if document else whole


def parted(given: str, names: Sequence[str]) -> tuple[str, str]:
    """Index and id of ``NAME/ID`` or a URI; where there is one index only, its name may be left out.

    The index is "" where none of that name is there.
    """
    if given.startswith(SCHEME):
        name, _, document = given[len(SCHEME) :].partition("/")
        name, document = unquote(name), unquote(document)
        return (name if name in names else ""), document
    name, slash, document = given.partition("/")
    if slash and name in names:
        return name, document
    return (names[0], given) if len(names) == 1 else ("", given)
