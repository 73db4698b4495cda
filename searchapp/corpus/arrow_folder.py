"""Data sets as the library `datasets` saves them on disk (``save_to_disk``): Arrow files, read by pyarrow alone.

A folder with ``state.json`` and its ``*.arrow`` files is a split; one with ``dataset_dict.json`` has a folder for each.
Every row has its split as metadata. Without an id column, the id is the row's number from 0, behind the split's name
where there are several: ``train/17``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from searchapp.corpus.column_names import ColumnNames
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.document import Record, Rejected
from searchapp.corpus.parquet import batch_fields
from searchapp.corpus.source_file import SourceFile
from searchapp.corpus.validate import ID_FIELDS, RawRecord, validate
from searchapp.errors import CorpusError, reason_of

ARROW = "arrow"  # the kind of such sources
STATE, SPLITS = "state.json", "dataset_dict.json"
_ROWS = 256  # of a batch that are made records at once
_FILE_MARK = b"ARROW1"  # how a file begins that is no stream


@dataclass(frozen=True, slots=True)
class ArrowFile:
    """A file of a split: its place, its path below the folder, the files of the same split before it."""

    place: Path
    relative: str
    split: str
    before: tuple[Path, ...]
    is_alone: bool  # whether the data set has no other split


def is_arrow_folder(folder: Path) -> bool:
    """Whether a folder is a data set that was saved."""
    return (folder / SPLITS).is_file() or ((folder / STATE).is_file() and (folder / "dataset_info.json").is_file())


def arrow_files(folder: Path, name: str) -> list[ArrowFile]:
    """The files of a data set, in the order of its splits. Raises CorpusError where it is not as it should be."""
    splits = [("", folder)]
    if (folder / SPLITS).is_file():
        listed = _json(folder / SPLITS, name).get("splits")
        if not isinstance(listed, list) or not all(isinstance(one, str) and _is_plain(one) for one in listed):
            raise CorpusError(f"{name}: {SPLITS} does not name its splits; save the data set again")
        splits = [(split, folder / split) for split in listed]
    found: list[ArrowFile] = []
    for split, place in splits:
        state = _json(place / STATE, name)
        if state.get("_indices_data_files"):
            raise CorpusError(f"{name}: its rows are chosen by a list of numbers; save it after `flatten_indices()`")
        parts = state.get("_data_files")
        names = [part.get("filename") for part in parts] if isinstance(parts, list) else []
        if not names or not all(isinstance(one, str) and _is_plain(one) for one in names):
            raise CorpusError(f"{name}: {STATE} does not name its files; save the data set again")
        label = split or str(state.get("_split") or "")
        places = [place / one for one in names]
        for number, part in enumerate(places):
            before = tuple(places[:number])
            found.append(ArrowFile(part, part.relative_to(folder).as_posix(), label, before, len(splits) == 1))
    return found


def read_arrow(file: ArrowFile, name: str, columns: ColumnNames) -> Iterator[Record]:
    """Yield one record a row, as ``read_parquet`` makes them; ``line`` is the row of the file, from 1.

    Raises CorpusError where the file is damaged or has no text column.
    """
    import pyarrow as pa

    row = 0
    try:
        start = sum(batch.num_rows for path in file.before for batch in _batches(path))
        total = sum(batch.num_rows for batch in _batches(file.place)) or 1
        for batch in _batches(file.place):
            names = columns.names(batch.schema.names, name, needs_id=False)
            renamed = batch.rename_columns(names)
            for begin in range(0, batch.num_rows, _ROWS):
                for found in batch_fields(renamed.slice(begin, _ROWS), name, row):
                    row += 1
                    yield Record(_item(found, file, name, columns, start + row - 1, row), row / total)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{name}: cannot be read as Arrow data ({reason_of(error)}); save it again") from error


def arrow_source_files(folder: Path, name: str, columns: str, label: str, cutter: Cutter) -> Iterator[SourceFile]:
    """Yield the files of a data set as those of a source; ``columns`` are as ``ColumnNames.parse`` takes them."""
    for part in arrow_files(folder, name):
        file = str(Path(name) / part.relative)
        try:
            found = part.place.stat()
        except OSError as error:
            raise CorpusError(f"{file}: cannot be read: {error.strerror}; save the data set again") from error
        reader = ColumnNames.reader(ARROW, columns)
        read = partial(read_arrow, part, file, ColumnNames.parse(columns))
        yield SourceFile(
            part.relative, file, part.place, reader, found.st_size, found.st_mtime_ns, label=ARROW, _read=read
        )


def read_arrow_files(folder: Path, name: str, columns: str) -> Iterator[Record]:
    """Yield the records of all files of a data set."""
    files = arrow_files(folder, name)
    for number, file in enumerate(files):
        for record in read_arrow(file, str(Path(name) / file.relative), ColumnNames.parse(columns)):
            yield Record(record.item, (number + record.progress) / len(files))


def _item(found: Any, file: ArrowFile, name: str, columns: ColumnNames, number: int, row: int) -> Any:
    if isinstance(found, Rejected):
        return found
    fields = dict(columns.fields(found))
    if not any(fields.get(key) is not None for key in ID_FIELDS):
        fields["id"] = str(number) if file.is_alone else f"{file.split}/{number}"
    if file.split:
        fields.setdefault("split", file.split)
    return validate(RawRecord(fields, name, row))


def _batches(path: Path) -> Iterator[Any]:
    """The record batches of a file; they lie in the file, not in memory."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped:
        is_file = mapped.read(len(_FILE_MARK)) == _FILE_MARK
        mapped.seek(0)
        if is_file:
            reader = pa.ipc.open_file(mapped)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
        else:
            yield from pa.ipc.open_stream(mapped)


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(
            f"{name}: {path.name} cannot be read ({reason_of(error)}); save the data set again"
        ) from error
    return content if isinstance(content, dict) else {}


def _is_plain(name: str) -> bool:
    """Whether a name is that of something in the folder itself."""
    return bool(name) and "/" not in name and "\\" not in name and name not in (".", "..")
