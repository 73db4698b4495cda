"""Mailboxes of many messages (.mbox): each is a passage of its own, what it quotes of the same mailbox is left out.

A message begins at a line ``From SENDER DATE`` behind a blank line, and the date must be one: bodies have lines that
begin with "From " too, which programs do not all escape. Source: RFC 4155, appendix A.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.held import read_held
from searchapp.corpus.formats.mail import Attached, Message
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable

MIME = "application/mbox"
_BEGIN = re.compile(rb"From .{0,300}[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?\b.{0,100}\b(?:19|20)[0-9]{2}\b")
_ID = re.compile(rb"message-id:\s*<([^<>\s]+)>", re.IGNORECASE)
_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
_MOST_BYTES = 256 << 20  # of one message


def read(path: Path, limits: Limits, attached: Attached | None = None) -> Iterator[Facts | Block]:
    """Yield the facts of a mailbox, then the blocks of its messages. It is read twice: first for their ids.

    Raises Unreadable where no message begins at its start.
    """
    known = set()
    count = 0
    for message in split(path):
        count += 1
        head = message[: message.find(b"\n\n") + 1] or message
        if found := _ID.search(head):
            known.add(found[1].decode("utf-8", "replace"))
    if not count and path.stat().st_size:
        raise Unreadable("damaged: no mailbox (no line “From …” at its start)")
    yield Facts(mime=MIME)
    composer = Composer(limits)
    ids = frozenset(known)
    reader = attached or partial(read_held, limits=limits)
    for message in split(path):
        yield from Message.parse(message).blocks(composer, limits, attached=reader, known=ids)


def split(path: Path) -> Iterator[bytes]:
    """Yield the bytes of each message of a mailbox, without the line that begins it."""
    held: list[bytes] = []
    size = 0
    begun = False
    blank = True
    with path.open("rb") as file:
        for line in file:
            if blank and line.startswith(b"From ") and _BEGIN.match(line):
                if begun:
                    yield _unescaped(b"".join(held))
                held, size, begun = [], 0, True
            elif begun:
                held.append(line.replace(b"\r\n", b"\n"))
                size += len(line)
                if size > _MOST_BYTES:
                    raise Unreadable(f"a message of more than {_MOST_BYTES:,} bytes")
            elif line.strip():
                return
            blank = line in (b"\n", b"\r\n")
    if begun:
        yield _unescaped(b"".join(held))


def _unescaped(message: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", message) if b"\n>" in message else message
