"""BM25 alone on passages of real text, beside bm25s and tantivy; what hybrid search adds; how fast words are counted.

    python -m benchmarks.words TEXT QUERIES --work DIR [--sizes 6000 100000 1000000] [--rounds 3] [--k 10 1000]

TEXT is a folder of ``*.txt.gz``, QUERIES one of collections with ``queries.jsonl.gz``. A passage is two to four runs of
sentences from one neighbourhood of a text, 60 to 80 words in all, so words come in clusters as in real documents and a
sentence stands in several passages. Indexes are kept under ``--work``; 10,000,000 passages take ten times the million.

Rivals hold the same terms: bm25s our own weights (numpy, and numba where installed), tantivy our terms in one segment
with its own parameters, without counting the hits. Ours reads the query's text, the rivals are given its terms. Each
query's time is its fastest of the rounds, CPU of one thread.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import resource
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.corpus import Document
from searchapp.index.lexical.bm25 import LexicalIndex, add_lexical
from searchapp.index.storage.manifest import Build, Manifest
from searchapp.index.storage.segment import write_segment
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.search.fusion import Fusion, fuse
from searchapp.search.ranking import Stage

SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"“])")
SEGMENT = 8_192  # documents, as `searchapp build` has them
NEAR = 200  # sentences on either side of the first that the other ones of a passage come from
COLLECTIONS = ("scifact", "cranfield", "npl", "med", "cacm")


def sentences(folder: Path) -> list[list[str]]:
    """The sentences of each text of a folder, of 4 words or more, in their order."""
    texts = []
    for path in sorted(folder.glob("*.txt.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            parts = (part for line in file for part in SENTENCE.split(line.strip()))
            texts.append([part for part in parts if part.count(" ") >= 3])
    return texts


def passages(texts: list[list[str]], count: int, seed: int = 0) -> Iterator[str]:
    """``count`` passages of 60 to 80 words put together from the sentences; the same for a seed."""
    rng = np.random.default_rng(seed)
    sizes = np.array([len(text) for text in texts])
    for _ in range(count):
        text = texts[rng.choice(len(texts), p=sizes / sizes.sum())]
        first = int(rng.integers(len(text)))
        words: list[str] = []
        place = first
        while len(words) < 60:
            for number in range(place, min(place + int(rng.integers(1, 4)), len(text))):
                words += text[number].split()
            low, high = max(0, first - NEAR), min(len(text), first + NEAR)
            place = int(rng.integers(low, high))
        yield " ".join(words[:80])


def made(texts: Callable[[], list[list[str]]], count: int, work: Path) -> Path:
    """An index of ``count`` passages with words and with vectors of 2 numbers; it is made once."""
    path = work / f"passages-{count}"
    if (path / "made").exists():
        return path
    described = {"reference": {"model": "none", "adapters": []}, "fingerprint": {"sha256": "none"}, "dtype": "float32"}
    described["settings"] = {"pooling": "none", "document_max_length": 0, "max_length": 0, "bidirectional": True}
    drawn = passages(texts(), count)
    with Writer.open(path) as writer:
        manifest = Manifest(described, 2, Build(()))
        while manifest.rows < count:
            base = manifest.rows
            documents = [Document(str(n), next(drawn)) for n in range(base, min(count, base + SEGMENT))]
            segment, files = write_segment(writer, documents, np.eye(2, dtype=np.float32)[[0] * len(documents)], base)
            manifest = manifest.with_files(
                segments=(*manifest.segments, segment),
                rows=base + len(documents),
                files={**manifest.files, **files},
            )
        writer.commit(manifest.with_files(state="encoded"))
        began = time.process_time()
        add_lexical(writer)
        spent = time.process_time() - began
    print(f"{count:,} passages: words counted in {spent:.1f} s of CPU, {count / spent:,.0f} passages a second")
    (path / "made").write_text(f"{spent}\n")
    return path


def asked(texts: list[list[str]], collections: Path, count: int, seed: int = 1) -> dict[str, list[str]]:
    """Queries by kind: those of test collections, and fragments of 2 to 4 and of 10 to 20 words."""
    rng = np.random.default_rng(seed)
    real: list[str] = []
    for name in COLLECTIONS:
        with gzip.open(collections / name / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
            found = [json.loads(line)["text"] for line in file]
        real += [found[n] for n in rng.permutation(len(found))[: count // len(COLLECTIONS)]]

    def fragments(low: int, high: int) -> list[str]:
        drawn: list[str] = []
        while len(drawn) < count:
            text = texts[rng.integers(len(texts))]
            words = text[rng.integers(len(text))].split()
            length = int(rng.integers(low, high + 1))
            if len(words) >= length:
                start = int(rng.integers(len(words) - length + 1))
                drawn.append(" ".join(words[start : start + length]))
        return drawn

    return {"real": real, "short": fragments(2, 4), "long": fragments(10, 20)}


if __name__ == "__main__":
    texts = sentences(Path("../shared/data/text"))
    print(sum(map(len, texts)))
    for n, p in zip(range(3), passages(texts, 3)):
        print(p, "\n")
    for kind, qs in asked(texts, Path("../shared/data/retrieval"), 10).items():
        print(kind, qs)
    began = time.process_time()
    for _ in passages(texts, 20000):
        pass
    print(20000 / (time.process_time() - began))
    for count in (6_000, 100_000, 1_000_000):
        made(lambda: texts, count, Path("/work/bench/words"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
