"""Texts of real lengths: runs of words of the standard library's documentation, as many as are asked for."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.gpu.internals import lengths, read_prose, tokens_in
from benchmarks.gpu.record import Run

LONGEST = 504  # tokens
SOURCE = "python:stdlib"  # which is wherever Python is


def prose(run: Run) -> list[str]:
    """The words that texts are made of, read once for all parts of a run."""
    path = run.work / "prose.txt"
    if not path.exists():
        taken: list[str] = []
        size = 0
        for text in read_prose([SOURCE]):
            taken.append(text)
            size += len(text)
            if size >= run.shapes.characters:
                break
        draft = path.with_suffix(".draft")
        draft.write_text("\n".join(taken), encoding="utf-8")
        draft.replace(path)
    return path.read_text(encoding="utf-8").split()


def documents(run: Run, count: int, seed: int = 0) -> list[str]:
    """That many texts: log-normal numbers of tokens (median 120, 95 % under 400), from places drawn at random."""
    words = prose(run)
    sample = " ".join(islice(words, 5_000))
    per_token = min(5_000, len(words)) / tokens_in(sample)
    sizes = np.maximum(1, (lengths(count, LONGEST, seed) * per_token).astype(int))
    begins = np.random.default_rng(seed).integers(0, len(words) - sizes)
    return [" ".join(words[begin : begin + size]) for begin, size in zip(begins, sizes, strict=True)]


def write_jsonl(run: Run, count: int, path: Path, seed: int = 0) -> Path:
    """Texts as a corpus: an object a line with ``_id`` and ``text``."""
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(documents(run, count, seed)):
            file.write(json.dumps({"_id": str(number), "text": text}) + "\n")
    return path


def write_lines(run: Run, count: int, path: Path, seed: int = 0) -> Path:
    """Texts one a line, for MNTP and SimCSE."""
    path.write_text("\n".join(documents(run, count, seed)) + "\n", encoding="utf-8")
    return path


def write_pairs(run: Run, count: int, path: Path, seed: int = 0) -> Path:
    """Rows of query, positive and negative: the query is the beginning of its positive."""
    texts = documents(run, 2 * count, seed)
    with path.open("w", encoding="utf-8") as file:
        for positive, negative in zip(texts[:count], texts[count:], strict=True):
            query = " ".join(positive.split()[:24])
            file.write(json.dumps({"query": query, "positive": positive, "negative": negative}) + "\n")
    return path
