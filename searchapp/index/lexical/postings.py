"""Which terms the documents of one segment hold, and how often: one immutable file beside the segment's rows.

Little-endian, each part aligned: magic, counts of documents, terms and postings; the terms as sorted 64-bit hashes;
where each one's postings begin; the postings' document offsets; the documents' lengths in terms; the postings'
frequencies.
No weight is in it, as those depend on the whole corpus: adding and deleting documents leaves the other files alone.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.storage.directory import ChecksumWriter

MAGIC = b"SAPOSTS1"
HEAD = 32  # bytes: the magic and three counts
MOST = 2**16 - 1  # a term that stands more often in one document counts so often


def term_hash(term: str) -> int:
    """64 bits of BLAKE2b: a corpus of ten million terms has two alike with a probability of 3 in a million."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def write_postings(draft: ChecksumWriter, texts: Iterable[str], analyzer: Analyzer) -> None:
    """Count the terms of a segment's texts and write them. Memory grows with the segment's tokens, four bytes each."""
    tokens, lengths, hashes = _tokenise(texts, analyzer)
    order = np.argsort(hashes)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    documents = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    count = max(1, len(lengths))
    pairs, frequencies = np.unique(place[tokens] * count + documents, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(hashes) + 1, dtype=np.int64) * count)
    draft.write(MAGIC + np.array([len(lengths), len(hashes), len(pairs)], dtype="<u8").tobytes())
    for part, kind in (
        (hashes[order], "<u8"),
        (starts, "<i8"),
        (pairs % count, "<i4"),
        (lengths, "<i4"),
        (np.minimum(frequencies, MOST), "<u2"),
    ):
        draft.write(np.ascontiguousarray(part, dtype=kind).tobytes())


def _tokenise(texts: Iterable[str], analyzer: Analyzer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Term numbers of all tokens in a row, the count of tokens in each text, and the hash of each term."""
    seen = _Numbered()  # word → number; a text costs no more than a look for each of its words
    words, until = array("i"), array("i")
    for text in texts:
        words.extend(map(seen.__getitem__, analyzer.words(text)))
        until.append(len(words))
    terms = _Numbered()
    distinct = list(seen)  # each is stemmed once
    numbers = [
        -1 if analyzer.is_stopped(word) else terms[stem]
        for word, stem in zip(distinct, analyzer.stems(distinct), strict=True)
    ]
    tokens = np.array(numbers, dtype=np.int32)[np.frombuffer(words, dtype=np.int32)]
    kept = tokens >= 0
    ends = np.concatenate([[0], np.cumsum(kept)])[np.frombuffer(until, dtype=np.int32)]
    hashes = np.fromiter((term_hash(term) for term in terms), dtype=np.uint64, count=len(terms))
    return tokens[kept], np.diff(ends, prepend=0).astype(np.int32), hashes


class _Numbered(dict[str, int]):
    """Numbers from 0 on, given out as keys are asked for the first time."""

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        return number


class Postings:
    """One segment's postings, memory-mapped. ``lengths`` int32 (documents,) counts each document's terms."""

    def __init__(self, path: Path, documents: int) -> None:
        try:
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)  # whose slices take less time
            head = self._bytes[:HEAD].tobytes()
            counted, terms, postings = (int(number) for number in np.frombuffer(head[8:HEAD], dtype="<u8"))
        except (OSError, ValueError) as error:
            raise IndexStoreError(f"data/{path.name} cannot be read ({error}); {mend(path.parent.parent)}") from error
        sizes = [8 * terms, 8 * (terms + 1), 4 * postings, 4 * counted, 2 * postings]
        if head[:8] != MAGIC or counted != documents or len(self._bytes) != HEAD + sum(sizes):
            raise IndexStoreError(
                f"data/{path.name} does not hold the words of {documents} documents; {mend(path.parent.parent)}"
            )
        ends = np.cumsum([HEAD, *sizes]).tolist()
        kinds = ("<u8", "<i8", "<i4", "<i4", "<u2")
        parts = [self._bytes[start:end].view(kind) for start, end, kind in zip(ends, ends[1:], kinds, strict=False)]
        self._hashes, self._starts, self._documents, self.lengths, self._frequencies = parts

    def adds_up(self) -> bool:
        """Whether the frequencies of each document make up its length, but for terms that were counted short."""
        counted = np.bincount(self._documents, weights=self._frequencies, minlength=len(self.lengths))
        return len(counted) == len(self.lengths) and bool(
            np.all((counted == self.lengths) | (self.lengths > MOST) & (counted < self.lengths))
        )

    def holds(self, hashes: np.ndarray) -> np.ndarray:
        """Which terms stand here, of those with these hashes (uint64): bool."""
        if len(self._hashes) == 0:
            return np.zeros(len(hashes), dtype=bool)
        found: np.ndarray = self._hashes.take(self._hashes.searchsorted(hashes), mode="clip") == hashes
        return found

    def find(self, hashes: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """The terms that stand here, of those with these hashes (uint64).

        For each its place among the hashes, its documents (offsets in the segment, ascending) and its frequencies.
        """
        if len(self._hashes) == 0:
            return []
        places = self._hashes.searchsorted(hashes)
        here = (self._hashes.take(places, mode="clip") == hashes).nonzero()[0]
        places = places.take(here)
        spans = zip(
            here.tolist(), self._starts.take(places).tolist(), self._starts.take(places + 1).tolist(), strict=True
        )
        return [(number, self._documents[start:end], self._frequencies[start:end]) for number, start, end in spans]


def mend(root: Path) -> str:
    """What to do about postings that cannot be used."""
    return f"make them again with `searchapp lexical {root}`"
