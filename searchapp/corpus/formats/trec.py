"""Collections of TREC (documents between ``<DOC>`` and ``</DOC>``, also packed): each document a part of its own.

Fields are those of the news collections: DOCNO names a document, HEADLINE, TITLE or HEAD its title, TEXT its text;
where there is none of the last, all that is no field of its own counts. Read where it is asked for, as by
``--include 'ap*.gz=trec'``.
"""

from __future__ import annotations

import gzip
import html
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.charsets import decoded
from searchapp.corpus.formats.markup import label_of, tidy
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.errors import reason_of

MOST_BYTES = 8 << 20  # of one document
_FIELD = re.compile(rb"<([A-Za-z][A-Za-z0-9_]+)>(.*?)</\1>", re.DOTALL)
_TAG = re.compile(r"</?[A-Za-z][^>]{0,500}>")
_PARAGRAPH = re.compile(r"<[pP]>|</[pP]>|\n[ \t]*\n|\n(?=[ \t]{2,}\S)")
_TITLES = (b"HEADLINE", b"TITLE", b"HEAD", b"HL", b"TI")
_NO_TEXT = (b"DOCNO", b"DOCID", b"FILEID", b"DATE", b"DATE_TIME", b"DOCTYPE", *_TITLES)


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield empty facts, then each document: its title (else its name) as a heading, its paragraphs.

    Raises Unreadable where there is no document, or the file is damaged.
    """
    yield Facts()
    composer = Composer(limits)
    count = 0
    for data in _documents(path, limits):
        count += 1
        yield from _blocks(data, composer)
    if not count:
        raise Unreadable("no collection of TREC (has no <DOC>)")


def _documents(path: Path, limits: Limits) -> Iterator[bytes]:
    with path.open("rb") as packed:
        stream: IO[bytes] = packed
        if packed.read(2) == b"\x1f\x8b":
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=packed))
        packed.seek(0)
        held: list[bytes] | None = None
        size = total = 0
        try:
            while line := stream.readline(MOST_BYTES):
                total += len(line)
                if total > limits.unpacked:
                    raise Unreadable(f"unpacks to more than {limits.unpacked:,} bytes")
                mark = line.strip().upper()
                if mark == b"<DOC>":
                    held, size = [], 0
                elif mark == b"</DOC>" and held is not None:
                    yield b"".join(held)
                    held = None
                elif held is not None:
                    held.append(line)
                    size += len(line)
                    if size > MOST_BYTES:
                        raise Unreadable(f"a document of more than {MOST_BYTES:,} bytes")
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(f"damaged: {reason_of(error)}") from None


def _blocks(data: bytes, composer: Composer) -> Iterator[Block]:
    fields: dict[bytes, list[bytes]] = {}
    for found in _FIELD.finditer(data):
        fields.setdefault(found[1].upper(), []).append(found[2])
    name = tidy(decoded(b" ".join(fields.get(b"DOCNO", [])))).replace("\n", " ")
    title = next((text for key in _TITLES if (text := _plain(b" ".join(fields.get(key, []))))), "")
    place: dict[str, Value] = {"docno": name} if name else {}
    heading = title or name or "Document"
    yield composer.block(BlockKind.HEADING, heading, level=1, label=label_of(heading), whole=True, where=place)
    bodies = fields.get(b"TEXT") or [text for key, texts in fields.items() if key not in _NO_TEXT for text in texts]
    for body in bodies:
        for part in _PARAGRAPH.split(decoded(body)):
            if text := tidy(html.unescape(_TAG.sub(" ", part))):
                yield composer.block(BlockKind.TEXT, text, where=place)


def _plain(data: bytes) -> str:
    return tidy(html.unescape(_TAG.sub(" ", decoded(data)))).replace("\n", " ")
