"""Checks a root against its shards, each shard against itself, and that a search over all finds what is stored."""

from __future__ import annotations

from pathlib import Path

from searchapp.errors import SearchAppError
from searchapp.index import Report
from searchapp.index.verification import examine as examine_index
from searchapp.index.verification import examine_search
from searchapp.shards.combined import CombinedSnapshot, statistics
from searchapp.shards.opening import open_root


def examine(path: Path) -> Report:
    """Examine every shard that the newest generation names, then the generation itself.

    Raises IndexStoreError where the root manifest cannot be read, or names a state that is not there.
    """
    index = open_root(path)
    snapshot = index.snapshot
    problems: list[str] = []
    notices: list[str] = []
    for shard in index.root.shards:
        try:
            found = examine_index(path / shard.folder)
        except SearchAppError as error:
            problems.append(str(error))
            continue
        problems += found.problems
        notices += [f"{shard.name}: {text}" for text in found.notices]
    if problems or not isinstance(snapshot, CombinedSnapshot):
        return Report(tuple(problems), tuple(notices))
    if (counted := statistics(snapshot)) != index.root.statistics:
        problems.append(
            f"the root counts {index.root.statistics.documents} documents of {index.root.statistics.terms} terms, its "
            f"shards have {counted.documents} of {counted.terms}; build {path} again"
        )
    return Report((*problems, *examine_search(index)), tuple(notices))
