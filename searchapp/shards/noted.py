"""What is done to an index, or to a root of shards, by a person or by a program: each verb, with a line of its history.

``searchapp build``, ``add``, ``delete``, ``compact`` and ``reembed`` call these, as ``searchapp.build`` does and the
methods of ``Index``. The verbs themselves keep no history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.corpus import Source
from searchapp.corpus.urls import is_url
from searchapp.encoder import Encoder
from searchapp.index import building, history
from searchapp.index.added import Added, AddSettings
from searchapp.index.building import BuildSettings, BuildSummary
from searchapp.index.compaction import Compacted
from searchapp.index.deletion import Deleted
from searchapp.index.reembedding import Reembedded, ReembedSettings
from searchapp.progress import Progress
from searchapp.shards import updating
from searchapp.shards.opening import open_snapshot

if TYPE_CHECKING:
    from searchapp.shards.make import EngineSettings, Made


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


def make(
    sources: Sequence[str],
    place: str,
    load: Callable[[], Encoder],
    settings: BuildSettings,
    engine: EngineSettings,
    **options: Any,
) -> Made:
    """See ``searchapp.shards.make``; an object store keeps no history."""
    from searchapp.shards.make import make as make_root

    made = make_root(sources, place, load, settings, engine, **options)
    published = made.published
    if published is not None and not published.already_done and not is_url(place):
        facts = {"rejected": published.rejected, "tokens": published.tokens}
        seconds = {} if made.driven is None else {"seconds": made.driven.seconds}
        history.note(Path(place), "build", open_snapshot(place).manifest, **facts, **seconds)
    return made


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
