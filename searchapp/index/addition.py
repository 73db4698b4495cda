"""Adding to an index: new documents, and new versions of those it has; the rest is not encoded again.

All of an add is seen at once, when it has finished. What it encodes meanwhile is committed as *staged*, segment by
segment, beside a state that does not change. An add that was killed takes nothing from that but the vectors: run again,
it compares its sources with the index as if for the first time, and finds the documents it had encoded among the staged
ones. So it may be run again with other sources, or after a delete, and is right all the same.

The ledger says which files have not changed; these are not opened. A text file that changed leaves no passage of its
former text. What is gone from a source stays, and is named; ``sync`` removes it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from searchapp.corpus import Source
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import find_source, open_source
from searchapp.encoder import Encoder
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index.add_run import AddRun
from searchapp.index.added import Added, AddSettings
from searchapp.index.encoder_match import ANOTHER_MODEL, recorded_backend, require_match
from searchapp.index.exchange import require_same_maker
from searchapp.index.extend import extend_index
from searchapp.index.intake.changes import NAMED, nothing_there
from searchapp.index.intake.files import (
    SCHEME,
)
from searchapp.index.intake.names import absolute, named, wanted_of
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest import Manifest, NamedSource
from searchapp.index.storage.writer import Update, Writer
from searchapp.progress import Progress, Silent

log = logging.getLogger("searchapp.index.add")  # the command, which is what people filter lines by


def add(
    sources: Sequence[str | Source],
    path: Path,
    encoder: Encoder,
    settings: AddSettings | None = None,
    *,
    progress: Progress | None = None,
    disk: Disk | None = None,
    update: Update = Writer.update,
    **changes: Any,
) -> Added:
    """Add the documents of sources to a finished index; one whose id it has takes the place of that document.

    ``changes`` are fields of ``AddSettings``, over those of ``settings``; ``update`` opens what is written. The
    documents are found at once: by exact comparison beside the trained index, into which they are folded when they have
    become many. Raises CorpusError, ModelError for an encoder that the index was not made by, or IndexStoreError.
    """
    settings = replace(settings or AddSettings(), **changes)
    progress = progress or Silent()
    with update(path, disk) as writer:
        manifest = writer.state
        require_match(manifest, path, encoder)
        if (made := manifest.encoder["dtype"]) != encoder.dtype:
            raise IndexStoreError(
                f"{path} was made in {made}, this encoder is in {encoder.dtype}; give --dtype {made}; "
                f"{ANOTHER_MODEL.format(root=path)}"
            )
        if (made := recorded_backend(manifest)) != encoder.backend.name:
            raise IndexStoreError(
                f"{path} was made by the backend {made}; load the encoder with backend={made!r}; "
                f"{ANOTHER_MODEL.format(root=path)}"
            )
        opened, missing = _opened(sources, path, manifest, settings)
        require_same_maker(opened, encoder)
        summary = AddRun(writer, manifest, encoder, settings, progress).add(opened, missing)
        counts = summary.added, summary.changed, summary.unchanged, summary.rejected
        log.info("%s: %d added, %d changed, %d unchanged, %d rejected, in %.1f s", path, *counts, summary.seconds)
        if settings.dry_run:
            return summary
        writer.publish_rejections()
        folded = extend_index(writer, progress.stage) if settings.fold else None
        if folded is not None:
            notices = (*summary.notices, *folded.notices)
            return replace(summary, manifest=folded.manifest, folded=True, notices=notices)
    return summary


def _opened(
    sources: Sequence[str | Source], path: Path, manifest: Manifest, settings: AddSettings
) -> tuple[list[Source], list[NamedSource]]:
    """The sources under their names, and those that are to be emptied because they are not there.

    Raises CorpusError or IndexStoreError where one is not there, or does not go with the others or with the index.
    """
    found: list[Source] = []
    labels: list[str] = []
    missing: list[NamedSource] = []
    by_path = {source.path: source for source in manifest.sources}
    for number, name in enumerate(sources):
        if isinstance(name, Source):
            found.append(name)
            labels += settings.names[number : number + 1]
            continue
        known = by_path.get(absolute(name)) or by_path.get(str(Path(name).resolve()))
        try:
            found.append(
                _of_first_scheme(name, path)
                if manifest.scheme != SCHEME
                else _found(name, wanted_of(name, settings.selection, manifest.sources))
            )
            labels += settings.names[number : number + 1]
        except CorpusError as error:
            if not settings.sync or known is None:
                raise
            if not settings.prune:
                raise nothing_there(error, path, known.label) from error
            missing.append(known)
    if manifest.scheme == SCHEME:
        whole = len(settings.names) == len(sources)
        return named(found, labels if whole else settings.names, manifest.sources), missing
    if settings.names and not settings.sync:
        raise IndexStoreError(f"{path} has ids of the first scheme, without names of sources; leave --name out")
    if settings.sync:
        before = [*manifest.build.sources, *(source for item in manifest.additions for source in item.sources)]
        lacking = dict.fromkeys(source["name"] for source in before)
        for source in found:
            lacking.pop(absolute(source.name), None)
        if lacking and not settings.prune:
            raise IndexStoreError(
                f"{path} has ids of the first scheme; --sync gives it new ones, and needs all of its sources for that: "
                f"add {', '.join(list(lacking)[:NAMED])}; where they are gone for good, --prune removes what it has of "
                "them"
            )
        return named(found, settings.names), []
    return found, []


def _of_first_scheme(name: str, path: Path) -> Source:
    """A source for an index of the first scheme. Raises CorpusError for a document, which such an index cannot have."""
    source = open_source(name)
    if source.is_document:
        raise CorpusError(f"{name}: {path} has ids of the first scheme, which a document cannot have; build it anew")
    return source


def _found(name: str, selection: Selection) -> Source:
    """A source, its first record read where that shows whether it can be read at all; no text is opened."""
    source = find_source(name, selection=selection)
    return source if source.kind == "folder" else open_source(name, selection=selection)
