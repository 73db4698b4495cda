"""The texts the bundled model is trained on: what is read, and what is cut from it.

Only files whose licence lets a trained model ship are read (``TEXTS`` and ``PAIRS``; data/SOURCES.md states them).
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np

# CC BY 4.0, CC0, public domain or MIT.
TEXTS = (
    "medquad-answers-by",
    "openstax-by",
    "standardebooks-cc0",
    "python-peps-pd",
    "movie-reviews-by",
    "rust-book-mit",
)
PAIRS = ("medquad-qa", "pubmedqa")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(A-Z0-9a-z])")
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*[A-Za-z]|[A-Za-z0-9]+")


def read_paragraphs(data: Path, stem: str) -> list[str]:
    """One paragraph a line."""
    with gzip.open(data / "text" / f"{stem}.txt.gz", "rt", encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def read_pairs(data: Path, stem: str) -> list[tuple[str, str]]:
    """(query, positive) pairs."""
    with gzip.open(data / "pairs" / f"{stem}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [(row["query"], positive) for row in rows for positive in row["positive"]]


def distillation_texts(data: Path, seed: int, extra_words: list[str]) -> tuple[list[str], list[str]]:
    """Texts to ask the teacher about (words, bags of words, sentences, passages, questions; each once), and the words.

    ``extra_words`` widen the vocabulary beyond what the texts hold. Words and bags cost almost nothing to train on,
    and they are what ties the meaning of a rare word to its tokens.
    """
    rng = np.random.default_rng(seed)
    paragraphs = [text for stem in TEXTS for text in read_paragraphs(data, stem)]
    pairs = [pair for stem in PAIRS for pair in read_pairs(data, stem)]
    paragraphs += [document for _, document in pairs[-1_000:]]  # the abstracts; the answers are among the texts
    counts = Counter(word for text in paragraphs for word in WORD.findall(text.lower()))
    words = [word for word, count in counts.items() if count >= 3]
    vocabulary = sorted({*words, *extra_words})
    sentences = [part for text in paragraphs for part in SENTENCE_END.split(text) if 3 <= len(part.split()) <= 60]
    made = [query for query, _ in pairs]
    made += _bags(rng, vocabulary, 120_000)
    made += _rare_words(rng, paragraphs, counts, 200_000)
    made += _passages(rng, paragraphs, 80_000)
    return list(dict.fromkeys([*vocabulary, *made, *sentences])), vocabulary


def _bags(rng: np.random.Generator, vocabulary: list[str], count: int) -> list[str]:
    """Two to five words that have nothing to do with each other."""
    return [
        " ".join(vocabulary[i] for i in rng.integers(len(vocabulary), size=size))
        for size in rng.integers(2, 6, size=count)
    ]


def _rare_words(rng: np.random.Generator, paragraphs: list[str], counts: Counter[str], count: int) -> list[str]:
    """Two to nine of the rarer words of a paragraph, as a person would type them into a search box."""
    made = []
    for index in rng.integers(len(paragraphs), size=count):
        words = WORD.findall(paragraphs[index].lower())
        if len(words) < 4:
            continue
        weight = np.array([1.0 / np.sqrt(counts[word] + 20.0) for word in words])
        size = min(len(words), int(rng.integers(2, 10)))
        chosen = rng.choice(len(words), size=size, replace=False, p=weight / weight.sum())
        if rng.random() < 0.5:
            chosen.sort()
        made.append(" ".join(words[i] for i in chosen))
    return made


def topics(rng: np.random.Generator, vocabulary: list[str], neighbours: np.ndarray, count: int) -> list[str]:
    """Words of one or two fields of knowledge, 3 to 48 of them: the fields the texts never speak of are among them.

    ``neighbours`` (len(vocabulary), n) holds the numbers of the words that are nearest to each word for the teacher.
    """
    made = []
    for size in np.exp(rng.uniform(np.log(3), np.log(48), size=count)).astype(int):
        seeds = rng.integers(len(vocabulary), size=1 if size < 6 else int(rng.integers(1, 3)))
        field = np.unique(neighbours[seeds])
        chosen = rng.choice(field, size=min(size, len(field)), replace=False)
        made.append(" ".join(vocabulary[i] for i in chosen))
    return made


def _passages(rng: np.random.Generator, paragraphs: list[str], count: int) -> list[str]:
    """Stretches of 40 to 200 words that begin where a paragraph does."""
    made = []
    for start in rng.choice(len(paragraphs), size=min(count, len(paragraphs)), replace=False):
        size = int(rng.integers(40, 201))
        words: list[str] = []
        for text in paragraphs[start : start + 8]:
            words += text.split()
            if len(words) >= size:
                break
        made.append(" ".join(words[:size]))
    return made
