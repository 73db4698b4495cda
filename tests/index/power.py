"""A disk that stops at a step and then forgets what was not synced, as a machine does that loses its power."""

from __future__ import annotations

import random
import shutil
from contextlib import contextmanager
from pathlib import Path

from searchapp.index.storage.directory import Disk


class PowerLoss(BaseException):
    """The machine stops here."""


class Unsynced(Disk):
    """Steps are not made durable: for tests of other things than durability, because an fsync takes milliseconds."""

    def sync_directory(self, path: Path) -> None:
        """Do nothing."""

    def sync(self, file) -> None:
        """Do nothing."""


class LosingDisk(Disk):
    """Follows which names and contents are durable; ``lose`` leaves what a power loss at this moment could leave.

    A name is durable once its directory was synced, content once its file was. Of all that happened since, any part may
    be lost, in any order. ``forget`` leaves out one of the two kinds of sync, to see that the tests would notice.
    """

    def __init__(self, root: Path, stop_at: int, forget: str = "") -> None:
        self.root, self.stop_at, self.forget, self.steps = root, stop_at, forget, 0
        self.content: dict[object, bytes | None] = {}  # what is durable of each file; None: nothing
        self.now: dict[Path, object] = {}
        for path in root.rglob("*"):
            if path.is_file() and path.name != "LOCK":
                self.now[path] = token = object()
                self.content[token] = path.read_bytes()
        self.durable = dict(self.now)
        self._new = [
            place for place in (root, root / "data") if not place.exists()
        ]  # gone until their parent is synced

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.stop_at:
            raise PowerLoss

    @contextmanager
    def create(self, path: Path):
        self._step()
        token = object()
        self.content[token] = None
        self.now[path] = token
        self._making = token
        try:
            with super().create(path) as draft:
                yield draft
                self._step()
        except Exception:
            self.now.pop(path)
            raise
        self._step()

    def sync(self, file) -> None:
        if self.forget != "files":
            self.content[self._making] = Path(file.name).read_bytes()

    def sync_directory(self, path: Path) -> None:
        self._step()
        if self.forget != "directories":
            self.durable = {place: token for place, token in self.durable.items() if place.parent != path}
            self.durable |= {place: token for place, token in self.now.items() if place.parent == path}
            self._new = [place for place in self._new if place.parent != path]
        self._step()

    def link(self, source: Path, target: Path) -> None:
        self._step()
        super().link(source, target)
        self.now[target] = self.now[source]
        self._step()

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        super().replace(source, target)
        self.now[target] = self.now.pop(source)
        self._step()

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)
        self.now.pop(path, None)
        self._step()

    def lose(self, rng: random.Random) -> None:
        """Rewrite the directory as it may be found when the power is back."""
        for path in self.root.rglob("*"):
            if path.is_file() and path.name != "LOCK":
                path.unlink()
        for path in self.durable.keys() | self.now.keys():
            token = rng.choice([self.durable.get(path), self.now.get(path)])
            if token is not None:
                content = self.content[token]
                if content is None:
                    content = rng.choice([b"", b"\0" * rng.randrange(1, 500)])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        for place in self._new:
            if rng.choice([True, False]):
                shutil.rmtree(place, ignore_errors=True)
