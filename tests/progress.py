"""A progress that counts, for tests."""

from __future__ import annotations

from searchapp.progress import Silent


class Counted(Silent):
    """Remembers the stages, and the units done in all."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.count = 0

    def stage(self, name, total=None, unit="", done=0):
        self.stages.append(name)

    def advance(self, count=1, **figures):
        self.count += count
