"""The names of sources: what their ids begin with, and where an index keeps them apart."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from searchapp.corpus import Source
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import checked_label
from searchapp.corpus.urls import is_url, local_path, shown_url
from searchapp.errors import CorpusError
from searchapp.index.storage.manifest import NamedSource


def named(sources: Sequence[Source], labels: Sequence[str], known: Sequence[NamedSource] = ()) -> list[Source]:
    """The sources under the names they have in an index, or get there: no two have one, and none is there twice.

    ``labels`` are what the user calls them, none or one for each. A source that the index knows by its place keeps its
    name. Tables, whose ids hold no name, are told apart by their place. Raises CorpusError for two texts of one name.
    """
    if labels and len(labels) != len(sources):
        raise CorpusError(
            f"{len(labels)} names are given for {len(sources)} sources; give --name once for each source, in order"
        )
    by_path = {source.path: source.label for source in known}
    taken = {source.label: source.path for source in known}
    given: dict[str, Source] = {}  # by path
    for number, source in enumerate(sources):
        path, label = absolute(source.name), source.label
        asked = checked_label(labels[number]) if labels else None
        before = given[path].label if path in given else by_path.get(path)
        if before is not None and asked is not None and asked != before:
            raise CorpusError(
                f"{source.name} is the source {before!r} of this index, not {asked!r}; leave --name out, or build "
                "an index of its own"
            )
        if path in given:
            if is_url(source.name) and source.name.rstrip("/") != given[path].name.rstrip("/"):
                raise CorpusError(
                    f"two sources are {path} but for what is secret in them or not sent, by which an index cannot tell "
                    "them apart; give one of them, or an index to each"
                )
            continue
        label = before or asked or label
        met = {other.label for other in given.values()}
        moves = asked is not None and label in {item.label for item in known}
        if label in met or (taken.get(label, path) != path and not moves):
            if source.is_cut or asked is not None:
                free = next(name for name in (f"{label}-{n}" for n in count(2)) if name not in taken)
                names = [item.label for item in given.values()] + [free]
                names += [other.label for other in sources[number + 1 :]]
                raise CorpusError(
                    f"{source.name} and {taken[label]} are both named {label!r}, which their ids begin with; give one "
                    f"of them another name: {' '.join(f'--name {shlex.quote(name)}' for name in names)}; if it is the "
                    f"same source at another place, add it alone with --name {shlex.quote(label)}"
                )
            label = path.encode(errors="backslashreplace").decode()
        taken[label] = path
        given[path] = replace(source, label=label)
    return list(given.values())


def recorded(sources: Sequence[Source], known: Sequence[NamedSource] = ()) -> tuple[NamedSource, ...]:
    """The sources of an index after these were read: in the place of those of the same name, else behind them."""
    records = {source.label: source for source in known}
    records |= {
        source.label: NamedSource(source.label, absolute(source.name), source.kind, source.selection.to_json())
        for source in sources
    }
    return tuple(records.values())


def wanted_of(name: str, given: Selection, known: Sequence[NamedSource]) -> Selection:
    """What is wanted of a source: what is given, else what the index remembers of it."""
    if given != Selection():
        return given
    path = absolute(name)
    return Selection.from_json(next((source.selection for source in known if source.path == path), None))


def absolute(name: str) -> str:
    """A source's name that holds from any working directory, without what is secret in a URL."""
    name = local_path(name)
    if is_url(name):
        return shown_url(name)
    return str(Path(name).resolve()) if Path(name).exists() else name
