"""The index directory: durable segments, reduction, FAISS, filters, verification."""

from __future__ import annotations

from searchapp.index.analyser import Analyser
from searchapp.index.build import Progress, Summary, build
from searchapp.index.filter import Filter
from searchapp.index.index import VectorIndex
from searchapp.index.store import Store
from searchapp.index.verify import verify

__all__ = ["Analyser", "Filter", "Progress", "Store", "Summary", "VectorIndex", "build", "verify"]
