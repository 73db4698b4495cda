"""Sources: what the user names on the command line, opened as files and records."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from searchapp.corpus.arrow_folder import ARROW, arrow_files, arrow_source_files, is_arrow_folder, read_arrow_files
from searchapp.corpus.batch import DocumentBatch
from searchapp.corpus.column_names import ColumnNames
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.docstrings import read_stdlib, stdlib_identity
from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.folder import no_text_files, read_folder, read_text
from searchapp.corpus.formats.table import BY_NAME, FORMATS, NEEDS, Format, cut_endings, format_of, recognise
from searchapp.corpus.headings import MARKERS
from searchapp.corpus.jsonl import read_jsonl
from searchapp.corpus.remote_source import RemoteSource
from searchapp.corpus.selection import IGNORED, LEFT_OUT, Selection
from searchapp.corpus.source_file import SourceFile, cut_file, in_order
from searchapp.corpus.sqlite import PREFIX, SqliteTable, read_sqlite
from searchapp.corpus.urls import is_url, local_path, shown_url
from searchapp.corpus.walk import PACKED, REFUSED, SKIPPED, walk
from searchapp.errors import CorpusError

STDLIB = "python:stdlib"
REMOTE = "remote"  # the kind of folders that are named by URL
CUT = ("folder", "text", REMOTE)  # the kinds of which files are cut into passages
MEMORY = "memory"  # the kind of sources that are no files: see ``searchapp.corpus.memory``
_BEIR_FILES = ("corpus.jsonl", "corpus.jsonl.gz")
_ACCEPTED = (
    f"{', '.join(ending for format in FORMATS for ending in format.endings)}, a folder of such texts and documents, "
    f"a BEIR folder with {_BEIR_FILES[0]}, a data set saved on disk, a table as sqlite:FILE?table=NAME, or {STDLIB}"
)


class EmptyFolderError(CorpusError):
    """A folder has no file that is read."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source that was found readable. It can be read any number of times and sent to other processes.

    ``name`` is how the user named it, ``label`` its name in ids: that of the folder or file, unless one was given.
    ``format`` is that of a single file, ``selection`` what is wanted of a folder.
    """

    name: str
    kind: str
    label: str
    place: Path | None = field(repr=False)
    _read: Callable[[], Iterator[Record]] = field(repr=False)
    _marks: Callable[[], Iterable[str]] = field(repr=False)
    format: str = ""
    selection: Selection = Selection()
    _files: Callable[[str, Cutter], Iterator[SourceFile]] | None = field(default=None, repr=False)
    _batches: Callable[[], Iterator[tuple[DocumentBatch | Document | Rejected, float]]] | None = field(
        default=None, repr=False
    )

    @property
    def is_cut(self) -> bool:
        """Whether its files are text, which is cut into passages. The ids of these begin with the label."""
        return self.kind in CUT

    @property
    def is_document(self) -> bool:
        """Whether it is a single file that is no plain text: it has passages of the second scheme alone."""
        return bool(self.format) and not (self.place and _has_first_scheme(self.place, BY_NAME[self.format]))

    def records(self, cutter: Cutter | None = None) -> Iterator[Record]:
        """Stream the records in an order that depends on the content alone; progress never falls and ends at 1.

        ``cutter`` cuts text. Without it, text is cut by characters and ids hold line numbers, as in indexes of the
        first scheme. Raises CorpusError, while iterating, where the source is damaged or went away; what came before
        is yielded.
        """
        if cutter is None:
            yield from in_order(self._read(), self.name)
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

    def listed(self) -> Iterator[SourceFile]:
        """The files as ``files`` yields them, without what reads them."""
        from searchapp.corpus.cut_rule import CutRule, estimate

        return self.files(Cutter(CutRule(), estimate))

    def files(self, cutter: Cutter) -> Iterator[SourceFile]:
        """Yield every file of the source without opening it; refused and skipped ones have the reason.

        Raises EmptyFolderError, after the last, where a folder has no text, and CorpusError where a file went away.
        """
        if self._files is not None:
            yield from self._files(self.label, cutter)
        elif self.kind == MEMORY:
            yield SourceFile(
                self.name, self.name, None, f"{MEMORY} 1", 1, _read=self._read, _identity=self.identity,
                _batches=self._batches,
            )  # fmt: skip
        elif self.place is None:
            yield SourceFile(self.name, self.name, None, self.kind, label=self.kind, _read=self._read)
        elif self.kind == "folder":
            yield from self._below(self.place, cutter)
        else:
            corpus = next((self.place / name for name in _BEIR_FILES if (self.place / name).is_file()), self.place)
            file = self.name if corpus == self.place else str(Path(self.name) / corpus.name)
            try:
                found = corpus.stat()
            except OSError as error:
                raise CorpusError(f"{file}: cannot be read: {error.strerror}; was it moved?") from error
            shown = corpus.name.encode(errors="backslashreplace").decode()
            size, time = found.st_size, found.st_mtime_ns
            if self.is_cut:
                yield cut_file(cutter, BY_NAME[self.format], corpus, (shown, file), self.label, "", size, time)
            else:
                reader = ColumnNames.reader(self.kind, self.selection.columns)
                yield SourceFile(shown, file, corpus, reader, size, time, label=self.kind, _read=self._read)

    def _below(self, folder: Path, cutter: Cutter) -> Iterator[SourceFile]:
        count = 0
        lacking: Counter[str] = Counter()
        for found in walk(folder, self.selection):
            count += found.outcome != SKIPPED
            lacking[found.reason] += found.outcome == SKIPPED and NEEDS in found.reason
            shown = found.relative.encode(errors="backslashreplace").decode()
            file = str(Path(self.name) / shown) + ("/" if shown.endswith("/") else "")
            if found.format is not None:
                yield cut_file(
                    cutter, found.format, found.path, (shown, file), self.label, found.relative, found.size,
                    found.mtime_ns,
                )  # fmt: skip
            else:
                yield SourceFile(
                    shown, file, found.path, cutter.reader, found.size, found.mtime_ns, found.outcome, found.reason,
                    is_cut=True,
                )  # fmt: skip
        if not count:
            raise EmptyFolderError(_nothing_below(self.name, +lacking))

    def identity(self) -> str:
        """Return a SHA-256 in hex that changes when the content may have: file names, sizes, times of change.

        Raises CorpusError where a file went away.
        """
        digest = hashlib.sha256(self.kind.encode())
        for mark in self._marks():
            digest.update(b"\0" + mark.encode(errors="surrogateescape"))
        return digest.hexdigest()


def open_source(source: str, label: str | None = None, selection: Selection | None = None) -> Source:
    """Find out what a source is and read its first record, so that a bad source shows before any work is done.

    ``label`` is its name in ids; None: that of the folder or file. ``selection`` says what is wanted of a folder.
    Raises CorpusError where it is missing, unreadable, of no known kind, not what its name says, or where the label
    cannot stand in an id.
    """
    opened = find_source(source, label, selection)
    if opened.kind != "folder":
        next(opened.records(), None)
    elif opened.place is not None:
        lacking: Counter[str] = Counter()
        for found in walk(opened.place, opened.selection):
            if found.outcome != SKIPPED:
                return opened
            lacking[found.reason] += NEEDS in found.reason or found.reason in (PACKED, LEFT_OUT, IGNORED)
        raise CorpusError(_nothing_below(source, +lacking))
    return opened


def _nothing_below(name: str, lacking: Counter[str]) -> str:
    """What is said of a folder without a file that is read; ``lacking`` counts reasons that say what to do."""
    if not lacking:
        return no_text_files(name, cut_endings())
    needs = ", ".join(f"{count:,} of its files: {reason}" for reason, count in lacking.items())
    return f"{name}: nothing in this folder can be read; {needs}"


def find_source(source: str, label: str | None = None, selection: Selection | None = None) -> Source:
    """Find out what a source is, as ``open_source`` does, but without opening a file."""
    if label is not None:
        checked_label(label)
    if selection is not None:
        selection.check()
    try:
        found = _find(source, selection or Selection())
    except OSError as error:
        shown = shown_url(source) if is_url(source) else source
        raise CorpusError(f"{shown}: cannot be read: {error.strerror}; check the path and its permissions") from error
    return found if label is None else replace(found, label=label)


def _find(source: str, selection: Selection) -> Source:
    if source == STDLIB:
        return Source(source, "python", source, None, read_stdlib, stdlib_identity)
    if source.startswith(PREFIX):
        table = SqliteTable.parse(source)
        marks = partial(_file_marks, table.path, (table.path,))
        return Source(source, "sqlite", table.label, table.path, partial(read_sqlite, table, source), marks)
    source = local_path(source)
    if is_url(source):
        return _remote(source, selection)
    path = Path(source)
    is_file = path.is_file()
    if not source or not path.exists():
        shown = source or "(an empty name)"
        raise CorpusError(f"{shown}: no such file or folder; expected {_ACCEPTED}; check the path")
    if path.is_dir():
        return _folder(path, source, selection)
    if is_file and (format := _format_of(path, source, selection)) is not None:
        marks = partial(_file_marks, path, (path,))
        if format.name == "parquet":
            columns = ColumnNames.parse(selection.columns)
            read = partial(format.load(), path, source, columns=columns)
            return Source(source, format.name, _label(path), path, read, marks, selection=_columns_of(selection))
        _refuse_columns(source, selection)
        if not format.is_cut:
            return Source(source, format.name, _label(path), path, partial(format.load(), path, source), marks)
        read = partial(read_text if _has_first_scheme(path, format) else _only_cut, path, source)
        return Source(source, "text", _label(path), path, read, marks, format.name, selection)
    found = f"a file ending in {path.suffix or 'nothing'}" if is_file else "neither a file nor a folder"
    raise CorpusError(f"{source}: {found}; expected {_ACCEPTED}; convert it or give another source")


def _remote(url: str, selection: Selection) -> Source:
    """A source at a URL; its name is the URL without what is secret in it."""
    found = RemoteSource.find(url, selection)
    format = found.format
    if format is None or format.name != "parquet":
        kind = "a folder" if format is None else format.label
        _refuse_columns(found.listing.shown, selection, f", not with {kind} at a URL")
    kind = REMOTE if format is None else "text" if format.is_cut else format.name
    name = format.name if format is not None and format.is_cut else ""
    return Source(found.listing.shown, kind, found.label, None, _nothing, found.marks, name, selection, found.files)


def _nothing() -> Iterator[Record]:
    """What is said of a remote source by indexes of the first scheme, which have none."""
    yield from ()


def _format_of(path: Path, source: str, selection: Selection) -> Format | None:
    """The format of a single file: as it was asked for, by its name, or by what it begins with. Raises CorpusError."""
    named = selection.format(path.name) or format_of(path.name)
    if named is not None and not named.isolated:
        return named
    found = recognise(path, named)
    if found is not None and not found.is_installed:
        raise CorpusError(f"{source}: {found.label} needs `{found.command}`")
    return found


def _has_first_scheme(path: Path, format: Format) -> bool:
    """Whether a single file has passages of the first scheme: one that is a text by its ending."""
    return not format.isolated and path.suffix.lower() in MARKERS


def _only_cut(path: Path, name: str) -> Iterator[Record]:
    """Open a document, which shows whether it may be read. It has no passages of the first scheme."""
    with path.open("rb"):
        yield from ()


def _folder(path: Path, name: str, selection: Selection) -> Source:
    for file in _BEIR_FILES:
        corpus = path / file
        if corpus.is_file():
            _refuse_columns(name, selection)
            read = partial(read_jsonl, corpus, str(Path(name) / file))
            return Source(name, "beir", _label(path), path, read, partial(_file_marks, path, (corpus,)))
    if is_arrow_folder(path):
        parts = arrow_files(path, name)
        marks = partial(_file_marks, path, tuple(part.place for part in parts))
        read = partial(read_arrow_files, path, name, selection.columns)
        files = partial(arrow_source_files, path, name, selection.columns)
        return Source(name, ARROW, _label(path), path, read, marks, "", _columns_of(selection), files)
    _refuse_columns(name, selection)
    read = partial(read_folder, path, name)
    marks = partial(_folder_marks, path, selection)
    return Source(name, "folder", _label(path), path, read, marks, selection=selection)


def _columns_of(selection: Selection) -> Selection:
    """What is wanted of a table: its columns alone."""
    return Selection(columns=selection.columns)


def _refuse_columns(source: str, selection: Selection, found: str = "") -> None:
    if selection.columns:
        raise CorpusError(
            f"{source}: --columns goes with Parquet files and data sets saved on disk{found}; rename the columns of "
            "others"
        )


def checked_label(label: str) -> str:
    """Return a name for a source unchanged. Raises CorpusError for one that cannot be part of an id."""
    if not label.strip() or label != label.strip() or set(label) & set("#/") or not label.isprintable():
        raise CorpusError(f"a source cannot be named {label!r}: expected a name without #, / and outer blanks")
    return label


def _label(path: Path) -> str:
    """The name of a folder or file; of ``.`` and ``..`` too."""
    name = path.resolve().name or "root"
    return name.encode(errors="backslashreplace").decode().replace("#", "_").strip() or "source"


def _file_marks(base: Path, files: Iterable[Path]) -> Iterator[str]:
    """Yield name, size and time of change of each file."""
    for path in files:
        try:
            stat = path.stat()
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read: {error.strerror}; was it moved?") from error
        name = path.name if path == base else path.relative_to(base).as_posix()
        yield f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}"


def _folder_marks(folder: Path, selection: Selection) -> Iterator[str]:
    """Yield name, size and time of change of each file below a folder that there is a reader for."""
    for found in walk(folder, selection):
        if found.format is not None or (found.outcome == REFUSED and found.mtime_ns):  # by its name alone
            yield f"{found.relative}\0{found.size}\0{found.mtime_ns}"
