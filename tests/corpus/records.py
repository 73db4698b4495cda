"""Read a source to its end and sort what came out."""

from __future__ import annotations

from pathlib import Path

from searchapp.corpus import Document, Rejected, open_source


def read(path: Path | str) -> tuple[list[Document], list[Rejected]]:
    """Documents and rejections of a source, each in order; progress is checked on the way."""
    documents: list[Document] = []
    rejections: list[Rejected] = []
    reached = 0.0
    count = 0
    for record in open_source(str(path)).records():
        assert reached <= record.progress <= 1.0
        reached = record.progress
        count += 1
        if isinstance(record.item, Document):
            documents.append(record.item)
        else:
            rejections.append(record.item)
    assert reached == (1.0 if count else 0.0)
    return documents, rejections
