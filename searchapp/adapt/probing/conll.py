"""Sentences with a label for each word, read from CoNLL column files, one file a split."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from searchapp.errors import AdaptError

SPLITS = {"train": ("train",), "dev": ("dev", "valid", "validation", "testa"), "test": ("test", "testb")}


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words and their labels, one label a word."""

    words: tuple[str, ...]
    labels: tuple[str, ...]


def find_split(folder: Path, split: str) -> Path:
    """Return the one file of a folder whose name has the split as a word, as in train.txt.gz; AdaptError if not one."""
    if not folder.is_dir():
        raise AdaptError(f"{folder} is no folder; expected one with a file for each split, such as train.txt, test.txt")
    names = sorted(item.name for item in folder.iterdir() if item.is_file() and not item.name.startswith("."))
    wanted = set(SPLITS.get(split, (split,)))
    found = [name for name in names if wanted & set(re.split(r"[^a-z0-9]+", name.lower()))]
    if len(found) != 1:
        held = ", ".join(found or names[:8]) or "no file"
        raise AdaptError(
            f"{folder} has {len(found)} files for the split {split!r} ({held}); expected one, such as {split}.txt or "
            f"{split}.txt.gz"
        )
    return folder / found[0]


def read_conll(path: Path, column: int, *, spans: bool = False) -> list[Sentence]:
    """Read a CoNLL column file: a word a line, blank lines between sentences, columns apart by tabs or else blanks.

    The first column is the word, ``column`` (from 1) its label. With ``spans``, labels are brought from IOB1 to IOB2,
    which leaves IOB2 as it is. ``-DOCSTART-`` lines are dropped. Raises AdaptError with file and line.
    """
    if column < 2:
        raise AdaptError(f"the label column is {column}; expected 2 or more, since column 1 is the word")
    sentences: list[Sentence] = []
    words: list[str] = []
    labels: list[str] = []
    width = 0
    for number, cells in _lines(path):
        if cells and (len(cells) != (width := width or len(cells)) or not all(cells)):
            raise AdaptError(
                f"{path}, line {number}: {sum(map(bool, cells))} columns; expected {width} as in the first line; "
                "correct the file"
            )
        if cells and width < column:
            raise AdaptError(
                f"{path} has {width} columns; expected the labels in column {column}; name another one with --column"
            )
        if cells and spans and not re.fullmatch(r"O|[BI]-.+", cells[column - 1]):
            raise AdaptError(
                f"{path}, line {number}: label {cells[column - 1]!r}; expected O, B-… or I-… in column {column}; name "
                "another one with --column"
            )
        if cells and cells[0] != "-DOCSTART-":
            words.append(cells[0])
            labels.append(cells[column - 1])
        elif words:
            sentences.append(Sentence(tuple(words), tuple(to_iob2(labels) if spans else labels)))
            words, labels = [], []
    if not sentences:
        raise AdaptError(f"{path} has no sentence; expected a word and its label on each line")
    return sentences


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers and cells, none for a blank line, and a blank one at the end."""
    number = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as lines
        ):
            for number, line in enumerate(lines, 1):
                text = line.strip(" \r\n")
                yield number, [] if not text.strip() else text.split("\t") if "\t" in text else re.split(" +", text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise AdaptError(
            f"{path} cannot be read: {error}; expected text in UTF-8, plain or compressed by gzip"
        ) from error
    yield number + 1, []


def to_iob2(labels: Sequence[str]) -> list[str]:
    """Bring one sentence's labels from IOB1, where I- may begin an entity, to IOB2, where B- always does.

    As in Tjong Kim Sang & Veenstra 1999: I-X that does not follow B-X or I-X begins an entity.
    """
    before = ["O", *labels[:-1]]
    return [
        f"B-{label[2:]}" if label.startswith("I-") and (last == "O" or last[2:] != label[2:]) else label
        for label, last in zip(labels, before, strict=True)
    ]
