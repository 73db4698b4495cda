"""Links and tags in Markdown as Obsidian and its kin write them: ``[[Note]]``, ``![[picture.png]]``, ``#bees/honey``.

Source: Obsidian Help, "Internal links", "Tags" (a tag has a letter; it holds letters, digits, ``_``, ``-`` and ``/``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_CODE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?(?:^\1[`~]*[ \t]*$|\Z)|(`+)[^`].*?\2", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[\[([^\[\]|#^\n]+)(?:[#^|][^\[\]\n]*)?\]\]")
_TAG = re.compile(r"(?:(?<=\s)|^)#([\w/-]*[^\W\d_][\w/-]*)", re.MULTILINE)
LINKS, TAGS = "links", "tags"


def linked(text: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a passage: ``own``, that of its file, with the ``links`` and ``tags`` that are in its text.

    Tags of the file come first. What the file itself calls by such a name, and is no tag, is kept as ``source.NAME``.
    """
    if "[[" not in text and "#" not in text:
        return dict(own)
    plain = _CODE.sub(" ", text)
    links = _distinct(target.strip() for target in _LINK.findall(plain))
    tags = _distinct(tag.strip("/") for tag in _TAG.findall(plain))
    found = dict(own)
    if links:
        if LINKS in found:
            found[f"source.{LINKS}"] = found[LINKS]
        found[LINKS] = links
    if tags:
        given = _tags(found.get(TAGS))
        if given is None:
            found[f"source.{TAGS}"] = found[TAGS]
        found[TAGS] = _distinct([*(given or []), *tags])
    return found


def _tags(value: Any) -> list[str] | None:
    """The tags of front matter, a list or a text with commas or blanks; None where they are something else."""
    if value is None:
        return []
    if isinstance(value, str):
        value = re.split(r"[,\s]+", value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return [name for one in value if (name := one.strip().lstrip("#"))]
    return None


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))
