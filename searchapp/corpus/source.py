"""What the user names on the command line, opened as a stream of records by the one table of kinds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from searchapp.corpus.delimited import read_csv, read_tsv
from searchapp.corpus.docstrings import read_stdlib, stdlib_identity
from searchapp.corpus.document import Record
from searchapp.corpus.folder import read_folder, read_text, text_files
from searchapp.corpus.jsonl import read_jsonl
from searchapp.corpus.parquet import read_parquet
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
_BEIR_FILES = ("corpus.jsonl", "corpus.jsonl.gz")
_ACCEPTED = (
    f"{', '.join(ending for ending, _, _ in READERS)}, a folder of .txt/.md/.rst files, "
    f"a BEIR folder with {_BEIR_FILES[0]}, or {STDLIB}"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A source that has been found readable. It can be read any number of times, and travels between processes."""

    name: str
    kind: str
    _read: Callable[[], Iterator[Record]] = field(repr=False)
    _marks: Callable[[], Iterable[str]] = field(repr=False)

    def records(self) -> Iterator[Record]:
        """Stream the records in an order that depends on the content alone; progress never falls and ends at 1.

        Raises CorpusError, while iterating, where the source is damaged or went away; what came before is yielded.
        """
        held: Record | None = None
        reached = 0.0
        try:
            for record in self._read():
                if held is not None:
                    yield held
                reached = max(reached, record.progress)
                held = Record(record.item, reached)
        except (CorpusError, OSError) as error:
            if held is not None:
                yield held
            if isinstance(error, CorpusError):
                raise
            hint = "check the file and its permissions"
            raise CorpusError(f"{self.name}: cannot be read: {error.strerror}; {hint}") from error
        if held is not None:
            yield Record(held.item, 1.0)

    def identity(self) -> str:
        """Return a SHA-256 in hex that changes when the content may have: file names, sizes, times of change.

        Raises CorpusError where a file went away.
        """
        digest = hashlib.sha256(self.kind.encode())
        for mark in self._marks():
            digest.update(b"\0" + mark.encode(errors="surrogateescape"))
        return digest.hexdigest()


def open_source(source: str) -> Source:
    """Find out what a source is and read its first record, so that a bad source shows before any work is done.

    Raises CorpusError where it is missing, unreadable, of no known kind, or not what its name says.
    """
    try:
        opened = _find(source)
    except OSError as error:
        raise CorpusError(f"{source}: cannot be read: {error.strerror}; check the path and its permissions") from error
    next(opened.records(), None)
    return opened


def _find(source: str) -> Source:
    if source == STDLIB:
        return Source(source, "python", read_stdlib, stdlib_identity)
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
                return Source(source, kind, partial(read, path, source), partial(_file_marks, path, (path,)))
    found = f"a file ending in {path.suffix or 'nothing'}" if is_file else "neither a file nor a folder"
    raise CorpusError(f"{source}: {found}; expected {_ACCEPTED}; convert it or give another source")


def _folder(path: Path, name: str) -> Source:
    for file in _BEIR_FILES:
        corpus = path / file
        if corpus.is_file():
            read = partial(read_jsonl, corpus, str(Path(name) / file))
            return Source(name, "beir", read, partial(_file_marks, path, (corpus,)))
    return Source(name, "folder", partial(read_folder, path, name), partial(_file_marks, path, None))


def _file_marks(base: Path, files: Iterable[Path] | None) -> Iterator[str]:
    """Yield name, size and time of change of each file; without files, of the text files below the base."""
    for path in text_files(base) if files is None else files:
        try:
            stat = path.stat()
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read: {error.strerror}; was it moved?") from error
        name = path.name if path == base else path.relative_to(base).as_posix()
        yield f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}"
