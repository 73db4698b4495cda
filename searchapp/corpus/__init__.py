"""The corpus room: sources of many kinds in, validated documents out, one at a time."""

from __future__ import annotations

from searchapp.corpus.document import Document, Record, Rejected, passage_of
from searchapp.corpus.source import Source, open_source
from searchapp.corpus.validate import MAX_CHARACTERS

__all__ = ["MAX_CHARACTERS", "Document", "Record", "Rejected", "Source", "open_source", "passage_of"]
