"""Whether stored vectors may be copied: a copy would give damage a checksum that holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from searchapp.index.storage.snapshot import Snapshot


class SoundVectors:
    """Says of a row whether the file of its vector is as it was written; each file is looked at once, when asked of."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._bases = np.array([segment.base for segment in snapshot.manifest.segments], dtype=np.int64)
        self._damage: dict[int, str | None] = {}  # by segment

    def has(self, row: int) -> bool:
        """Whether the vector of a row is sound."""
        number = int(np.searchsorted(self._bases, row, side="right")) - 1
        if number not in self._damage:
            name = self._snapshot.manifest.segments[number].vectors_file
            self._damage[number] = self._snapshot.check([name]).get(name)
        return self._damage[number] is None

    def notices(self, root: Path) -> tuple[str, ...]:
        """What was found wrong; texts whose vectors were to be copied from there were encoded again."""
        return tuple(
            f"{problem}; no vector was copied from it, the others in it are mended by "
            f"`searchapp verify {root} --repair`"
            for problem in self._damage.values()
            if problem is not None
        )
