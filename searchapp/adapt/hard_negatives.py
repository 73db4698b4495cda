"""Hard negatives: texts that a model ranks high for a query and that do not answer it.

What a model ranks near the answer is often an answer too, which nobody marked. The score shows such texts: one whose
score comes close to the positive's own is left out (TopK-PercPos and TopK-MarginPos of NV-Retriever, arXiv 2407.15831,
section 3.1). The price: the hardest true negatives are left out with the false ones. And where the model ranks the
answer itself low, everything above it is left out, and few hard negatives remain. So mine with the best model you have.
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np

from searchapp.adapt.data import PAIR_ENDINGS, TrainingPair
from searchapp.atomic import atomic_write
from searchapp.corpus.document import joined
from searchapp.errors import AdaptError, reason_of
from searchapp.progress import Progress, Silent


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
    """Finds the k best documents of each query, best first, or all where there are fewer."""

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
    """Which hits become negatives, in the terms of sentence-transformers' ``mine_hard_negatives``.

    The first ``range_min`` hits are passed over, as likely answers, and none behind ``range_max`` is looked at. A hit
    is kept whose score is below the lowest score among the query's positives by more than ``absolute_margin``, and
    below ``1 - relative_margin`` of it. Of these the first ``num_negatives`` are taken, or with ``sample`` as many at
    random, by ``seed`` and the number of the pair. With ``titles`` a negative is the text behind its title. Raises
    AdaptError for numbers that make no sense.
    """

    num_negatives: int = 4
    range_min: int = 0
    range_max: int = 100
    relative_margin: float = 0.05
    absolute_margin: float = 0.0
    sample: bool = False
    seed: int = 0
    titles: bool = True

    def __post_init__(self) -> None:
        if self.num_negatives < 1 or self.range_min < 0 or self.seed < 0:
            raise AdaptError(
                f"num_negatives (--count) is {self.num_negatives}, range_min (--skip) {self.range_min}, seed "
                f"{self.seed}; expected at least 1 negative, and for the others at least 0"
            )
        if self.range_max - self.range_min < self.num_negatives:
            raise AdaptError(
                f"range_max (--depth) is {self.range_max}, range_min (--skip) {self.range_min}; {self.num_negatives} "
                f"negatives need a depth of at least {self.range_min + self.num_negatives}: look deeper, skip less or "
                "take fewer"
            )
        if not 0 <= self.relative_margin < 1 or not self.absolute_margin >= 0:
            raise AdaptError(
                f"relative_margin is {self.relative_margin}, absolute_margin (--margin) {self.absolute_margin}; "
                "expected a relative margin of at least 0 and below 1, such as 0.05, and an absolute one of at least 0"
            )


@dataclass(frozen=True, slots=True)
class Mined:
    """A pair with its new negatives at the end of the old, and what became of the hits looked at.

    ``new`` were taken; ``known`` equal the query, a positive, an old negative or a better hit; ``suspect`` score too
    near a positive. The rest were good enough, and more than asked for.
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
    config: MiningConfig | None = None,
    *,
    batch: int = 256,
    progress: Progress | None = None,
) -> Iterator[Mined]:
    """Stream pairs with hard negatives added, in their order; ``batch`` pairs are searched and held at a time.

    Texts are the same when they differ in case or white space alone; a hit also counts as known when it equals without
    its title. A pair with too few good hits gets those there are. ``progress`` has a stage, in queries, and advances by
    each batch.

    Raises AdaptError, while iterating, for a pair with a teacher's scores, as there are none for the new negatives.
    """
    config, progress = config or MiningConfig(), progress or Silent()
    stream, done = iter(pairs), 0
    progress.stage("mining", unit="query")
    while chunk := list(islice(stream, batch)):
        for number, pair in enumerate(chunk, done + 1):
            if pair.scores is not None:
                raise AdaptError(
                    f"pair {number} has scores, which its new negatives would lack; "
                    "mine first and score then, or leave the scores out"
                )
        queries = [pair.query for pair in chunk]
        hits = search(queries, config.range_max)
        scores = score(queries, [pair.positives for pair in chunk])
        for number, (pair, found, positive) in enumerate(zip(chunk, hits, scores, strict=True), done):
            yield _choose(pair, found, min(positive), config, number)
        done += len(chunk)
        progress.advance(len(chunk))


def write_mined(rows: Iterable[Mined], to: Path, *, num_negatives: int, overwrite: bool = False) -> MiningSummary:
    """Write pairs to a JSON Lines file, gzip'd where the name ends in ``.gz``; the same rows give the same bytes.

    The file appears whole or not at all: it is written beside ``to`` and put in place. ``num_negatives`` were asked for
    each pair. Raises AdaptError, before a row is drawn, for another ending and, without ``overwrite``, for a file
    that is there; and where it cannot be written.
    """
    check_target(to, overwrite=overwrite)
    queries = mined = known = suspect = short = 0
    try:  # unlike a mere renaming, ``new`` fails where another program was faster
        with atomic_write(to, new=not overwrite) as raw, _packed(raw, to) as out:
            for row in rows:
                out.write((json.dumps(_fields(row.pair), ensure_ascii=False) + "\n").encode())
                queries += 1
                mined += row.new
                known += row.known
                suspect += row.suspect
                short += row.new < num_negatives
    except OSError as error:
        raise AdaptError(
            f"{to} cannot be written: {reason_of(error)}; give a new file in a folder you can write to"
        ) from error
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


def _choose(pair: TrainingPair, hits: Sequence[Candidate], positive: float, config: MiningConfig, number: int) -> Mined:
    share = (1 - config.relative_margin) * positive  # of a score below 0 it lies above it
    limit = min(share, positive - config.absolute_margin)
    seen = {_plain(text) for text in (pair.query, *pair.positives, *pair.negatives)}
    good: list[str] = []
    known = suspect = 0
    for hit in hits[config.range_min :]:
        names = {_plain(hit.text), _plain(hit.titled)}
        fresh = not seen & names
        seen |= names
        if not fresh:
            known += 1
        elif not hit.score < limit:
            suspect += 1
        else:
            good.append(hit.titled if config.titles else hit.text)
    # A document that is a title alone has no text to give without it.
    good = [text for text in good if text.strip()]
    if config.sample and len(good) > config.num_negatives:
        drawn = np.random.default_rng([config.seed, number]).choice(len(good), config.num_negatives, replace=False)
        good = [good[place] for place in sorted(drawn)]
    taken = tuple(good[: config.num_negatives])
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
