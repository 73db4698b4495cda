"""What is done to an index, or to a root of shards, by a person or by a program: each verb, with a line of its history.

``searchapp build``, ``add``, ``delete``, ``compact`` and ``reembed`` call these, and so do ``searchapp.build`` and the
methods of ``Index``. The verbs themselves keep no history.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from searchapp.corpus import Source
from searchapp.encoder import Encoder
from searchapp.index import building, history
from searchapp.index.added import Added, AddSettings
from searchapp.index.building import BuildSettings, BuildSummary
from searchapp.index.compaction import Compacted
from searchapp.index.deletion import Deleted
from searchapp.index.reembedding import Reembedded, ReembedSettings
from searchapp.progress import Progress
from searchapp.shards import updating


def build(
    sources: Sequence[str | Source],
    path: Path,
    encoder: Encoder,
    settings: BuildSettings,
    *,
    progress: Progress | None = None,
) -> BuildSummary:
    """See ``searchapp.index.build``."""
    done = building.build(sources, path, encoder, settings, progress=progress)
    history.note(path, "build", done.manifest, **history.build_facts(done.manifest, done.encoded))
    return done


def add(
    sources: Sequence[str | Source],
    path: Path,
    encoder: Encoder,
    settings: AddSettings,
    *,
    progress: Progress | None = None,
) -> Added:
    """See ``searchapp.index.add``. A dry run is not noted."""
    done = updating.add(sources, path, encoder, settings, progress=progress)
    if not settings.dry_run:
        history.note(path, "add", done.manifest, **history.add_facts(done))
    return done


def delete(path: Path, ids: Sequence[str] = (), *, filter: str | None = None) -> Deleted:
    """See ``searchapp.index.delete``."""
    done = updating.delete(path, ids, filter=filter)
    history.note(path, "delete", done.manifest, deleted=done.deleted)
    return done


def compact(path: Path, *, progress: Progress | None = None) -> Compacted:
    """See ``searchapp.index.compact``."""
    done = updating.compact(path, progress=progress)
    history.note(path, "compact", done.manifest, removed=done.removed, folded=done.folded)
    return done


def reembed(
    path: Path,
    encoder: Encoder,
    settings: ReembedSettings,
    *,
    to: Path | None = None,
    progress: Progress | None = None,
) -> Reembedded:
    """See ``searchapp.index.reembed``; noted in the index that has the new vectors."""
    done = updating.reembed(path, encoder, settings, to=to, progress=progress)
    facts = {"encoded": done.encoded, "tokens": done.tokens, "seconds": done.seconds}
    history.note(done.root, "reembed", done.manifest, **facts)
    return done
