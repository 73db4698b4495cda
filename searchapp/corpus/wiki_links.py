"""Links and tags in Markdown as Obsidian and its kin write them: ``[[Note]]``, ``![[picture.png]]``, ``#bees/honey``.

Source: Obsidian Help, "Internal links", "Tags" (a tag has a letter; it holds letters, digits, ``_``, ``-`` and ``/``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from searchapp.corpus.reserved import kept

# Where a paragraph ends, past the end of its line: what is code in a line does not reach over it.
_END = r"\n[ \t>]*(?:\n|\Z|#{1,6}[ \t]|(?:[-*+]|[0-9]+[.)])[ \t]|\||```|~~~)"
_CODE = re.compile(
    r"^[ \t>]*(?:(?:[-*+]|[0-9]+[.)])[ \t]+)?(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[^\n]*(?:\n|\Z)"
    r".*?(?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)"
    rf"|(?<![\\`])(?P<ticks>`+)(?!`)(?:(?!{_END}).)+?(?<!`)(?P=ticks)(?!`)",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[\[([^\[\]|#^\n]+?)(?:\\?\|[^\[\]\n]*|[#^][^\[\]\n]*)?\]\]")
_TAG = re.compile(r"(?:(?<=\s)|^)#([\w/-]*[^\W\d_][\w/-]*)", re.MULTILINE)
LINKS, TAGS = "links", "tags"
_LISTS = {TAGS: r"[,\s]+", "aliases": r","}  # of front matter, and what a text of several has between them


def linked(text: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a passage: ``own``, that of its file, with the ``links`` and ``tags`` that are in its text.

    These and ``aliases`` are lists of texts, in every passage. Tags of the file come first. What the file itself calls
    by such a name, and is something else, is kept as ``source.NAME``.
    """
    found = kept(own, (LINKS,))
    for name, between in _LISTS.items():
        if name in found:
            names = _names(found[name], between)
            if names is None:
                found = kept(found, (name,))
            else:
                found[name] = _distinct(one.lstrip("#") for one in names) if name == TAGS else names
    if "[[" in text or "#" in text:
        plain = _CODE.sub(" ", text)
        if links := _distinct(target.strip() for target in _LINK.findall(plain)):
            found[LINKS] = links
        if tags := _distinct(tag.strip("/") for tag in _TAG.findall(plain)):
            found[TAGS] = _distinct([*found.get(TAGS, []), *tags])
    return found


def _names(value: Any, between: str) -> list[str] | None:
    """The names that a list or a text has; None where they are something else.

    A year among them is a number as YAML has it, and a name all the same.
    """
    if isinstance(value, str):
        value = re.split(between, value)
    elif isinstance(value, int | float):
        value = [value]
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return _distinct((one if isinstance(one, str) else json.dumps(one)).strip() for one in value)
    return None


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))
