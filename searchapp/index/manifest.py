"""A manifest: the whole state of an index as one readable JSON file, behind the checksum of its own text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from searchapp.errors import IndexStoreError
from searchapp.index.durable import FileEntry

FORMAT = 1
STATES = ("encoding", "encoded", "ready")


class Torn(Exception):
    """A manifest whose text does not match its checksum: a write that never finished, or damage."""


@dataclass(frozen=True)
class Segment:
    """``count`` documents from row ``base`` on: an Arrow file of rows and a file of fp16 vectors, both immutable."""

    rows: str
    vectors: str
    base: int
    count: int


@dataclass(frozen=True)
class Reduction:
    """A projection of the stored vectors, kept in ``file``; ``explained_variance`` is the share it keeps (0 to 1)."""

    file: str
    dim: int
    explained_variance: float


@dataclass(frozen=True)
class Ann:
    """A FAISS index over all rows: its file, factory string, search parameters and how many candidates to rescore.

    ``measured`` is what the probe queries gave when it was built or tuned: ``recall`` at 10 against exact search,
    ``milliseconds`` a query alone on one thread, ``bytes`` a vector, ``queries`` asked. ``notes`` are the sentences the
    choice came with, such as which type missed its target.
    """

    file: str
    factory: str
    rows: int
    candidates: int
    parameters: dict[str, int] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", tuple(self.notes))  # JSON has lists only


@dataclass(frozen=True)
class Build:
    """What the build was asked for and how far it is: enough to go on, and to tell a different request apart."""

    sources: tuple[dict[str, str], ...]
    consumed: int = 0  # records read from the sources, rejected ones included
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    pca: int | str | None = None  # a dimension, ``auto``, or none
    factory: str = "auto"
    targets: dict[str, float] = field(default_factory=dict)  # what was asked for: recall, memory, latency
    overwrite: bool = False  # begun in the place of another index, which stays readable until this one is ready
    segment_size: int | None = None  # fixed by the first run, so that a resumed build cuts as the first one did
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The state of an index after its ``number``-th commit.

    ``encoder`` holds the model, its options, its fingerprint and prompts; ``dim`` is the length of a stored vector.
    ``files`` names every file the state needs, with size and checksum.
    """

    encoder: dict[str, Any]
    dim: int
    build: Build
    number: int = 0
    state: str = "encoding"
    rows: int = 0
    segments: tuple[Segment, ...] = ()
    rejections: tuple[str, ...] = ()  # files of JSON lines, one for each rejected record
    reduction: Reduction | None = None
    ann: Ann | None = None
    probes: str | None = None  # a file of fp16 query vectors that every choice of index is measured with
    files: dict[str, FileEntry] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def with_files(self, **changes: Any) -> Manifest:
        """Return a changed copy that lists only the files its segments, reduction and ann name."""
        files = changes.pop("files", {})
        changed = replace(self, **changes)
        known = {**self.files, **files}
        return replace(changed, files={name: known[name] for name in changed.names()})

    def names(self) -> list[str]:
        """The data files of this state."""
        derived = [part.file for part in (self.reduction, self.ann) if part is not None]
        derived += [self.probes] if self.probes is not None else []
        stored = [name for segment in self.segments for name in (segment.rows, segment.vectors)]
        return [*stored, *self.rejections, *derived]

    def dump(self) -> bytes:
        """Serialise: the first line is the checksum of the rest."""
        body = json.dumps(asdict(self), indent=1, ensure_ascii=False).encode("utf-8")
        return hashlib.blake2b(body, digest_size=16).hexdigest().encode("ascii") + b"\n" + body

    @staticmethod
    def load(path: Path) -> Manifest:
        """Read a manifest. Raises Torn for damage and IndexStoreError for a format this version does not know."""
        head, _, body = path.read_bytes().partition(b"\n")
        if hashlib.blake2b(body, digest_size=16).hexdigest().encode("ascii") != head:
            raise Torn(f"{path} does not match its checksum")
        content = json.loads(body)
        if not isinstance(content, dict):
            raise Torn(f"{path} holds no JSON object")
        if content.get("format") != FORMAT:
            raise IndexStoreError(
                f"{path.parent} has index format {content.get('format')}, this searchapp reads format {FORMAT}; "
                "use the version that wrote it, or build into another directory"
            )
        return _parse(content)


def _parse(content: dict[str, Any]) -> Manifest:
    build = dict(content["build"])
    return Manifest(
        **{
            **content,
            "build": Build(**{**build, "sources": tuple(build["sources"])}),
            "rejections": tuple(content["rejections"]),
            "segments": tuple(Segment(**segment) for segment in content["segments"]),
            "reduction": Reduction(**content["reduction"]) if content["reduction"] else None,
            "ann": Ann(**{**content["ann"], "notes": tuple(content["ann"].get("notes", ()))})
            if content["ann"]
            else None,
            "files": {name: FileEntry(**entry) for name, entry in content["files"].items()},
        }
    )
