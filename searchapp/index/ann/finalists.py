"""Picks one of the indexes that were built over all vectors, and says in sentences why, and what it misses."""

from __future__ import annotations

from collections.abc import Sequence

from searchapp.index.ann.builder import BuiltIndex
from searchapp.index.ann.request import Targets
from searchapp.index.ann.trials import NEARLY


def pick(built: Sequence[BuiltIndex], targets: Targets, rows: int) -> BuiltIndex:
    """The smallest index that reaches the recall in nearly the shortest time, else the one of best recall.

    Those that keep to the targets of memory and latency come first. ``rows`` are the vectors in each.
    """
    reached = [one for one in built if one.point.recall >= targets.recall]
    reached = [one for one in reached if keeps_to(one, targets, rows)] or reached
    if not reached:
        return max(built, key=lambda one: one.point.recall)
    shortest = min(one.point.expected for one in reached)
    longest = NEARLY * shortest
    if targets.latency is not None and shortest <= targets.latency:
        longest = min(longest, targets.latency)
    return min((one for one in reached if one.point.expected <= longest), key=lambda one: one.size)


def keeps_to(one: BuiltIndex, targets: Targets, rows: int) -> bool:
    """Whether an index keeps to the targets of memory and latency."""
    small = targets.memory is None or one.size * rows <= targets.memory
    return small and (targets.latency is None or one.point.expected <= targets.latency)


def comparison_notes(built: Sequence[BuiltIndex], picked: BuiltIndex, target: float) -> list[str]:
    """A sentence for each index that was not picked: the recall it missed the target with, or the time it took."""
    notes = []
    for one in built:
        if one is picked:
            continue
        if one.point.recall < target:
            notes.append(f"{one.config} reached recall {one.point.recall:.3f} of {target:g} over all vectors")
        else:
            notes.append(f"{one.config} took {one.point.expected:.2f} ms a query over all vectors")
    return notes


def missed_targets(picked: BuiltIndex, targets: Targets, rows: int) -> list[str]:
    """A sentence for each target that an index misses."""
    point, whole = picked.point, picked.size * rows
    notes = []
    if point.recall < targets.recall:
        notes.append(f"recall@10 is {point.recall:.3f}; {targets.recall:g} was asked for")
    if targets.latency is not None and point.expected > targets.latency:
        notes.append(f"a query takes {point.expected:.2f} ms; {targets.latency:g} ms were asked for")
    if targets.memory is not None and whole > targets.memory:
        notes.append(f"the index takes {whole:,.0f} bytes; {targets.memory:,.0f} were asked for")
    return notes
