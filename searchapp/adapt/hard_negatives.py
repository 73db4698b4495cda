"""Hard negatives: texts that a model ranks high for a query and that do not answer it.

What a model ranks near the answer often is an answer that nobody marked. Such texts are told by their score: one that
comes close to the positive's own is left out (TopK-PercPos and TopK-MarginPos of NV-Retriever, arXiv 2407.15831,
section 3.1). What the method loses: the hardest true negatives go with the false ones, and where the model itself finds
the answer far down, all above it is suspected and little that is hard is left. So mine with the best model there is.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np

from searchapp.adapt.data import PAIR_ENDINGS, TrainingPair
from searchapp.corpus.document import joined
from searchapp.errors import AdaptError
from searchapp.filesystem import publish


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that was found for a query; ``score`` is on the scale of ``TextScorer``."""

    text: str
    id: str
    score: float
    title: str = ""

    @property
    def titled(self) -> str:
        """The text behind its title, as it was embedded."""
        return joined(self.title, self.text)


class Retriever(Protocol):
    """Finds the k best documents of each query, best first; fewer where there are fewer."""

    def __call__(self, queries: list[str], k: int) -> list[list[Candidate]]:
        """Return a list for each query."""
        ...


class TextScorer(Protocol):
    """Scores texts against their query, by the model that ``Retriever`` searches with."""

    def __call__(self, queries: list[str], texts: list[tuple[str, ...]]) -> list[list[float]]:
        """Return a score for each text of each query."""
        ...


@dataclass(frozen=True)
class MiningConfig:
    """Which hits become negatives.

    Ranks ``skip + 1`` to ``depth`` are looked at. A hit is kept whose score is below ``max_share`` of the lowest score
    among the query's positives, and more than ``margin`` below it. Of these the first ``count`` are taken, or with
    ``sample`` as many at random, by ``seed`` and the number of the pair. With ``titles`` a negative is the text behind
    its title. Raises AdaptError for numbers that make no sense.
    """

    count: int = 4
    skip: int = 0
    depth: int = 100
    max_share: float = 0.95
    margin: float = 0.0
    sample: bool = False
    seed: int = 0
    titles: bool = True

    def __post_init__(self) -> None:
        if self.count < 1 or self.skip < 0 or self.seed < 0:
            raise AdaptError(
                f"count is {self.count}, skip {self.skip}, seed {self.seed}; "
                "give a count of at least 1, a skip and a seed of at least 0"
            )
        if self.depth - self.skip < self.count:
            raise AdaptError(
                f"depth is {self.depth} with the first {self.skip} skipped; {self.count} negatives need a depth of "
                f"at least {self.skip + self.count}: look deeper, skip less or take fewer"
            )
        if not 0 < self.max_share <= 1 or not self.margin >= 0:
            raise AdaptError(
                f"max_share is {self.max_share}, margin {self.margin}; "
                "give a share above 0 and up to 1, such as 0.95, and a margin of at least 0"
            )


@dataclass(frozen=True, slots=True)
class Mined:
    """A pair with its new negatives at the end of the old, and what became of the hits looked at.

    ``new`` were taken; ``known`` equal the query, a positive, an old negative or a better hit; ``suspect`` score too
    near a positive. The rest would have done, and were not needed.
    """

    pair: TrainingPair
    new: int
    known: int
    suspect: int


@dataclass(frozen=True)
class MiningSummary:
    """Sums over the pairs of a file; ``short`` pairs got fewer negatives than asked for."""

    queries: int
    mined: int
    dropped_known: int
    dropped_suspect: int
    short: int


def mine(
    pairs: Iterable[TrainingPair],
    search: Retriever,
    score: TextScorer,
    choice: MiningConfig | None = None,
    *,
    batch: int = 256,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Mined]:
    """Stream pairs with hard negatives added, in their order; ``batch`` pairs are searched and held at a time.

    Texts are the same when they differ in case or white space alone; a hit also counts as known when it equals without
    its title. A pair for which too few hits will do gets those. ``progress`` is called after each batch with the pairs
    done so far.

    Raises AdaptError, while iterating, for a pair with a teacher's scores, as there are none for the new negatives.
    """
    choice = choice or MiningConfig()
    stream, done = iter(pairs), 0
    while chunk := list(islice(stream, batch)):
        for number, pair in enumerate(chunk, done + 1):
            if pair.scores is not None:
                raise AdaptError(
                    f"pair {number} has scores, which its new negatives would lack; "
                    "mine first and score then, or leave the scores out"
                )
        queries = [pair.query for pair in chunk]
        hits = search(queries, choice.depth)
        scores = score(queries, [pair.positives for pair in chunk])
        for number, (pair, found, positive) in enumerate(zip(chunk, hits, scores, strict=True), done):
            yield _choose(pair, found, min(positive), choice, number)
        done += len(chunk)
        if progress is not None:
            progress(done)


