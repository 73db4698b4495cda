"""The index directory: durable segments, reduction, FAISS, filters, verification."""

from __future__ import annotations

from searchapp.index.add import Added, AddSettings, add
from searchapp.index.build import BuildSettings, BuildSummary, build
from searchapp.index.compact import Compacted, compact
from searchapp.index.delete import Deleted, delete
from searchapp.index.encoder_match import recorded_encoder
from searchapp.index.filter import Filter
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.reader import VectorIndex
from searchapp.index.reembed import Reembedded, ReembedSettings, reembed
from searchapp.index.reindex import reindex
from searchapp.index.repair import Repaired, repair
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.index.verify import Report, examine, verify

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
