"""Sources: what the user names on the command line, opened as files and records. ``READERS`` lists the kinds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from searchapp.corpus.batch import DocumentBatch
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.delimited import read_csv, read_tsv
from searchapp.corpus.docstrings import read_stdlib, stdlib_identity
from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.folder import no_text_files, read_folder, read_text, text_files
from searchapp.corpus.jsonl import read_jsonl
from searchapp.corpus.parquet import read_parquet
from searchapp.corpus.walk import READ, REFUSED, SKIPPED, walk
from searchapp.errors import CorpusError

Reader = Callable[[Path, str], Iterator[Record]]

# The dispatch: the first ending that fits decides. A reader takes the path and the name to report it by.
READERS: tuple[tuple[str, str, Reader], ...] = (
    (".jsonl", "jsonl", read_jsonl),
    (".jsonl.gz", "jsonl", read_jsonl),
    (".ndjson", "jsonl", read_jsonl),
    (".ndjson.gz", "jsonl", read_jsonl),
    (".parquet", "parquet", read_parquet),
    (".csv", "csv", read_csv),
    (".csv.gz", "csv", read_csv),
    (".tsv", "tsv", read_tsv),
    (".tsv.gz", "tsv", read_tsv),
    (".txt", "text", read_text),
    (".md", "text", read_text),
    (".rst", "text", read_text),
)
STDLIB = "python:stdlib"
MEMORY = "memory"  # the kind of sources that are no files: see ``searchapp.corpus.memory``
HINT = "check the file and its permissions"
_BEIR_FILES = ("corpus.jsonl", "corpus.jsonl.gz")
_ACCEPTED = (
    f"{', '.join(ending for ending, _, _ in READERS)}, a folder of .txt/.md/.rst files, "
    f"a BEIR folder with {_BEIR_FILES[0]}, or {STDLIB}"
)


class EmptyFolderError(CorpusError):
    """A folder has no file that is read."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source. ``path`` is its path within the source, ``file`` its name in messages, ``place`` on disk.

    ``reader`` names the reader and its version: it changes when the same file would give other documents. ``size`` is
    in bytes, ``mtime_ns`` the time of change. ``outcome`` and ``reason`` are as in ``WalkedFile``.
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
        return _in_order(self._read(), self.file)

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


@dataclass(frozen=True, slots=True)
class Source:
    """A source that was found readable. It can be read any number of times and sent to other processes.

    ``name`` is how the user named it, ``label`` its name in ids: that of the folder or file, unless one was given.
    """

    name: str
    kind: str
    label: str
    place: Path | None = field(repr=False)
    _read: Callable[[], Iterator[Record]] = field(repr=False)
    _marks: Callable[[], Iterable[str]] = field(repr=False)
    _batches: Callable[[], Iterator[tuple[DocumentBatch | Document | Rejected, float]]] | None = field(
        default=None, repr=False
    )

    @property
    def is_cut(self) -> bool:
        """Whether its files are text, which is cut into passages. The ids of these begin with the label."""
        return self.kind in ("folder", "text")

    def records(self, cutter: Cutter | None = None) -> Iterator[Record]:
        """Stream the records in an order that depends on the content alone; progress never falls and ends at 1.

        ``cutter`` cuts text. Without it, text is cut by characters and ids hold line numbers, as in indexes of the
        first scheme. Raises CorpusError, while iterating, where the source is damaged or went away; what came before
        is yielded.
        """
        if cutter is None:
            yield from _in_order(self._read(), self.name)
            return
        files = [file for file in self.files(cutter) if file.outcome != SKIPPED]
        total, before = sum(file.size for file in files) or 1, 0
        for file in files:
            if file.outcome == REFUSED:
                yield Record(Rejected(file.file, 1, file.reason), before / total)
                continue
            for record in file.records():
                yield Record(record.item, min(1.0, (before + record.progress * file.size) / total))
            before += file.size

    def files(self, cutter: Cutter) -> Iterator[SourceFile]:
        """Yield every file of the source without opening it; refused and skipped ones have the reason.

        Raises EmptyFolderError, after the last, where a folder has no text, and CorpusError where a file went away.
        """
        if self.kind == MEMORY:
            yield SourceFile(
                self.name, self.name, None, f"{MEMORY} 1", 1, _read=self._read, _identity=self.identity,
                _batches=self._batches,
            )  # fmt: skip
        elif self.place is None:
            yield SourceFile(self.name, self.name, None, self.kind, _read=self._read)
        elif self.kind == "folder":
            yield from self._below(self.place, cutter)
        else:
            corpus = next((self.place / name for name in _BEIR_FILES if (self.place / name).is_file()), self.place)
            file = self.name if corpus == self.place else str(Path(self.name) / corpus.name)
            try:
                found = corpus.stat()
            except OSError as error:
                raise CorpusError(f"{file}: cannot be read: {error.strerror}; was it moved?") from error
            read = partial(cutter.records, corpus, file, self.label, "") if self.is_cut else self._read
            reader = cutter.reader if self.is_cut else f"{self.kind} 1"
            yield SourceFile(
                corpus.name.encode(errors="backslashreplace").decode(),
                file,
                corpus,
                reader,
                found.st_size,
                found.st_mtime_ns,
                is_cut=self.is_cut,
                _read=read,
            )

    def _below(self, folder: Path, cutter: Cutter) -> Iterator[SourceFile]:
        count = 0
        for found in walk(folder):
            count += found.outcome != SKIPPED
            shown = found.relative.encode(errors="backslashreplace").decode()
            file = str(Path(self.name) / shown) + ("/" if shown.endswith("/") else "")
            read = partial(cutter.records, found.path, file, self.label, found.relative)
            yield SourceFile(
                shown, file, found.path, cutter.reader, found.size, found.mtime_ns, found.outcome, found.reason,
                is_cut=True, _read=read,
            )  # fmt: skip
        if not count:
            raise EmptyFolderError(no_text_files(self.name))

    def identity(self) -> str:
        """Return a SHA-256 in hex that changes when the content may have: file names, sizes, times of change.

        Raises CorpusError where a file went away.
        """
        digest = hashlib.sha256(self.kind.encode())
        for mark in self._marks():
            digest.update(b"\0" + mark.encode(errors="surrogateescape"))
        return digest.hexdigest()


