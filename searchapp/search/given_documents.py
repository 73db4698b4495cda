"""What a caller gave as documents: paths of sources, or documents in memory as a source."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from searchapp.corpus.document import Document
from searchapp.corpus.memory import FieldNames, is_documents, memory_source
from searchapp.corpus.source import Source
from searchapp.errors import IndexStoreError
from searchapp.index.storage.writer import REJECTED

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Given:
    """What was given as documents: sources, and the first record of what is in memory."""

    sources: tuple[str | Source, ...]
    first: Document | None = None

    @classmethod
    def of(cls, documents: Any, vectors: Any, names: FieldNames, label: str | None) -> Given:
        """Find out what was given. Raises CorpusError for what is no documents.

        Raises IndexStoreError for vectors beside paths.
        """
        if not is_documents(documents):
            paths = [documents] if isinstance(documents, str | Path) else list(documents)
            if vectors is not None:
                raise IndexStoreError(
                    f"vectors were given beside the path {paths[0]}; give the documents themselves, as a DataFrame or "
                    "a list, in the order of the vectors"
                )
            return cls(tuple(str(path) for path in paths))
        peeked = None
        if isinstance(documents, Iterator) or hasattr(documents, "read_next_batch"):
            documents = iter(documents)
            first = list(islice(documents, 1))  # what comes once is looked at, and put back
            peeked = memory_source(first, vectors=vectors if isinstance(vectors, str) else None, names=names)
            documents = chain(first, documents)
        source = memory_source(documents, vectors=vectors, names=names, label=label)
        record = next(iter((peeked or source).records()), None)
        return cls((source,), record.item if record is not None and isinstance(record.item, Document) else None)


def say_rejected(count: int, reasons: Mapping[str, int], path: Path) -> None:
    """Warn of records that became no document."""
    if count:
        why = ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items(), key=lambda one: -one[1]))
        log.warning("%d records were rejected (%s); see %s", count, why, path / REJECTED)
