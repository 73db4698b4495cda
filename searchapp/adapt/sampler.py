"""Which rows make a batch: all batches of an epoch over several data sets, as row numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from searchapp.adapt.data import PairFile
from searchapp.errors import AdaptError


class Batch(NamedTuple):
    """Rows of one data set that are trained on together: the number of the data set, and int64 (n,) row numbers."""

    file: int
    rows: np.ndarray


def epoch_batches(
    files: Sequence[PairFile], sizes: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[Batch]:
    """Plan the batches of an epoch: each from one data set, so that the negatives in it are of the same task.

    A data set of ``sizes[i]`` rows is shuffled by seed and epoch and cut into ``share * size // batch_size`` batches;
    what is left over is dropped, and returns in the shuffle of another epoch. A share above 1 goes on with a new
    shuffle, never within a batch, so no batch holds a row twice. The order of all batches is shuffled too. The same
    arguments give the same plan, and adding a data set at the end leaves the rows of the others' batches as they were.

    Every batch has ``batch_size`` rows, as the loss depends on the number of negatives: among several data sets, one
    with fewer rows for an epoch is refused. A lone one makes batches of all the rows it has (at least 2).

    Raises AdaptError for a data set that is too small, a batch size below 1, or a seed or epoch below 0.
    """
    if not files:
        raise AdaptError("no data set of pairs was given; give at least one")
    for name, value, least in (("batch size", batch_size, 1), ("seed", seed, 0), ("epoch", epoch, 0)):
        if value < least:
            raise AdaptError(f"the {name} is {value}; give a whole number from {least} on")
    plan = []
    for number, (file, size) in enumerate(zip(files, sizes, strict=True)):
        wanted = round(file.share * size)
        rows = _batch_rows(file, size, wanted, batch_size, alone=len(files) == 1)
        each = size // rows  # batches of a shuffle
        for place in range(wanted // rows):
            if place % each == 0:
                shuffled = np.random.default_rng([seed, epoch, 1, number, place // each]).permutation(size)
            begin = place % each * rows
            plan.append(Batch(number, shuffled[begin : begin + rows]))
    order = np.random.default_rng([seed, epoch, 0]).permutation(len(plan))
    return [plan[place] for place in order]


def _batch_rows(file: PairFile, size: int, wanted: int, batch_size: int, *, alone: bool) -> int:
    """Choose the rows of a data set's batches, or refuse it."""
    most = min(size, wanted)
    if most >= batch_size:
        return batch_size
    found = f"{file.name} has {size:,} {'row' if size == 1 else 'rows'}"
    if file.share != 1:
        found += f" with a share of {file.share:g}, {wanted:,} an epoch"
    if not alone:
        raise AdaptError(
            f"{found}; a batch takes {batch_size:,} different ones: lower the batch size, raise the share, "
            "or leave the data set out"
        )
    if most < 2:
        raise AdaptError(f"{found}; expected at least 2, as rows are each other's negatives: give more pairs")
    return most
