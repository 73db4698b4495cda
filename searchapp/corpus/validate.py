"""The one place where a mapping of fields becomes a document, or is refused with a reason."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from searchapp.corpus.document import Document, Rejected
from searchapp.errors import CorpusError

if TYPE_CHECKING:
    import numpy as np

MAX_CHARACTERS = 1_000_000
ID_FIELDS = ("_id", "id")  # the first that is there and not null is the id
_MAX_DEPTH = 100
_ISO_2022 = re.compile(r"\x1b\$(?:[@AB]|[()*][A-Z@])")


@dataclass(frozen=True, slots=True)
class RawRecord:
    """What a reader found at one place: fields by name, not checked yet, and the vector that came with them."""

    fields: Mapping[str, Any]
    file: str
    line: int
    vector: np.ndarray | None = None


def validate(record_item: RawRecord) -> Document | Rejected:
    """Turn a raw record into a document, or into a rejection with the reason.

    The id is `_id`, or else `id`; an integer becomes a string. A missing or null title is the empty title. Every other
    field is metadata; the entries of a field `metadata` that is an object stand beside them (a field of the record wins
    over an entry of the same name). What comes with a vector needs no text. Raises nothing.
    """
    fields = record_item.fields
    if record_item.vector is not None and fields.get("text") is None:
        fields = {**fields, "text": ""}
    key = next((name for name in ID_FIELDS if fields.get(name) is not None), None)
    raw_id = fields[key] if key else None
    title = fields.get("title")
    title = "" if title is None else title
    metadata = _metadata(fields, key)
    id_fault = _id_fault(key, raw_id)
    needs_text = record_item.vector is None
    fault = id_fault or _text_fault(fields, title, needs_text) or _metadata_fault(metadata)
    if fault:
        known = None if id_fault else str(raw_id)
        return Rejected(file=record_item.file, line=record_item.line, reason=fault, id=known)
    place = (record_item.file, record_item.line)
    return Document(str(raw_id), fields["text"], title, metadata, place, record_item.vector)


def require_columns(columns: Iterable[str], file: str) -> None:
    """Check the column names of a table before its rows are read.

    Raises CorpusError where there is no `text` column, no id column, or a name stands twice.
    """
    names = list(columns)
    require_single([name for name in names if name], file)
    found = _shown(names)
    for wanted, accepted in (("text", ("text",)), ("id", ID_FIELDS)):
        if not any(name in names for name in accepted):
            expected = " or ".join(f"`{name}`" for name in accepted)
            raise CorpusError(
                f"{file}: no {wanted} column: found {found or 'no columns'}; expected {expected}; rename a column to it"
            )


def require_single(names: Sequence[str], file: str) -> None:
    """Raise CorpusError where a column's name stands twice."""
    if len(set(names)) == len(names):
        return
    doubled = min(name for name in names if names.count(name) > 1)
    raise CorpusError(f"{file}: the column `{doubled}` stands twice (found: {_shown(names)}); rename one of them")


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def known_columns(columns: Iterable[str]) -> list[str]:
    """The names of a table's columns, `id`, `_id`, `title` and `text` freed of capitals and outer blanks.

    Only where the name itself is not there and one column can be meant; every other name is kept as it is written.
    """
    names = list(columns)
    for wanted in (*ID_FIELDS, "title", "text"):
        meant = [place for place, name in enumerate(names) if name.strip().casefold() == wanted]
        if wanted not in names and len(meant) == 1 and not (wanted in ID_FIELDS and set(ID_FIELDS) & set(names)):
            names[meant[0]] = wanted
    return names


def _metadata(fields: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    rest = {name: value for name, value in fields.items() if name not in (key, "title", "text")}
    nested = rest.get("metadata")
    if isinstance(nested, Mapping):
        del rest["metadata"]
        return {**nested, **rest}
    return rest


def _id_fault(key: str | None, value: Any) -> str | None:
    if key is None:
        return "no `_id` or `id` field"
    if isinstance(value, bool) or not isinstance(value, str | int):
        return f"`{key}` is {_name(value)}, expected a string or an integer"
    if isinstance(value, int):
        return None
    if not value.strip():
        return f"`{key}` is empty"
    if value != value.strip(" "):
        # Runs, judgements and lists of ids cannot tell such blanks from their own: the id would not be met again.
        return f"`{key}` begins or ends with a blank: remove it"
    if value.startswith("\ufeff"):  # a list whose first line names the id would be read without it
        return f"`{key}` begins with a byte order mark: remove it"
    if not value.isprintable():
        for place, character in enumerate(value, start=1):
            # Zl and Zp are line ends too: an id with one would break every file that has an id a line.
            if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
                return f"`{key}` holds the control character U+{ord(character):04X} at character {place}"
    return None


def _text_fault(fields: Mapping[str, Any], title: Any, needs_text: bool = True) -> str | None:
    if "text" not in fields:
        return "no `text` field"
    text = fields["text"]
    for name, value in (("text", text), ("title", title)):
        if not isinstance(value, str):
            return f"`{name}` is {_name(value)}, expected a string"
    if needs_text and not text.strip() and not title.strip():
        return "empty text"
    length = len(text) + len(title)
    if length > MAX_CHARACTERS:
        return f"{length:,} characters in title and text, the limit is {MAX_CHARACTERS:,}: split the document"
    for name, value in (("text", text), ("title", title)):
        fault = _surrogate_fault(value)
        if "\0" in value:
            fault = f"a NUL character at character {value.index(chr(0)) + 1}"
        if "\x1b" in value and (legacy := _ISO_2022.search(value)):
            # Bytes of 7 bits, hence valid UTF-8, that stand for East Asian characters.
            fault = f"text encoded in ISO-2022 at character {legacy.start() + 1}, not UTF-8: convert it"
        if fault:
            return f"`{name}` holds {fault}"
    return None


def _metadata_fault(metadata: Mapping[str, Any]) -> str | None:
    for name, value in metadata.items():
        fault = _surrogate_fault(name)
        if fault:
            return f"the metadata name {name!r} holds {fault}"
        fault = _value_fault(value, 1)
        if fault:
            return f"metadata `{name}` holds {fault}"
    return None


def _value_fault(value: Any, depth: int) -> str | None:
    """Say why a value cannot be stored as JSON in UTF-8; None where it can."""
    if isinstance(value, str):
        return _surrogate_fault(value)
    if value is None or isinstance(value, bool | int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value}, which is not valid JSON"
    if depth >= _MAX_DEPTH:
        return f"values nested more than {_MAX_DEPTH} deep"
    parts: Iterable[Any]
    if isinstance(value, Mapping):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        parts = value
    else:
        return f"{_name(value)}, which is no JSON value"
    return next((fault for part in parts if (fault := _value_fault(part, depth + 1))), None)


def _surrogate_fault(value: str) -> str | None:
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"a lone surrogate at character {error.start + 1}: it cannot be stored as UTF-8"
    return None


def _name(value: Any) -> str:
    """Name a value's type in the words of JSON."""
    words = {
        type(None): "null",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return words.get(type(value), type(value).__name__)
