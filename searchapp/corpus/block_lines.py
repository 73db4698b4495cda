"""Blocks and facts as lines of JSON: what a reading process writes and its parent reads."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.reading import Facts

_HALVES = re.compile("[\ud800-\udfff]")  # of characters: no UTF-8 holds them
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # as JSON writes it: no index holds it
_KINDS = {kind.value: kind for kind in BlockKind}


def to_line(item: Facts | Block) -> bytes:
    """One line, with its end. NULs and halves of characters become U+FFFD."""
    if isinstance(item, Block):
        content: object = [
            item.kind.value, item.text, item.line, item.end_line, item.start, item.end, item.level, item.label,
            item.depth, item.page, item.anchor, item.whole, None if item.where is None else dict(item.where),
            item.end_page,
        ]  # fmt: skip
    else:
        content = {"facts": {name: value for name, value in asdict(item).items() if value not in ("", None, {})}}
    return message(content)


def message(content: object) -> bytes:
    """Any JSON value as a line."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    if "\\u0000" in text:
        text = _NUL.sub("\\1\ufffd", text)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return _HALVES.sub("\ufffd", text).encode() + b"\n"


def to_item(line: bytes) -> Facts | Block:
    """What ``to_line`` was given. Raises ValueError for any other line."""
    content = json.loads(line)
    if isinstance(content, list):
        return Block(_KINDS[content[0]], *content[1:])
    return Facts(**content["facts"])
