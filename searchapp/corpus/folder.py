"""A folder of text, Markdown and reStructuredText files, or one such file, as passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.front_matter import FrontMatter, front_matter
from searchapp.corpus.headings import MARKERS, Mark, mark_plain
from searchapp.corpus.lines import Lines
from searchapp.corpus.passages import Passage, passages
from searchapp.corpus.validate import RawRecord, validate
from searchapp.corpus.walk import walk
from searchapp.errors import CorpusError


def text_files(folder: Path, *, passing_over: bool = False) -> Iterator[Path]:
    """Yield the text files below a folder in the order of ``walk``, whatever their names.

    Raises CorpusError where a folder below cannot be read: leaving it out in silence would lose documents. With
    ``passing_over`` it is left out.
    """
    for found in walk(folder):
        if found.relative.endswith("/"):
            if not passing_over:
                raise CorpusError(f"{found.path}: {found.reason}; allow reading or move it")
        elif found.path.suffix.lower() in MARKERS and found.path.is_file():
            yield found.path


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
        raise CorpusError(no_text_files(name))


def no_text_files(name: str, endings: Iterable[str] = MARKERS) -> str:
    """What is said of a folder without a text file; ``endings`` are those that are looked for."""
    return f"{name}: no text file in this folder; expected {', '.join(endings)}, or give its other files by name"


def read_text(path: Path, name: str) -> Iterator[Record]:
    """Yield the passages of one text file; ids begin with the file's own name.

    Raises OSError where the file cannot be opened: in a folder it would be one rejection among others.
    """
    with path.open("rb"):
        pass
    yield from _read_file(path, name, path.name)


def _read_file(path: Path, file: str, relative: str) -> Iterator[Record]:
    """Yield a file's passages, or one rejection of the whole file."""
    fault = file_fault(path, file, relative)
    if fault:
        yield Record(fault, 1.0)
        return
    about = front_matter_of(path, file)
    if about.lines and about.fields is not None and not has_body(path, file, about.lines):
        about = FrontMatter(0)  # a file of nothing else is a document: its front matter is its text
    lines = Lines(path, file, returns=True)
    found = passages(_marks(path, decoded(lines, file), about))
    first = next(found, None)
    if first is None:
        yield Record(Rejected(file=file, line=1, reason="empty text"), 1.0)
        return
    second = next(found, None)
    if second is None:
        yield Record(_document(first, relative, file, relative, about), lines.progress)
        return
    line, count = 0, 0
    for passage in chain((first, second), found):
        count = count + 1 if passage.line == line else 1
        line = passage.line
        # Several passages can begin on one long line: from the second on they are numbered.
        place = f"L{line}" if count == 1 else f"L{line}.{count}"
        yield Record(_document(passage, f"{relative}#{place}", file, relative, about), lines.progress)


def front_matter_of(path: Path, file: str) -> FrontMatter:
    """The front matter of a Markdown file; one of no lines where there is none."""
    if path.suffix.lower() != ".md":
        return FrontMatter(0)
    return front_matter(text for _, text in decoded(Lines(path, file, returns=True), file)) or FrontMatter(0)


def has_body(path: Path, file: str, skipped: int) -> bool:
    """Whether a file has text below its first ``skipped`` lines."""
    lines = Lines(path, file, returns=True)
    return any(text.strip() for number, text in decoded(lines, file) if number > skipped)


def _marks(path: Path, lines: Iterator[tuple[int, str]], about: FrontMatter) -> Iterator[Mark]:
    """Mark a file's lines. Front matter that was understood is passed over; other is text, and has no headings."""
    mark = MARKERS[path.suffix.lower()]
    if not about.lines:
        return mark(lines)
    if about.fields is not None:
        above = islice(lines, about.before)
        front = islice(lines, about.lines - about.before)
        return mark(chain(above, ((number, "") for number, _ in front), lines))
    held = list(islice(lines, about.lines))
    below = mark(chain(((number, "") for number, _ in held), lines))
    return chain(mark_plain(held), below)


def decoded(lines: Lines, file: str) -> Iterator[tuple[int, str]]:
    """Yield numbers and texts of lines. Raises CorpusError where the file has changed since it was found readable."""
    for line in lines:
        try:
            yield line.number, line.text()
        except ValueError as error:
            raise CorpusError(
                f"{file}: changed while it was read ({error}); read it again when it is at rest"
            ) from error


def _document(passage: Passage, id: str, file: str, relative: str, about: FrontMatter) -> Document | Rejected:
    fields = {
        **about.metadata,
        "id": id,
        "text": passage.text,
        "title": _title(about.title, passage.headings) or relative.rpartition("/")[2],
        "file": relative,
        "line": passage.line,
        "end_line": passage.end_line,
    }
    return validate(RawRecord(fields, file, passage.line))


def _title(title: str, headings: str) -> str:
    """The title of the file, then the headings; once where the first heading repeats it."""
    if not title or headings.partition(" > ")[0].casefold() == title.casefold():
        return headings or title
    return f"{title} > {headings}" if headings else title


def file_fault(path: Path, file: str, relative: str) -> Rejected | None:
    """Read a file once to see whether it can be taken as a whole: no half of a file gets into an index."""
    try:
        relative.encode()
    except UnicodeEncodeError:
        shown = file.encode(errors="backslashreplace").decode()
        return Rejected(file=shown, line=1, reason="the file's name is not valid UTF-8: rename it")
    lines = Lines(path, file, returns=True)
    try:
        for line in lines:
            line.text()
    except ValueError as error:
        return Rejected(file=file, line=lines.number, reason=str(error))
    except CorpusError as error:
        return Rejected(file=file, line=max(1, lines.number), reason=str(error).removeprefix(f"{file}: "))
    return None
