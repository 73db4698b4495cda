"""How sources are taken into an index, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from searchapp.corpus.selection import Selection
from searchapp.index.intake.files import FileCounts
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.segment import SEGMENT_DOCUMENTS


@dataclass(frozen=True)
class Added:
    """The new state, and what became of the records: of those added or changed, ``encoded`` needed the model.

    ``removed`` documents are gone with their files or texts. ``files`` counts the files of the sources; ``missing`` are
    those that the index still has and the sources have no more. After a dry run the state is the old one.
    """

    manifest: Manifest = field(repr=False)
    added: int
    changed: int
    unchanged: int
    rejected: int
    encoded: int
    resumed: int  # had been encoded by an add that did not finish
    reasons: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    folded: bool = False
    notices: tuple[str, ...] = ()
    removed: int = 0
    files: FileCounts = field(default_factory=FileCounts)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddSettings:
    """How sources are taken into an index.

    ``sync`` also removes what is gone from them; without ``prune`` it refuses to where that is more than half of what
    the index has of them, or a source is not there at all. ``dry_run`` changes nothing. ``names`` are what the sources
    are called in ids, none or one for each. ``segment_size`` documents are encoded between two commits. Without
    ``fold`` they are not moved into the trained index, however many they are: the next add with it, or a compact, does.
    ``selection`` says which files of folders are read; by default, those that were before. ``passwords`` are tried
    where a file asks for one, and are not kept. ``retry_refused`` reads unchanged files again that were refused.
    """

    sync: bool = False
    prune: bool = False
    dry_run: bool = False
    names: tuple[str, ...] = ()
    segment_size: int = SEGMENT_DOCUMENTS
    fold: bool = True
    selection: Selection = Selection()
    passwords: tuple[str, ...] = field(default=(), repr=False)
    retry_refused: bool = False
