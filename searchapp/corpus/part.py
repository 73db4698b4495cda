"""Parts of sources: a run of a folder's files, or a run of the lines or row groups of one file.

A source that is cut is read in parts by several processes; the documents of all parts in order are those of the source.
Where a file cannot be cut without reading it from its start, it is one part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from searchapp.corpus.column_names import ColumnNames
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.delimited import header_end
from searchapp.corpus.formats.table import BY_NAME
from searchapp.corpus.jsonl import read_jsonl
from searchapp.corpus.lines import Lines
from searchapp.corpus.source import MEMORY, Source
from searchapp.corpus.source_file import HINT, SourceFile
from searchapp.corpus.walk import SKIPPED
from searchapp.errors import CorpusError

WHOLE, FILES, BYTES, GROUPS = "whole", "files", "bytes", "groups"
BYTES_A_TOKEN = 4.0  # of text; JSON and markup have a little more
PACKED = 3.0  # times as much text in a .gz
DOCUMENT = 0.25  # of a PDF, page or spreadsheet is text
_HEAD = 65_536
_BLOCK = 1 << 20
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # marks of UTF-16 and UTF-32


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a source: files ``begin`` to ``end`` of a folder's list, bytes of a file, row groups, or the whole."""

    unit: str = WHOLE
    begin: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A span with the tokens that it is estimated to have, and a digest that changes when its files do."""

    span: Span
    tokens: int
    mark: str


@dataclass(frozen=True, slots=True)
class Part(Source):
    """A source of which only ``span`` is read."""

    span: Span = Span()
    mark: str = ""

    def identity(self) -> str:
        """The mark of its span."""
        return self.mark

    def files(self, cutter: Cutter) -> Iterator[SourceFile]:
        """The files of the span; one that is read in part has no checksum."""
        found = Source.files(self, cutter)
        if self.span.unit == WHOLE:
            yield from found
        elif self.span.unit == FILES:
            yield from islice(found, self.span.begin, self.span.end)
        else:
            (file,) = found
            if file.place is None:
                raise CorpusError(f"{self.name}: cannot be read in parts; make the plan again")
            read = partial(_reader(self), file.place, file.file, span=(self.span.begin, self.span.end))
            yield replace(file, _read=read, _identity=_no_checksum)


def part_of(source: Source, span: Span, mark: str = "") -> Source:
    """The part of a source that a span names; ``mark`` is its identity."""
    return Part(**{item.name: getattr(source, item.name) for item in fields(Source)}, span=span, mark=mark)


def mark_of(source: Source, span: Span) -> str:
    """A digest of the names, sizes and times of change of the files of a span. Raises CorpusError where one is gone."""
    files = source.listed()
    return _mark(islice(files, span.begin, span.end) if span.unit == FILES else files, source)


def pieces_of(source: Source, tokens: int) -> Iterator[Piece]:
    """Cut a source into pieces of about so many tokens, in the order of its documents. Raises CorpusError."""
    if source.kind == MEMORY:
        raise CorpusError(f"{source.name}: documents in memory cannot be read by other processes; write them to a file")
    if source.kind == "folder":
        yield from _runs(source, tokens)
        return
    files = list(source.listed())
    if len(files) != 1:  # a data set of several files is read as a whole
        yield Piece(Span(), max(1, sum(map(_tokens, files))), _mark(files, source))
        return
    file = files[0]
    mark = _mark(files, source)
    spans = _cut(source, file, tokens) if file.place is not None else None
    if spans is None:
        yield Piece(Span(), max(1, _tokens(file)), mark)
        return
    for span, size in spans:
        yield Piece(span, max(1, round(size / BYTES_A_TOKEN)), mark)


def tokens_of(source: Source) -> int:
    """About how many tokens a source has, by the sizes of its files. Raises CorpusError."""
    return sum(_tokens(file) for file in source.listed())


def lines_in(path: Path, begin: int, end: int) -> int:
    """How many line ends stand between two bytes of a file."""
    count = 0
    with path.open("rb") as file:
        file.seek(begin)
        while begin < end and (data := file.read(min(_BLOCK, end - begin))):
            count += data.count(b"\n")
            begin += len(data)
    return count


def _no_checksum() -> str:
    return ""


def _reader(source: Source) -> Any:
    if source.kind == "beir":
        return read_jsonl
    read = BY_NAME[source.kind].load()
    columns = source.selection.columns
    return partial(read, columns=ColumnNames.parse(columns)) if columns else read


def _runs(source: Source, tokens: int) -> Iterator[Piece]:
    """Runs of a folder's files."""
    begin, held = 0, list[SourceFile]()
    size = 0
    for file in source.listed():
        held.append(file)
        size += _tokens(file)
        if size >= tokens:
            yield Piece(Span(FILES, begin, begin + len(held)), size, _mark(held, source))
            begin, held, size = begin + len(held), [], 0
    if held or begin == 0:
        yield Piece(Span(FILES, begin, begin + len(held)), max(1, size), _mark(held, source))


