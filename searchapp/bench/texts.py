"""Texts of real lengths to measure with: prose cut into pieces whose token counts follow a log-normal."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.corpus import Document, open_source
from searchapp.errors import SearchAppError

MEDIAN, P95, LEAST = 120, 400, 4  # tokens
Z95 = 1.6449  # the normal's 95 % point
PLAIN = (".txt", ".md", ".txt.gz")
CHARACTERS = 1 << 16  # of a source that are tokenized together
DEFAULT = "python:stdlib"


def read_prose(sources: Sequence[str]) -> Iterator[str]:
    """Yield the running text of files and folders: plain text (also .gz) as it is, other sources document by document.

    Raises CorpusError for a source that cannot be read.
    """
    for name in sources:
        if Path(name).is_file() and name.endswith(PLAIN):
            opened = gzip.open if name.endswith(".gz") else open
            with opened(name, "rt", encoding="utf-8", errors="replace") as file:
                yield from file
        else:
            for record in open_source(name).records():
                if isinstance(record.item, Document):
                    yield record.item.text


def lengths(count: int, longest: int, seed: int = 0) -> np.ndarray:
    """Token counts, int64 (count,): log-normal with median 120 and 95 % under 400, between 4 and ``longest``."""
    spread = np.log(P95 / MEDIAN) / Z95
    drawn = np.random.default_rng(seed).lognormal(np.log(MEDIAN), spread, count)
    return np.clip(drawn.round(), LEAST, longest).astype(np.int64)


def cut(prose: Iterator[str], wanted: Sequence[int], backend: Any) -> list[str]:
    """Cut running text into pieces of so many tokens each, by a tokenizer of the tokenizers library.

    Raises SearchAppError when there is not text enough.
    """
    pieces: list[str] = []
    for block, offsets in _blocks(prose, backend):
        at = 0
        while len(pieces) < len(wanted) and at + wanted[len(pieces)] <= len(offsets):
            last = at + int(wanted[len(pieces)]) - 1
            piece = block[offsets[at][0] : offsets[last][1]].strip()
            at = last + 1
            if piece:
                pieces.append(piece)
        if len(pieces) == len(wanted):
            return pieces
    raise SearchAppError(
        f"the texts are enough for {len(pieces):,} of {len(wanted):,} documents; give more with --texts, or lower "
        "--documents"
    )


def _blocks(prose: Iterator[str], backend: Any) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    held, size = [], 0
    for text in prose:
        held.append(text.strip())
        size += len(text)
        if size >= CHARACTERS:
            block = " ".join(held)
            yield block, backend.encode(block, add_special_tokens=False).offsets
            held, size = [], 0
    block = " ".join(held)
    yield block, backend.encode(block, add_special_tokens=False).offsets
