"""Vectors kept between runs: what was encoded once by the same encoder is read instead of computed.

One SQLite file, in write-ahead mode: a process that is killed loses at most its last window, and two processes may use
it at once. A key is a hash of the encoder (fingerprint, backend, precision), the instruction and the text; a vector is
float32, as pooled. Bounded: when the file outgrows its limit, what was written first goes.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from searchapp.errors import SearchAppError, reason_of

LIMIT = 8 << 30  # bytes
FILE = "vectors.sqlite"
WAIT = 60.0  # seconds for the other process's transaction, which takes milliseconds
ASKED = 500  # keys in one query
SPARE = 0.9  # share of the limit that stays in use after old vectors were dropped
TABLE = (
    "CREATE TABLE IF NOT EXISTS vectors (number INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, vector BLOB NOT NULL)"
)


class VectorCache:
    """Vectors by key in the directory ``folder``, which is made if it is not there; at most ``limit`` bytes."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.path = folder / FILE
        self.limit = limit
        self._lock = threading.Lock()  # a window is looked up while the one before it is written
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SearchAppError(
                f"--cache {folder} cannot be made ({reason_of(error)}); give a directory you can write to"
            ) from error
        with self._reporting():
            self._base = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.execute(TABLE)

    @staticmethod
    def key(scope: str, text: str, instruction: str | None) -> bytes:
        """The key of a text behind an instruction for the encoder that ``scope`` names."""
        digest = hashlib.sha256()
        for part in (scope, instruction or "", text):
            content = part.encode()
            digest.update(len(content).to_bytes(8, "little") + content)  # so that no two triples run together
        return digest.digest()

    def read(self, keys: Sequence[bytes]) -> dict[int, np.ndarray]:
        """Vectors float32 (dim,) of the keys that are there, by their place in ``keys``."""
        places = {key: place for place, key in enumerate(keys)}
        found: dict[int, np.ndarray] = {}
        with self._lock, self._reporting():
            for begin in range(0, len(keys), ASKED):
                part = keys[begin : begin + ASKED]
                marks = ",".join("?" * len(part))
                rows = self._base.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part)  # noqa: S608
                found.update((places[key], np.frombuffer(vector, dtype="<f4")) for key, vector in rows)
        return found

    def write(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keep float32 (len(keys), dim); all of them or, if the process dies, none."""
        if not keys:
            return
        rows = ((key, vector.astype("<f4").tobytes()) for key, vector in zip(keys, vectors, strict=True))
        with self._lock, self._reporting():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                self._base.executemany("INSERT OR IGNORE INTO vectors (key, vector) VALUES (?, ?)", rows)
                self._shrink()
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def _shrink(self) -> None:
        """Drop the oldest vectors when the pages in use exceed the limit; SQLite fills their pages again."""
        pages, free, size = (
            self._base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if (used := (pages - free) * size) <= self.limit:
            return
        count = self._base.execute("SELECT count(*) FROM vectors").fetchone()[0]
        drop = int(np.ceil(count * (1 - SPARE * self.limit / used)))
        self._base.execute(
            "DELETE FROM vectors WHERE number IN (SELECT number FROM vectors ORDER BY number LIMIT ?)", (drop,)
        )

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise SearchAppError(
                f"the cache {self.path} cannot be used ({error}); delete it, or leave out --cache: it only saves time"
            ) from error
