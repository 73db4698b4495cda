"""A sample of the vectors of all chunks, for training: those whose ids have the smallest hashes.

Such samples merge by taking the smallest again. They do not depend on the order of work, nor on what was done twice. A
chunk keeps its share and as many again; where it has more than it keeps, no hash beyond its last is compared, so that
the sample stays uniform whatever the shares were.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.queries import PROBES, fragment
from searchapp.index.storage.hashes import ID
from searchapp.index.storage.snapshot import Snapshot

SPARE = 2  # times its share that a chunk keeps,
MORE = 8  # and so many more
ALL = (1 << 64) - 1


@dataclass(frozen=True, eq=False)
class Sample:
    """Vectors of documents, ascending by the hash of their id: fp16 (n, dim), with the hashes, uint64 (n,).

    ``queries`` are words of the first of them, to measure an index by. ``end`` and ``asked`` are the last hashes up to
    which nothing was left out, of the vectors and of the queries.
    """

    hashes: np.ndarray
    vectors: np.ndarray
    queries: tuple[str, ...]
    end: int = ALL
    asked: int = ALL

    def to_bytes(self) -> bytes:
        """The bytes of a file."""
        buffer = io.BytesIO()
        words = np.frombuffer(json.dumps(self.queries).encode(), dtype=np.uint8)
        ends = np.array([self.end, self.asked], dtype=np.uint64)
        np.savez(buffer, hashes=self.hashes, vectors=self.vectors, words=words, ends=ends)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Sample:
        """What ``to_bytes`` made. Raises IndexStoreError, which calls it ``name``, for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as parts:
                ends = [int(end) for end in parts["ends"]]
                return cls(parts["hashes"], parts["vectors"], tuple(json.loads(parts["words"].tobytes())), *ends)
        except Exception as error:  # numpy's reader raises anything on damaged bytes
            raise IndexStoreError(f"{name} is no readable sample ({type(error).__name__}); build it again") from error


def sample_of(snapshot: Snapshot, share: float, rows: int) -> Sample:
    """The sample of a chunk or shard that is expected to have this share (0 to 1) of ``rows`` vectors in all.

    Deleted documents are left out.
    """
    hashes, there = snapshot.hashes()[ID], np.flatnonzero(~snapshot.deleted)
    order = there[np.argsort(hashes[there], kind="stable")]
    kept = order[: round(SPARE * rows * share) + MORE]
    asked = kept[: round(SPARE * PROBES * share) + MORE]
    documents = snapshot.documents
    queries = tuple(
        fragment(document.text or document.title or " ", np.random.default_rng(int(hashes[row])))
        for row in asked.tolist()
        for document in [documents.read(row)]
    )
    ends = [ALL if len(part) == len(order) else int(hashes[part[-1]]) for part in (kept, asked)]
    return Sample(hashes[kept], snapshot.vectors.stored(kept), queries, *ends)


def merged(samples: Iterable[Sample], rows: int, dim: int) -> Sample:
    """The sample of all chunks, given in plan order: ``rows`` vectors at most. Of equal ids the first counts.

    Memory holds twice as many at most.
    """
    whole = Sample(np.zeros(0, dtype=np.uint64), np.zeros((0, dim), dtype="<f2"), ())
    waiting, held = [whole], 0
    for one in samples:
        waiting.append(one)
        held += len(one.hashes)
        if held > rows:
            waiting, held = [_joined(waiting, rows)], 0
    return _joined(waiting, rows)


def _joined(samples: Sequence[Sample], rows: int) -> Sample:
    end, asked = (min(getattr(one, name) for one in samples) for name in ("end", "asked"))
    hashes = np.concatenate([one.hashes for one in samples])
    _, first = np.unique(hashes, return_index=True)
    kept = first[hashes[first] <= np.uint64(end)][:rows]
    words = dict[int, str]()
    for one in samples:
        for value, query in zip(one.hashes.tolist(), one.queries, strict=False):
            if value <= asked:
                words.setdefault(value, query)
    queries = tuple(words[value] for value in sorted(words)[:PROBES])
    vectors = np.concatenate([one.vectors for one in samples])[kept]
    return Sample(hashes[kept], vectors, queries, end, asked)
