"""The passages of a file around one of them."""

from __future__ import annotations

import numpy as np

from searchapp.corpus.document import Document
from searchapp.index import Filter, VectorIndex

LOOKED_AT = 2_000  # passages of a file that are looked at for those next to one


def neighbours(index: VectorIndex, row: int, document: Document, count: int) -> list[Document]:
    """The document in ``row`` with at most ``count`` passages of its file before and behind it, in the file's order."""
    file = document.metadata.get("file")
    if not isinstance(file, str) or not any(isinstance(document.metadata.get(key), int) for key in ("line", "start")):
        return [document]
    rows = index.passing(Filter(f"file == {file!r}")).rows
    at = int(np.searchsorted(rows, row))
    rows = rows[max(0, at - LOOKED_AT // 2) : at + LOOKED_AT // 2]
    source = document.metadata.get("source")
    beside = [index.rows.read(int(one)) for one in rows.tolist() if one != row]
    beside = [one for one in beside if one.metadata.get("source") == source]
    ordered = sorted([document, *beside], key=_standing)
    place = next(number for number, one in enumerate(ordered) if one.id == document.id)
    return ordered[max(0, place - count) : place + count + 1]


def _standing(document: Document) -> tuple[int, int]:
    found = (document.metadata.get("line"), document.metadata.get("start"))
    line, start = (value if isinstance(value, int) else 0 for value in found)
    return line, start