def _tokens(file: SourceFile) -> int:
    if file.outcome == SKIPPED:
        return 0
    share = DOCUMENT if file.request is not None else PACKED if file.path.endswith(".gz") else 1.0
    return round(file.size * share / BYTES_A_TOKEN)


def _mark(files: Iterator[SourceFile] | list[SourceFile], source: Source) -> str:
    digest = hashlib.sha256(source.kind.encode())
    if source.place is None:
        digest.update(source.identity().encode())
    for file in files:
        digest.update(f"\0{file.path}\0{file.size}\0{file.mtime_ns}\0{file.outcome}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _cut(source: Source, file: SourceFile, tokens: int) -> list[tuple[Span, int]] | None:
    """The spans of a single file with their bytes, or None where it has to be read whole."""
    path, wanted = file.place, round(tokens * BYTES_A_TOKEN)
    if path is None or source.is_cut or file.size <= wanted:
        return None
    kind = "jsonl" if source.kind == "beir" else source.kind
    if kind == "parquet":
        return _groups(path, wanted, file.file)
    if kind not in ("jsonl", "csv", "tsv") or path.name.lower().endswith(".gz"):
        return None
    try:
        first = _first_cut(path, file.file, kind)
        if first is None:
            return None
        cuts = [0]
        with path.open("rb") as lines:
            while (target := max(cuts[-1] + wanted, first)) < file.size:
                lines.seek(target - 1)  # a target where a line begins is a cut itself
                while (data := lines.readline(_BLOCK)) and not data.endswith(b"\n"):
                    pass
                if lines.tell() >= file.size:
                    break
                cuts.append(lines.tell())
    except OSError as error:
        raise CorpusError(f"{file.file}: cannot be read: {error.strerror}; {HINT}") from error
    ends = [*cuts[1:], file.size]
    return [(Span(BYTES, begin, end), end - begin) for begin, end in zip(cuts, ends, strict=True)]


def _first_cut(path: Path, name: str, kind: str) -> int | None:
    """The byte before which a file must not be cut; None where it must not be cut at all."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head.startswith(_WIDE) or b"\n" not in head:
            return None
        if kind != "jsonl":
            file.seek(0)
            while data := file.read(_BLOCK):
                if b'"' in data:  # a cell may then run over lines
                    return None
    if kind == "jsonl":
        first = next((line for line in Lines(path, name) if line.data.strip()), None)
        return None if first is None or first.data.lstrip().startswith(b"[") else 1
    return header_end(path, name, "," if kind == "csv" else "\t") + 1


def _groups(path: Path, wanted: int, name: str) -> list[tuple[Span, int]]:
    """Runs of the row groups of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            sizes = [table.metadata.row_group(number).total_byte_size for number in range(table.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{name}: cannot be read as Parquet ({error}); expected a Parquet file") from error
    found: list[tuple[Span, int]] = []
    begin = size = 0
    for number, group in enumerate(sizes):
        size += group
        if size >= wanted or number == len(sizes) - 1:
            found.append((Span(GROUPS, begin, number + 1), size))
            begin, size = number + 1, 0
    return found or [(Span(GROUPS, 0, 0), 0)]
