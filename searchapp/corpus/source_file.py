"""One file of a source: what is known of it without opening it, and how it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from searchapp.corpus.batch import DocumentBatch
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.docstrings import stdlib_identity
from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.file_state import Seen
from searchapp.corpus.formats.table import Format
from searchapp.corpus.reading_process import Request
from searchapp.corpus.walk import READ
from searchapp.errors import CorpusError

HINT = "check the file and its permissions"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source. ``path`` is its path within the source, ``file`` its name in messages, ``place`` on disk.

    ``label`` names its format in messages. ``reader`` names the reader and its version: it changes when the same file
    would give other documents. ``size`` is in bytes, ``mtime_ns`` the time of change. ``outcome`` and ``reason`` are as
    in ``WalkedFile``. ``request`` is what a process of its own is asked for, if one reads it. ``notes`` count what was
    left out, once it is read to its end; ``seen`` is what a document was when that process read it.
    """

    path: str
    file: str
    place: Path | None
    reader: str
    size: int = 0
    mtime_ns: int = 0
    outcome: str = READ
    reason: str = ""
    is_cut: bool = False
    label: str = ""
    request: Request | None = None
    notes: dict[str, int] = field(default_factory=dict, compare=False)
    seen: Seen = field(default_factory=Seen, compare=False, repr=False)
    _read: Callable[[], Iterator[Record]] = field(default=lambda: iter(()), repr=False)
    _identity: Callable[[], str] | None = field(default=None, repr=False)
    _batches: Callable[[], Iterator[tuple[DocumentBatch | Document | Rejected, float]]] | None = field(
        default=None, repr=False
    )

    def items(self) -> Iterator[tuple[DocumentBatch | Document | Rejected, float]]:
        """``records``, as items with their progress; plain ones with vectors of their own may come many at once."""
        if self._batches is not None:
            yield from self._batches()
        else:
            yield from ((record.item, record.progress) for record in self.records())

    def records(self) -> Iterator[Record]:
        """Stream its records in an order that depends on the content alone; progress never falls and ends at 1.

        Raises CorpusError, while iterating, where it is damaged or went away; what came before is yielded.
        """
        return in_order(self._read(), self.file)

    def sha256(self) -> str:
        """The SHA-256 of its content in hex; of what is no file, the identity of its source.

        ``python:stdlib`` has that of the interpreter's version. Raises CorpusError where it cannot be read.
        """
        if self._identity is not None:
            return self._identity()
        if self.place is None:
            return hashlib.sha256("\0".join(stdlib_identity()).encode()).hexdigest()
        try:
            with self.place.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CorpusError(f"{self.file}: cannot be read: {error.strerror}; {HINT}") from error


def cut_file(
    cutter: Cutter, format: Format, path: Path, names: tuple[str, str], source: str, relative: str, size: int, time: int
) -> SourceFile:
    """A file that is cut into passages: ``names`` are its path within the source and its name in messages.

    ``source`` is what its ids begin with, ``relative`` is as ``Cutter.records`` takes it.
    """
    notes: dict[str, int] = {}
    seen = Seen()
    request = Request(path, format.name, size, cutter.passwords) if format.isolated else None
    if request is None:
        read = partial(cutter.records, path, names[1], source, relative, format, notes)
    else:
        read = partial(cutter.read, request, names[1], source, relative, format, time, notes, seen)
    return SourceFile(
        *names,
        path,
        cutter.reader_of(format),
        size,
        time,
        is_cut=True,
        label=format.label,
        request=request,
        notes=notes,
        seen=seen,
        _read=read,
    )


def in_order(records: Iterator[Record], name: str) -> Iterator[Record]:
    """Records with a progress that never falls and ends at 1. Raises CorpusError where they cannot be read."""
    held: Record | None = None
    reached = 0.0
    try:
        for record in records:
            if held is not None:
                yield held
            reached = max(reached, record.progress)
            held = Record(record.item, reached)
    except (CorpusError, OSError) as error:
        if held is not None:
            yield held
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{name}: cannot be read: {error.strerror}; {HINT}") from error
    if held is not None:
        yield Record(held.item, 1.0)
