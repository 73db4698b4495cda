"""A manifest: the whole state of an index, in one record; ``manifest_json`` says how it is written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from searchapp.corpus.urls import is_url, shown_url
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.migrate import FORMAT

STATES = ("encoding", "encoded", "ready")
RESCORED_A_HIT = 4  # candidates rescored for each hit asked for, at least


@dataclass(frozen=True)
class Segment:
    """``count`` documents from row ``base`` on: an Arrow file of them, their fp16 vectors and hashes; all immutable.

    ``hashes_file`` (see ``searchapp.index.storage.hashes``) is empty in what format 1 wrote, until the next write.
    """

    documents_file: str
    vectors_file: str
    base: int
    count: int
    hashes_file: str = ""

    def names(self) -> list[str]:
        """Its files."""
        return [name for name in (self.documents_file, self.vectors_file, self.hashes_file) if name]


@dataclass(frozen=True)
class Tombstones:
    """The rows that are gone: a bitmap in ``file``, kept a second time in ``copy``, for nothing else could mend it."""

    file: str
    copy: str
    count: int


@dataclass(frozen=True)
class Addition:
    """What the last ``add`` of some sources brought, and the files of records it rejected."""

    sources: tuple[dict[str, str], ...]
    added: int
    changed: int
    unchanged: int
    rejected: int
    reasons: dict[str, int] = field(default_factory=dict)
    rejections: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of its sources."""
        return [source["name"] for source in self.sources]


@dataclass(frozen=True)
class Staged:
    """What an ``add`` that has not finished has encoded: no part of the state yet. Bases count from 0."""

    sources: tuple[str, ...]
    segments: tuple[Segment, ...] = ()
    rejections: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Documents encoded."""
        return sum(segment.count for segment in self.segments)

    def names(self) -> list[str]:
        """Its files."""
        return [*(name for segment in self.segments for name in segment.names()), *self.rejections]


@dataclass(frozen=True)
class Encoded:
    """The new vectors of a segment in ``file``, and what its documents are to the encoder that made them.

    ``documents`` were encoded and have ``tokens`` tokens; of ``long`` of them, ``beyond`` tokens are not read.
    """

    file: str
    documents: int
    tokens: int
    long: int
    beyond: int


@dataclass(frozen=True)
class Reembedding:
    """What a ``reembed`` that has not finished has encoded: no part of the state yet.

    ``encoder`` and ``dim`` are what the state will have. ``vectors`` goes by a segment's file of rows; ``origin`` is
    the index that has these rows, "" where it is this one. ``seconds`` were spent.
    """

    encoder: dict[str, Any]
    dim: int
    origin: str = ""
    vectors: dict[str, Encoded] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def documents(self) -> int:
        """Documents encoded."""
        return sum(part.documents for part in self.vectors.values())


@dataclass(frozen=True)
class Drift:
    """Recall@10 against exact search, by the same queries: of the index as trained, and after rows were folded in.

    ``first`` is how many rows the index had when it was first asked; 0 in what was measured by other queries.
    """

    trained: float
    now: float
    rows: int  # at the time of ``now``
    first: int = 0


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
    ``milliseconds`` a query alone on one thread, ``bytes`` a vector, ``queries`` asked; where the system lets it be
    known also ``cold_milliseconds``, a query whose candidates are read from disk, by faults on so many ``pages`` of
    ``page_milliseconds`` each, and ``load_milliseconds``, reading all codes once. ``notes`` are the sentences the
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

    @property
    def is_exact(self) -> bool:
        """Whether its scores are cosines up to rounding, so that no candidate has to be rescored."""
        return self.candidates == 0

    def rescore_depth(self, k: int, asked: int | None = None) -> int:
        """How many candidates of a query are rescored in a search for ``k`` hits; 0: the index's own scores stand.

        ``asked`` is the number a user asks for, 0 for none. None leaves it to the index: what calibration set, and at
        least ``RESCORED_A_HIT`` for each hit; none where the index is exact.
        """
        if asked is None:
            return 0 if self.is_exact else max(self.candidates, RESCORED_A_HIT * k)
        return max(asked, k) if asked else 0


@dataclass(frozen=True)
class Lexical:
    """The words of all documents for BM25: ``files`` names, for each segment's file of rows, its file of postings.

    ``stemmer`` and ``stop_words`` made the terms; ``k1`` and ``b`` are BM25's own. ``fusion`` is how to fuse it with
    the dense side, once that was tuned: the fields of ``searchapp.search.Fusion``, and what it was tuned on.
    """

    files: dict[str, str]
    stemmer: str | None
    stop_words: str | None
    k1: float
    b: float
    fusion: dict[str, Any] | None = None
    analysis: int = 1  # version of the analysis; manifests from before there was a second one do not name it


@dataclass(frozen=True)
class NamedSource:
    """A source of the index: its name in ids and in the ledger, where it was when last read, and its kind.

    ``selection`` is what was wanted of it, as ``corpus.selection.Selection.to_json`` says it; None: all.
    """

    label: str
    path: str
    kind: str
    selection: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Leave out of a URL what is secret: earlier versions kept user names, which may be tokens."""
        if is_url(self.path):
            object.__setattr__(self, "path", shown_url(self.path))