def _in_order(records: Iterator[Record], name: str) -> Iterator[Record]:
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


def open_source(source: str, label: str | None = None) -> Source:
    """Find out what a source is and read its first record, so that a bad source shows before any work is done.

    ``label`` is its name in ids; None: that of the folder or file. Raises CorpusError where it is missing, unreadable,
    of no known kind, not what its name says, or where the label cannot stand in an id.
    """
    opened = find_source(source, label)
    if opened.kind != "folder":
        next(opened.records(), None)
    elif opened.place is not None and all(found.outcome == SKIPPED for found in walk(opened.place)):
        raise CorpusError(no_text_files(source))
    return opened


def find_source(source: str, label: str | None = None) -> Source:
    """Find out what a source is, as ``open_source`` does, but without opening a file."""
    if label is not None:
        checked_label(label)
    try:
        found = _find(source)
    except OSError as error:
        raise CorpusError(f"{source}: cannot be read: {error.strerror}; check the path and its permissions") from error
    return found if label is None else replace(found, label=label)


def _find(source: str) -> Source:
    if source == STDLIB:
        return Source(source, "python", source, None, read_stdlib, stdlib_identity)
    path = Path(source)
    is_file = path.is_file()
    if not source or not path.exists():
        shown = source or "(an empty name)"
        raise CorpusError(f"{shown}: no such file or folder; expected {_ACCEPTED}; check the path")
    if path.is_dir():
        return _folder(path, source)
    if is_file:
        for ending, kind, read in READERS:
            if path.name.lower().endswith(ending):
                marks = partial(_file_marks, path, (path,))
                return Source(source, kind, _label(path), path, partial(read, path, source), marks)
    found = f"a file ending in {path.suffix or 'nothing'}" if is_file else "neither a file nor a folder"
    raise CorpusError(f"{source}: {found}; expected {_ACCEPTED}; convert it or give another source")


def _folder(path: Path, name: str) -> Source:
    for file in _BEIR_FILES:
        corpus = path / file
        if corpus.is_file():
            read = partial(read_jsonl, corpus, str(Path(name) / file))
            return Source(name, "beir", _label(path), path, read, partial(_file_marks, path, (corpus,)))
    read = partial(read_folder, path, name)
    return Source(name, "folder", _label(path), path, read, partial(_file_marks, path, None))


def checked_label(label: str) -> str:
    """Return a name for a source unchanged. Raises CorpusError for one that cannot be part of an id."""
    if not label.strip() or label != label.strip() or set(label) & set("#/") or not label.isprintable():
        raise CorpusError(f"a source cannot be named {label!r}: expected a name without #, / and outer blanks")
    return label


def _label(path: Path) -> str:
    """The name of a folder or file; of ``.`` and ``..`` too."""
    name = path.resolve().name or "root"
    return name.encode(errors="backslashreplace").decode().replace("#", "_").strip() or "source"


def _file_marks(base: Path, files: Iterable[Path] | None) -> Iterator[str]:
    """Yield name, size and time of change of each file; without files, of the text files below the base."""
    for path in text_files(base, passing_over=True) if files is None else files:
        try:
            stat = path.stat()
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read: {error.strerror}; was it moved?") from error
        name = path.name if path == base else path.relative_to(base).as_posix()
        yield f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}"
