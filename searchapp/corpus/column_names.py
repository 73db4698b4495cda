"""Which columns of a table are id, title and text, as a user says: ``id=key,title=name,text=question+context``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from searchapp.corpus.reserved import kept
from searchapp.corpus.validate import ID_FIELDS, known_columns, require_columns
from searchapp.errors import CorpusError

EXAMPLE = "--columns id=key,title=name,text=question+context"
_JOINER = "\n\n"  # between the columns of a text


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The columns that are id, title and text; of text several, one below the other. "" and (): as they are called."""

    id: str = ""
    title: str = ""
    text: tuple[str, ...] = ()

    @classmethod
    def parse(cls, given: str) -> ColumnNames:
        """What a user says; "" says nothing. Raises CorpusError for what is not understood."""
        found: dict[str, str] = {}
        for part in given.split(",") if given else ():
            name, mark, column = part.partition("=")
            if name not in ("id", "title", "text") or not mark or not column or name in found:
                raise CorpusError(f"--columns {given!r} is not understood at {part!r}; expected e.g. {EXAMPLE}")
            found[name] = column
        return cls(found.get("id", ""), found.get("title", ""), tuple(filter(None, found.get("text", "").split("+"))))

    @staticmethod
    def reader(kind: str, given: str) -> str:
        """What the records of a table depend on beside the file: its reader, and which columns are what."""
        return f"{kind} 2 {given}" if given else f"{kind} 1"

    def names(self, columns: Sequence[str], file: str, *, needs_id: bool = True) -> list[str]:
        """The names of a table's columns, as ``fields`` expects them.

        Raises CorpusError where a column that was named is not there, or none is the text (or the id).
        """
        asked = [name for name in (self.id, self.title, *self.text) if name]
        shown = ", ".join(list(columns)[:20]) or "none"
        if (unknown := next((name for name in asked if name not in columns), None)) is not None:
            raise CorpusError(f"{file}: no column {unknown!r}, which --columns names; its columns are {shown}")
        own = [name for name in columns if name in asked]
        rest = iter(known_columns([name for name in columns if name not in asked]))
        names = [name if name in own else next(rest) for name in columns]
        meant = [*names, *(["text"] * bool(self.text and "text" not in names))]
        meant += ["id"] * bool((self.id or not needs_id) and not set(ID_FIELDS) & set(names))
        try:
            require_columns(meant, file)
        except CorpusError as error:
            raise CorpusError(f"{error}, or say which it is: {EXAMPLE}") from None
        return names

    def fields(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of a row under the names that a record has; what another column takes the name of is kept."""
        if self == ColumnNames():
            return found
        used = {self.id, self.title, *self.text}
        taken = {name for name, given in (("text", self.text), ("title", self.title)) if given}
        taken |= set(ID_FIELDS) if self.id else set()
        fields = kept({name: value for name, value in found.items() if name not in used}, frozenset(taken))
        if self.text:
            parts = [_text(found[name]) for name in self.text if found.get(name) is not None]
            whole = all(isinstance(part, str) for part in parts)
            fields["text"] = _JOINER.join(parts) if whole else next(part for part in parts if not isinstance(part, str))
        if self.title and self.title in found:
            fields["title"] = found[self.title]
        if self.id and self.id in found:
            fields["id"] = found[self.id]
        return fields


def _text(value: Any) -> Any:
    """A list of texts as one; anything else as it is, for the record to be refused."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    return value