@dataclass(frozen=True)
class Partial:
    """The file that a build was reading when it last committed, and how many of its records it had read.

    ``rejected`` of them were no document, the first for ``reason``.
    """

    source: str
    path: str
    records: int
    rejected: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Reach:
    """How much of a sample of the documents that were not cut here the encoder does not read."""

    documents: int = 0
    tokens: int = 0
    beyond: int = 0  # of these tokens

    def __add__(self, other: Reach) -> Reach:
        return Reach(self.documents + other.documents, self.tokens + other.tokens, self.beyond + other.beyond)


@dataclass(frozen=True)
class Build:
    """What the build was asked for and how far it is: enough to go on, and to tell a different request apart.

    ``seconds`` went by the clock on ``read``, ``encode``, ``words``, ``reduce`` and ``index``; of all processors on the
    first two together (``cpu``) and on single parts (``read_cpu``, ``encode_cpu``, ``index_cpu``, the reduction
    included); and by the clock without any work being done (``read_wait``, ``encode_wait``, ``index_wait``).
    """

    sources: tuple[dict[str, str], ...]
    consumed: int = 0  # records read from the sources, rejected ones included
    partial: Partial | None = None
    reach: Reach = Reach()
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
    rejections: tuple[str, ...] = ()  # of the build: files of JSON lines, one for each rejected record
    tombstones: Tombstones | None = None
    reduction: Reduction | None = None
    ann: Ann | None = None
    lexical: Lexical | None = None
    probes: str | None = None  # a file of fp16 query vectors that every choice of index is measured with
    additions: tuple[Addition, ...] = ()
    staged: Staged | None = None
    drift: Drift | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    scheme: int = 1  # of ids: 1 holds line numbers, 2 what a passage says
    cut: dict[str, Any] | None = None  # the rule by which text is cut: ``CutRule.to_json``
    sources: tuple[NamedSource, ...] = ()
    ledger: tuple[str, ...] = ()  # its files, in order
    reembedding: Reembedding | None = None
    format: int = FORMAT

    @property
    def documents(self) -> int:
        """Documents that can be found: rows without the tombstones."""
        return self.rows - (self.tombstones.count if self.tombstones else 0)

    @property
    def unindexed_rows(self) -> int:
        """Rows that the FAISS index does not have yet; they are searched exactly beside it."""
        return self.rows - (self.ann.rows if self.ann else 0)

    @property
    def made_by(self) -> str:
        """The command that makes a state ready."""
        return "searchapp build" if self.reembedding is None else "searchapp reembed"

    @property
    def rejected(self) -> int:
        """Records rejected by the build and by every add."""
        return self.build.rejected + sum(addition.rejected for addition in self.additions)

    def with_files(self, **changes: Any) -> Manifest:
        """Return a changed copy that lists only the files it names."""
        files = changes.pop("files", {})
        changed = replace(self, **changes)
        known = {**self.files, **files}
        return replace(changed, files={name: known[name] for name in changed.names()})

    def bare(self, *lost: str, state: str = "encoded") -> Manifest:
        """A copy without reduction and FAISS index, nor the probes and postings of which ``lost`` names the file."""
        probes = None if self.probes in lost else self.probes
        bare = self.with_files(state=state, reduction=None, ann=None, drift=None, probes=probes)
        return bare.without_postings(*lost)

    def without_postings(self, *lost: str) -> Manifest:
        """A copy without the postings of which ``lost`` names the file."""
        if self.lexical is None:
            return self
        files = {rows: name for rows, name in self.lexical.files.items() if name not in lost}
        return self.with_files(lexical=replace(self.lexical, files=files))

    def names(self) -> list[str]:
        """The data files of this state."""
        staged = self.staged.names() if self.staged else []
        stored = [name for segment in self.segments for name in segment.names()]
        gone = [self.tombstones.file, self.tombstones.copy] if self.tombstones else []
        new = [part.file for part in self.reembedding.vectors.values()] if self.reembedding else []
        return [*stored, *staged, *new, *gone, *self.rejected_files(), *self.ledger, *self.derived()]

    def derived(self) -> list[str]:
        """The data files that can be made again from the segments."""
        single = [part.file for part in (self.reduction, self.ann) if part is not None]
        return [*single, *([self.probes] if self.probes is not None else []), *self.postings()]

    def postings(self) -> list[str]:
        """The files of words for BM25, in the order of the segments that have one."""
        files = self.lexical.files if self.lexical is not None else {}
        return [files[segment.documents_file] for segment in self.segments if segment.documents_file in files]

    def rejected_files(self) -> list[str]:
        """The files of rejected records: the build's, then each add's."""
        return [*self.rejections, *(name for addition in self.additions for name in addition.rejections)]
