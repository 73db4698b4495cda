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
_VALUES = {kind: kind.value for kind in BlockKind}
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring


def to_line(item: Facts | Block) -> bytes:
    """One line, with its end. NULs and halves of characters become U+FFFD."""
    if not isinstance(item, Block):
        return message({"facts": {name: value for name, value in asdict(item).items() if value not in ("", None, {})}})
    # Put together by hand: json.dumps takes four times as long, and a third of what it takes to read a page.
    where = "null" if item.where is None else _json(dict(item.where))
    page = "null" if item.page is None else item.page
    end_page = "null" if item.end_page is None else item.end_page
    return _encoded(
        f"[{_VALUES[item.kind]},{_quoted(item.text)},{item.line},{item.end_line},{item.start},{item.end},{item.level},"
        f"{_quoted(item.label)},{item.depth},{page},{_quoted(item.anchor)},{'true' if item.whole else 'false'},"
        f"{where},{end_page}]\n"
    )


def message(content: object) -> bytes:
    """Any JSON value as a line."""
    return _encoded(f"{_json(content)}\n")


def _encoded(text: str) -> bytes:
    if "\\u0000" in text:
        text = _NUL.sub("\\1\ufffd", text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _HALVES.sub("\ufffd", text).encode()


def to_item(line: bytes) -> Facts | Block:
    """What ``to_line`` was given. Raises ValueError for any other line."""
    content = json.loads(line)
    if isinstance(content, list):
        return Block(_KINDS[content[0]], *content[1:])
    return Facts(**content["facts"])
