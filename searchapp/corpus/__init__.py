"""The corpus room: sources of many kinds in, validated documents out, one at a time.

All names are imported when first touched: what only shows a document needs no reader of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from searchapp.lazy_names import importer

if TYPE_CHECKING:
    from searchapp.corpus.document import Document, Record, Rejected, passage_of
    from searchapp.corpus.source import Source, open_source
    from searchapp.corpus.validate import MAX_CHARACTERS

__all__ = ["MAX_CHARACTERS", "Document", "Record", "Rejected", "Source", "open_source", "passage_of"]
__getattr__ = importer(
    __name__,
    {
        "document": ("Document", "Record", "Rejected", "passage_of"),
        "source": ("Source", "open_source"),
        "validate": ("MAX_CHARACTERS",),
    },
)
