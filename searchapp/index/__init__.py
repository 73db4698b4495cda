"""The index directory: durable segments, reduction, FAISS, filters, verification.

All names are imported when first touched, so that a search imports nothing of what builds and repairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from searchapp.lazy_names import importer

if TYPE_CHECKING:
    from searchapp.index.added import Added, AddSettings
    from searchapp.index.addition import add
    from searchapp.index.building import BuildSettings, BuildSummary, build
    from searchapp.index.compaction import Compacted, compact
    from searchapp.index.deletion import Deleted, delete
    from searchapp.index.encoder_match import recorded_encoder
    from searchapp.index.filter import Filter
    from searchapp.index.lexical.analyzer import Analyzer
    from searchapp.index.reader import VectorIndex
    from searchapp.index.reembedding import Reembedded, ReembedSettings, reembed
    from searchapp.index.reindexing import reindex
    from searchapp.index.repairs import Repaired, repair
    from searchapp.index.storage.snapshot import Snapshot
    from searchapp.index.storage.writer import Writer
    from searchapp.index.verification import Report, examine, verify

__all__ = [
    "AddSettings",
    "Added",
    "Analyzer",
    "BuildSettings",
    "Compacted",
    "Deleted",
    "Filter",
    "Reembedded",
    "ReembedSettings",
    "Repaired",
    "Report",
    "Snapshot",
    "BuildSummary",
    "VectorIndex",
    "Writer",
    "add",
    "build",
    "compact",
    "delete",
    "examine",
    "recorded_encoder",
    "reembed",
    "reindex",
    "repair",
    "verify",
]
__getattr__ = importer(
    __name__,
    {
        "added": ("AddSettings", "Added"),
        "addition": ("add",),
        "building": ("BuildSettings", "BuildSummary", "build"),
        "compaction": ("Compacted", "compact"),
        "deletion": ("Deleted", "delete"),
        "encoder_match": ("recorded_encoder",),
        "filter": ("Filter",),
        "lexical.analyzer": ("Analyzer",),
        "reader": ("VectorIndex",),
        "reembedding": ("ReembedSettings", "Reembedded", "reembed"),
        "reindexing": ("reindex",),
        "repairs": ("Repaired", "repair"),
        "storage.snapshot": ("Snapshot",),
        "storage.writer": ("Writer",),
        "verification": ("Report", "examine", "verify"),
    },
)
