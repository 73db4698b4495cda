"""Files that are inside others: held in memory and read by the reader of their own format."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

from searchapp.corpus.block_readers import BLOCK_READERS, read_blocks
from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.charsets import decoded
from searchapp.corpus.formats.markup import label_of
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.corpus.formats.table import format_of, recognise

ATTACHMENTS = "attachments not read"


class Held(io.BytesIO):
    """Bytes with a name, which readers take for a path: a process that reads may write no file."""

    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(data)
        self.name = PurePosixPath(name.replace("\\", "/")).name

    @property
    def suffix(self) -> str:
        """The ending of its name, with its dot."""
        return PurePosixPath(self.name).suffix

    def open(self, mode: str = "rb") -> io.BytesIO:
        """The bytes as a stream of its own."""
        return io.BytesIO(self.getvalue())

    def read_bytes(self) -> bytes:
        """The bytes."""
        return self.getvalue()

    def stat(self) -> Any:
        """Its size, as ``st_size``."""
        return SimpleNamespace(st_size=len(self.getvalue()))


def enclosed(
    items: Iterable[Facts | Block], name: str, composer: Composer, place: Mapping[str, Value], level: int = 1
) -> Iterator[Facts | Block]:
    """Yield what a reader made of a file as a part of the file around it: below a heading that is its name.

    ``level`` is that of the heading; its own headings stand below it. ``place`` is put to where its blocks stand; what
    it tells of itself with every passage (``Facts.metadata``) as well. Of its facts the notes are kept.
    """
    headed = False
    for item in items:
        if isinstance(item, Facts):
            if item.notes:
                yield Facts(notes=item.notes)
            place = {**item.metadata, **place}
            continue
        if not headed:
            yield composer.block(BlockKind.HEADING, name, level=level, label=label_of(name), whole=True, where=place)
            headed = True
        deeper = item.level + level if item.kind is BlockKind.HEADING else item.level
        if text := item.text.rstrip():
            yield composer.block(
                item.kind, text, level=deeper, label=item.label, depth=item.depth, page=item.page, anchor=item.anchor,
                whole=item.whole, where={**(item.where or {}), **place}, end_page=item.end_page,
            )  # fmt: skip


def read_held(name: str, data: bytes, limits: Limits, unread: str = ATTACHMENTS) -> Iterator[Facts | Block]:
    """Yield what the reader of a file's format makes of it; where there is none or it fails, a note, ``unread``."""
    held = cast(Path, Held(name, data))
    format = format_of(held.name)
    format = recognise(held, format) if format is not None else None
    if format is None or not format.is_cut or not format.is_installed:
        yield Facts(notes={unread: 1})
        return
    try:
        if format.isolated:
            yield from format.load()(held, limits)
        elif (ending := format.endings[0]) in BLOCK_READERS:
            yield Facts()
            yield from read_blocks(enumerate(decoded(data).splitlines(keepends=True), 1), ending)
    except Unreadable:
        yield Facts(notes={unread: 1})
