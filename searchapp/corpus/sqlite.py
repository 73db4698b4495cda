"""Tables of SQLite databases as records: ``sqlite:FILE?table=NAME&id=COLUMN&title=COLUMN&text=COLUMN,COLUMN``.

The database is opened for reading alone, one SELECT is made, and the database may do nothing but read for it: what a
view of somebody else's calls cannot write, attach or load.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from searchapp.corpus.document import Record, Rejected
from searchapp.corpus.reserved import kept
from searchapp.corpus.validate import ID_FIELDS, RawRecord, known_columns, validate
from searchapp.errors import CorpusError

PREFIX = "sqlite:"
EXAMPLE = "sqlite:FILE?table=NAME (and &id=COLUMN, &title=COLUMN, &text=COLUMN,COLUMN)"
_KNOWN = ("table", "id", "title", "text")
_ALLOWED = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE))
_DENIED = frozenset(("load_extension", "fts3_tokenizer", "writefile", "edit"))
_TAKEN = frozenset((*ID_FIELDS, "title", "text"))  # names that a record has of its own
_STEPS = 1_000_000  # instructions of the database's machine between two looks at how many went to one row
_MOST_LOOKS = 2_000


@dataclass(frozen=True, slots=True)
class SqliteTable:
    """A table of a database, and the columns that are id, title and text; "" and () where that is left to the rule."""

    path: Path
    table: str
    id: str = ""
    title: str = ""
    text: tuple[str, ...] = ()

    @classmethod
    def parse(cls, source: str) -> SqliteTable:
        """The table that a source names. Raises CorpusError where it names none, or says what is not known."""
        file, _, rest = source.removeprefix(PREFIX).partition("?")
        try:
            given = parse_qs(rest, keep_blank_values=True, strict_parsing=bool(rest))
        except ValueError:
            given = {"": [rest]}
        unknown = next((name for name in given if name not in _KNOWN or len(given[name]) > 1), None)
        if unknown is not None:
            raise CorpusError(f"{source}: {unknown or rest!r} is not understood; expected {EXAMPLE}")
        values = {name: found[0] for name, found in given.items()}
        if not file or not values.get("table"):
            raise CorpusError(f"{source}: names no {'table' if file else 'file'}; expected {EXAMPLE}")
        text = tuple(name for name in values.get("text", "").split(",") if name)
        return cls(Path(unquote(file)), values["table"], values.get("id", ""), values.get("title", ""), text)

    @property
    def label(self) -> str:
        """Its name where ids and the ledger need one."""
        return f"{self.path.name}:{self.table}".replace("#", "_").replace("/", "_")


def read_sqlite(source: SqliteTable, name: str) -> Iterator[Record]:
    """Yield one record a row, in the order of the table; ``line`` is the row, from 1. Nulls are left out.

    Without other word, the id is the column ``_id`` or ``id``, else the row's number in the database; the title is the
    column ``title``, the text the column ``text``, else all columns that hold text, one below the other. Other columns
    are metadata; bytes are left out where they are no text.

    Raises CorpusError where the file is no database, or has no such table or column.
    """
    if not source.path.is_file():
        raise CorpusError(f"{name}: no such file; check the path")
    line = 0
    try:
        with closing(_open(source.path)) as database:
            columns = _columns(database, source, name)
            kinds = _Kinds.of(source, columns, name)
            watch = _Watch()
            database.set_progress_handler(watch.look, _STEPS)
            database.set_authorizer(_authorize)
            total = max(1, database.execute(f"SELECT count(*) FROM {_quoted(source.table)}").fetchone()[0])  # noqa: S608
            numbered = "" if kinds.id else "rowid, "
            for row in database.execute(f"SELECT {numbered}* FROM {_quoted(source.table)}"):  # noqa: S608 - quoted
                line += 1
                watch.looks = 0
                yield Record(_record(row, columns, kinds, name, line), min(1.0, line / total))
    except sqlite3.Error as error:
        raise CorpusError(f"{name}: cannot be read as a table of SQLite ({error}); expected {EXAMPLE}") from error


class _Utf8(bytes):
    """Bytes that the database calls text."""


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA query_only = ON")
    database.text_factory = _Utf8  # a text that is none spoils its row alone
    return database


def _columns(database: sqlite3.Connection, source: SqliteTable, name: str) -> list[tuple[str, str]]:
    """The columns of the table, with their declared types in capitals."""
    found = database.execute(f"PRAGMA table_info({_quoted(source.table)})").fetchall()
    if not found:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
        names = ", ".join(row[0].decode("utf-8", "replace") for row in tables.fetchmany(20)) or "none"
        raise CorpusError(f"{name}: no table {source.table!r}; expected one of its tables: {names}")
    return [(row[1].decode("utf-8", "replace"), (row[2] or b"").decode("utf-8", "replace").upper()) for row in found]


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Which columns are id, title and text; the id is "" where rows are numbered."""

    id: str
    title: str
    text: tuple[str, ...]

    @classmethod
    def of(cls, source: SqliteTable, columns: list[tuple[str, str]], name: str) -> _Kinds:
        names = [column for column, _ in columns]
        known = dict(zip(known_columns(names), names, strict=True))
        for wanted in (source.id, source.title, *source.text):
            if wanted and wanted not in names:
                raise CorpusError(f"{name}: no column {wanted!r}; expected one of {', '.join(names[:30])}")
        id = source.id or next((known[field] for field in ID_FIELDS if field in known), "")
        title = source.title or known.get("title", "")
        text = source.text or ((known["text"],) if "text" in known else ())
        if not text:
            text = tuple(
                column
                for column, kind in columns
                if column not in (id, title) and (not kind or any(part in kind for part in ("CHAR", "TEXT", "CLOB")))
            )
        if not text:
            raise CorpusError(f"{name}: no column holds text; name one by &text=COLUMN ({', '.join(names[:30])})")
        return cls(id, title, text)


class _Watch:
    """Ends a query that goes on and on without giving a row, as a view that never ends does."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> int:
        self.looks += 1
        return int(self.looks > _MOST_LOOKS)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, cause: str | None) -> int:
    """Let a query read and compute, nothing else."""
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _DENIED):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _record(row: tuple[Any, ...], columns: list[tuple[str, str]], kinds: _Kinds, name: str, line: int) -> Any:
    values = dict(zip([column for column, _ in columns], row if kinds.id else row[1:], strict=True))
    used = {kinds.id, kinds.title, *kinds.text}
    try:
        own = {column: _value(value) for column, value in values.items() if column not in used}
        fields = kept(own, _TAKEN)  # what other columns take the names of
        texts = [_text(values[column]) for column in kinds.text]
        fields["title"] = _text(values[kinds.title]) if kinds.title else ""
        found = _value(values[kinds.id]) if kinds.id else row[0]
    except UnicodeDecodeError as error:
        return Rejected(file=name, line=line, reason=f"invalid UTF-8: {error.reason} at byte {error.start + 1}")
    fields = {column: value for column, value in fields.items() if value is not None}
    return validate(RawRecord({**fields, "id": found, "text": "\n\n".join(filter(None, texts))}, name, line))


def _value(value: Any) -> Any:
    """A cell as a JSON value; None of a null, of a number that is none, of bytes that are no text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, bytes):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        if isinstance(value, _Utf8):
            raise
        return None
    return text if "\0" not in text else None


def _text(value: Any) -> str:
    found = _value(value)
    return "" if found is None else str(found).strip()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
