"""A folder of text, Markdown and reStructuredText files, or one such file, as passages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.headings import MARKERS
from searchapp.corpus.lines import Lines
from searchapp.corpus.passages import Passage, passages
from searchapp.corpus.validate import RawRecord, validate
from searchapp.errors import CorpusError


def text_files(folder: Path) -> Iterator[Path]:
    """Walk a folder in the order of sorted paths and yield its text files.

    Hidden files and folders are passed over, and links to folders are not followed (they can run in circles).

    Raises CorpusError where a folder below cannot be read: leaving it out in silence would lose documents.
    """
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path == folder or (path.is_dir() and not path.is_symlink()):
            try:
                below = [child for child in path.iterdir() if not child.name.startswith(".")]
            except OSError as error:
                raise CorpusError(
                    f"{path}: folder cannot be read: {error.strerror}; allow reading or move it"
                ) from error
            waiting.extend(sorted(below, key=lambda child: child.name, reverse=True))
        elif path.suffix.lower() in MARKERS and path.is_file():
            yield path


def read_folder(folder: Path, name: str) -> Iterator[Record]:
    """Yield the passages of every text file below a folder; ids and `file` are relative to the folder.

    Raises CorpusError where no text file is there, or a folder below cannot be read.
    """
    total = sum(path.stat().st_size for path in text_files(folder))
    before = 0
    count = 0
    for path in text_files(folder):
        count += 1
        relative = path.relative_to(folder).as_posix()
        size = path.stat().st_size
        for record in _read_file(path, str(Path(name) / relative), relative):
            done = (before + record.progress * size) / total if total else 1.0
            yield Record(record.item, done)
        before += size
    if not count:
        endings = ", ".join(MARKERS)
        raise CorpusError(f"{name}: no text file in this folder; expected {endings}, or give its other files by name")


def read_text(path: Path, name: str) -> Iterator[Record]:
    """Yield the passages of one text file; ids begin with the file's own name.

    Raises OSError where the file cannot be opened: in a folder it would be one rejection among others.
    """
    with path.open("rb"):
        pass
    yield from _read_file(path, name, path.name)


def _read_file(path: Path, file: str, relative: str) -> Iterator[Record]:
    """Yield a file's passages, or one rejection of the whole file."""
    fault = _file_fault(path, file, relative)
    if fault:
        yield Record(fault, 1.0)
        return
    lines = Lines(path, file)
    marks = MARKERS[path.suffix.lower()](_decoded(lines, file))
    found = passages(marks)
    first = next(found, None)
    if first is None:
        yield Record(Rejected(file=file, line=1, reason="empty text"), 1.0)
        return
    second = next(found, None)
    if second is None:
        yield Record(_document(first, relative, file, relative), lines.progress)
        return
    line, count = 0, 0
    for passage in chain((first, second), found):
        count = count + 1 if passage.line == line else 1
        line = passage.line
        # Several passages can begin on one long line: from the second on they are numbered.
        place = f"L{line}" if count == 1 else f"L{line}.{count}"
        yield Record(_document(passage, f"{relative}#{place}", file, relative), lines.progress)


def _decoded(lines: Lines, file: str) -> Iterator[tuple[int, str]]:
    for line in lines:
        try:
            yield line.number, line.text()
        except ValueError as error:
            raise CorpusError(
                f"{file}: changed while it was read ({error}); read it again when it is at rest"
            ) from error


def _document(passage: Passage, id: str, file: str, relative: str) -> Document | Rejected:
    fields = {
        "id": id,
        "text": passage.text,
        "title": passage.headings or relative.rpartition("/")[2],
        "file": relative,
        "line": passage.line,
        "end_line": passage.end_line,
    }
    return validate(RawRecord(fields, file, passage.line))


def _file_fault(path: Path, file: str, relative: str) -> Rejected | None:
    """Read a file once to see whether it can be taken as a whole: no half of a file gets into an index."""
    try:
        relative.encode()
    except UnicodeEncodeError:
        shown = file.encode(errors="backslashreplace").decode()
        return Rejected(file=shown, line=1, reason="the file's name is not valid UTF-8: rename it")
    lines = Lines(path, file)
    try:
        for line in lines:
            line.text()
    except ValueError as error:
        return Rejected(file=file, line=lines.number, reason=str(error))
    except CorpusError as error:
        return Rejected(file=file, line=max(1, lines.number), reason=str(error).removeprefix(f"{file}: "))
    return None