def write_mined(rows: Iterable[Mined], to: Path, *, count: int, overwrite: bool = False) -> MiningSummary:
    """Write pairs to a JSON Lines file, gzip'd where the name ends in ``.gz``; the same rows give the same bytes.

    The file appears whole or not at all: it is written beside ``to`` and put in place. ``count`` is what was asked for
    each pair. Raises AdaptError, before a row is drawn, for another ending and, without ``overwrite``, for a file
    that is there; and where it cannot be written.
    """
    check_target(to, overwrite=overwrite)
    queries = mined = known = suspect = short = 0
    temporary = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as raw, _packed(raw, to) as out:
            for row in rows:
                out.write((json.dumps(_fields(row.pair), ensure_ascii=False) + "\n").encode())
                queries += 1
                mined += row.new
                known += row.known
                suspect += row.suspect
                short += row.new < count
        if overwrite:
            temporary.replace(to)
        else:
            publish(temporary, to)  # unlike a renaming it fails where another program was faster
    except OSError as error:
        reason = error.strerror or error
        raise AdaptError(f"{to} cannot be written: {reason}; give a new file in a folder you can write to") from error
    finally:
        with contextlib.suppress(OSError):  # it is not there after the renaming, nor where it could not be made
            temporary.unlink()
    return MiningSummary(queries, mined, known, suspect, short)


def check_target(to: Path, *, overwrite: bool = False) -> None:
    """Raise AdaptError for a file that ``write_mined`` would refuse, so that it is said before any work is done."""
    if not to.name.lower().endswith(PAIR_ENDINGS):
        raise AdaptError(f"{to}: ends in {to.suffix or 'nothing'}; expected {' or '.join(PAIR_ENDINGS)}: rename it")
    if to.is_dir() or (to.exists() and not overwrite):
        found = "a folder" if to.is_dir() else "a file"
        raise AdaptError(f"{to}: {found} is already there; expected a new file: give another name or ask to replace it")
    if not to.parent.is_dir():
        raise AdaptError(f"{to}: there is no folder {to.parent}; make it or give another place")


def _choose(pair: TrainingPair, hits: Sequence[Candidate], positive: float, choice: MiningConfig, number: int) -> Mined:
    limit = min(choice.max_share * positive, positive - choice.margin)  # a share of a score below 0 lies above it
    seen = {_plain(text) for text in (pair.query, *pair.positives, *pair.negatives)}
    good: list[str] = []
    known = suspect = 0
    for hit in hits[choice.skip :]:
        names = {_plain(hit.text), _plain(hit.titled)}
        fresh = not seen & names
        seen |= names
        if not fresh:
            known += 1
        elif not hit.score < limit:
            suspect += 1
        else:
            good.append(hit.titled if choice.titles else hit.text)
    # A document that is a title alone has no text to give without it.
    good = [text for text in good if text.strip()]
    if choice.sample and len(good) > choice.count:
        drawn = np.random.default_rng([choice.seed, number]).choice(len(good), choice.count, replace=False)
        good = [good[place] for place in sorted(drawn)]
    taken = tuple(good[: choice.count])
    return Mined(replace(pair, negatives=pair.negatives + taken), len(taken), known, suspect)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _fields(pair: TrainingPair) -> dict[str, object]:
    fields: dict[str, object] = {"query": pair.query, "positive": pair.positives}
    return {**fields, "negative": pair.negatives} if pair.negatives else fields


def _packed(raw: BinaryIO, to: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    if not to.name.lower().endswith(".gz"):
        return contextlib.nullcontext(raw)
    # Without name and time in its head, the same rows give the same bytes.
    return cast(contextlib.AbstractContextManager[BinaryIO], gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
