"""The files at a URL as files of a source: each is fetched when its turn comes, by the process that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from searchapp.corpus.column_names import ColumnNames
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.document import Document, Record
from searchapp.corpus.formats.table import BY_ENDING, FORMATS, NEEDS, Format, format_of
from searchapp.corpus.reading_process import Request
from searchapp.corpus.remote import RemoteFile, RemoteListing, listing
from searchapp.corpus.selection import LEFT_OUT, Selection
from searchapp.corpus.source_file import SourceFile
from searchapp.corpus.walk import READ, REFUSED, SKIPPED, unread
from searchapp.errors import CorpusError

NO_MARK = "the server gives no ETag, and no size and time of change: whether it has changed could not be told"


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """What is read at a URL. ``format`` is that of a single file."""

    listing: RemoteListing
    selection: Selection
    format: Format | None

    @classmethod
    def find(cls, url: str, selection: Selection) -> RemoteSource:
        """Look at a URL. Raises CorpusError where nothing is there, or nothing that is read."""
        found = listing(url)
        if found.is_folder:
            return cls(found, selection, None)
        (file,) = found.files
        format = selection.format(file.name) or format_of(file.name) or _by_mime(file.mime)
        if format is None:
            raise CorpusError(
                f"{found.shown}: no reader for {file.mime or 'what has no known ending'}; expected one of "
                f"{', '.join(BY_ENDING)}"
            )
        if not format.is_installed:
            raise CorpusError(f"{found.shown}: {format.label} needs `{format.command}`")
        if not file.mark:
            raise CorpusError(f"{found.shown}: {NO_MARK}; fetch it and name the file")
        return cls(found, selection, format)

    @property
    def label(self) -> str:
        """The last part of its address."""
        last = self.listing.shown.partition("#")[0].rstrip("/").rpartition("/")[2]
        return last.replace("#", "_").strip() or "remote"

    def marks(self) -> Iterator[str]:
        """What changes when a file does."""
        for file in self.listing.files:
            yield f"{file.shown}\0{file.mark}"

    def files(self, label: str, cutter: Cutter) -> Iterator[SourceFile]:
        """Yield every file without fetching it; refused and skipped ones have the reason."""
        for file in self.listing.files:
            name = file.relative or file.name
            format = self.format or self.selection.format(file.relative)
            left_out = self.selection.excludes(name) or not self.selection.includes(name)
            if self.listing.is_folder and (format is None or left_out):
                yield self._unread(file, name, SKIPPED, LEFT_OUT if left_out else unread(file.name.lower()))
            elif format is None:
                continue
            elif not format.is_installed:
                yield self._unread(file, name, SKIPPED, f"{format.label} {NEEDS}{format.command}`")
            elif not file.mark:
                yield self._unread(file, name, REFUSED, NO_MARK)
            else:
                yield _source_file(file, name, format, label, cutter, self.selection.columns)

    @staticmethod
    def _unread(file: RemoteFile, name: str, outcome: str, reason: str) -> SourceFile:
        return SourceFile(
            name, file.shown, None, "", file.size, file.mtime_ns, outcome, reason, is_cut=True, _identity=file.identity
        )


def _source_file(file: RemoteFile, name: str, format: Format, label: str, cutter: Cutter, columns: str) -> SourceFile:
    notes: dict[str, int] = {}
    request = None
    if not format.is_cut:
        read = partial(_table, file, format, columns)
        reader = ColumnNames.reader(format.name, columns)
    elif format.isolated:
        request = Request.of_remote(file, format.name, cutter.passwords)
        time = file.mtime_ns
        read = partial(cutter.read, request, file.shown, label, file.relative, format, time, notes)
        reader = cutter.reader_of(format)
    else:
        read = partial(_text, file, format, label, cutter, notes)
        reader = cutter.reader_of(format)
    return SourceFile(
        name, file.shown, None, reader, file.size, file.mtime_ns, READ, is_cut=format.is_cut, label=format.label,
        request=request, notes=notes, _read=partial(_linked, read, file), _identity=file.identity,
    )  # fmt: skip


def _table(file: RemoteFile, format: Format, columns: str) -> Iterator[Record]:
    chosen = {"columns": ColumnNames.parse(columns)} if columns else {}
    with file.fetched() as place:
        yield from format.load()(place, file.shown, **chosen)


def _text(file: RemoteFile, format: Format, label: str, cutter: Cutter, notes: dict[str, int]) -> Iterator[Record]:
    with file.fetched() as place:
        yield from cutter.records(place, file.shown, label, file.relative, format, notes)


def _linked(read: partial[Iterator[Record]], file: RemoteFile) -> Iterator[Record]:
    """Records with the address they are from, where they have none."""
    url = file.shown.partition("#")[0]
    for record in read():
        item = record.item
        if isinstance(item, Document) and "url" not in item.metadata:
            item = replace(item, metadata={**item.metadata, "url": url})
        yield Record(item, record.progress)


def _by_mime(mime: str) -> Format | None:
    """The format by what a server calls it."""
    kind = mime.partition(";")[0].strip().lower()
    return next((format for format in FORMATS if format.mime == kind and format.name != "code"), None)
