"""Scores that were given before, on disk: the same model, query and document are never scored twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from searchapp.progress import Progress
from searchapp.rerank.reranker import Reranker
from searchapp.user_cache import cache_folder

MOST = 2_000_000  # scores, of about 60 bytes each; the oldest go first
STEP = 10_000  # scores read or written in one transaction


def cache_path() -> Path:
    """Where scores are kept, in the user's cache folder."""
    return cache_folder() / "reranked.sqlite"


class Cached:
    """A reranker that remembers. Scores of a listwise one are kept for the list, as each depends on all of it.

    Where the cache cannot be read or written, scores are computed again.
    """

    def __init__(self, reranker: Reranker, path: Path | None = None, most: int = MOST) -> None:
        self.name, self.kind, self.fingerprint = reranker.name, reranker.kind, reranker.fingerprint
        self._reranker = reranker
        self._path = path or cache_path()
        self._most = most
        self._broken = False

    def score(
        self, queries: Sequence[str], documents: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """See ``Reranker``; only what is not known is passed on."""
        keys = [self._keys(query, texts) for query, texts in zip(queries, documents, strict=True)]
        known = self._read([key for line in keys for key in line])
        missing = [[place for place, key in enumerate(line) if key not in known] for line in keys]
        if self.kind == "listwise":
            missing = [list(range(len(line))) if gaps else [] for line, gaps in zip(keys, missing, strict=True)]
        asked = [number for number, gaps in enumerate(missing) if gaps]
        if progress is not None:
            progress.advance(sum(len(line) for line in keys) - sum(len(gaps) for gaps in missing))
        if asked:
            given = self._reranker.score(
                [queries[number] for number in asked],
                [[documents[number][place] for place in missing[number]] for number in asked],
                progress=progress,
            )
            new = {
                keys[number][place]: float(score)
                for number, scores in zip(asked, given, strict=True)
                for place, score in zip(missing[number], scores, strict=True)
            }
            known.update(new)
            self._write(new)
        return [np.array([known[key] for key in line], dtype=np.float32) for line in keys]

    def _keys(self, query: str, texts: Sequence[str]) -> list[bytes]:
        begin = hashlib.blake2b(digest_size=16)
        whole = (str(place) for place in range(len(texts))) if self.kind == "listwise" else iter(texts)
        for part in [self.fingerprint, query, *(texts if self.kind == "listwise" else ())]:
            _feed(begin, part)
        keys = []
        for part in whole:
            one = begin.copy()
            _feed(one, part)
            keys.append(one.digest())
        return keys

    def _read(self, keys: list[bytes]) -> dict[bytes, float]:
        known: dict[bytes, float] = {}
        try:
            if self._path.exists():
                with closing(self._open()) as store, store:
                    for begin in range(0, len(keys), STEP):
                        part = keys[begin : begin + STEP]
                        for key in part:
                            row = store.execute("SELECT score FROM scores WHERE key = ?", (key,)).fetchone()
                            if row is not None:
                                known[key] = row[0]
        except (sqlite3.Error, OSError):
            self._broken = True
        return known

    def _write(self, new: dict[bytes, float]) -> None:
        if self._broken:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as store, store:
                store.executemany("INSERT OR REPLACE INTO scores (key, score) VALUES (?, ?)", new.items())
                (count,) = store.execute("SELECT COUNT(*) FROM scores").fetchone()
                if count > self._most:
                    store.execute(
                        "DELETE FROM scores WHERE rowid IN (SELECT rowid FROM scores ORDER BY rowid LIMIT ?)",
                        (count - self._most * 9 // 10,),
                    )
        except (sqlite3.Error, OSError):
            self._broken = True

    def _open(self) -> sqlite3.Connection:
        store = sqlite3.connect(self._path, timeout=10)
        store.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score REAL NOT NULL)")
        return store


def _feed(digest: hashlib.blake2b, part: str) -> None:
    data = part.encode("utf-8", "surrogatepass")
    digest.update(len(data).to_bytes(8, "little") + data)
