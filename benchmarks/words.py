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
from functools import cache
from importlib.util import find_spec
from pathlib import Path

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


def of_bm25s(index: LexicalIndex, terms: set[str], backend: str) -> Callable[[list[str], int], object]:
    """A search of bm25s over our weights of the given terms: to it, an index that holds no others."""
    import bm25s

    found = {term: part for term in sorted(terms) if len((part := index._weight(term))[0])}
    rival = bm25s.BM25(k1=index.part.k1, b=index.part.b, method="lucene", backend=backend)
    rival.vocab_dict = {term: number for number, term in enumerate(found)}
    rival.unique_token_ids_set = set(range(len(found)))
    rival.nonoccurrence_array = None
    rival.scores = {
        "data": np.concatenate([weights for _, weights in found.values()]),
        "indices": np.concatenate([rows for rows, _ in found.values()]),
        "indptr": np.cumsum([0, *(len(rows) for rows, _ in found.values())]),
        "num_docs": index.rows,
    }
    if backend == "numba":
        rival.activate_numba_scorer()

    def search(asked: list[str], k: int) -> object:
        numbers = rival.get_tokens_ids(asked)
        if not numbers:
            return None
        if backend == "numba":
            return rival.retrieve([numbers], k=min(k, index.rows), show_progress=False, n_threads=1)
        return rival._get_top_k_results(numbers, k=min(k, index.rows))

    return search


def of_tantivy(index: LexicalIndex, snapshot: Snapshot, place: Path) -> Callable[[list[str], int], object]:
    """A search of tantivy over the same terms in one segment, which is made once."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("words", stored=False, tokenizer_name="whitespace", index_option="freq")
    schema = builder.build()
    if not (place / "made").exists():
        place.mkdir(parents=True, exist_ok=True)
        writer = tantivy.Index(schema, path=str(place)).writer(heap_size=500_000_000, num_threads=1)
        began = time.process_time()
        for number in range(len(snapshot.segments)):
            for text in snapshot.documents.column(number, "text"):
                document = tantivy.Document()
                document.add_text("words", " ".join(index.analyzer.terms(text.as_py())))
                writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        print(f"tantivy made in {time.process_time() - began:.0f} s of CPU, our analysis among it")
        (place / "made").touch()
    opened = tantivy.Index(schema, path=str(place))
    opened.reload()
    searcher = opened.searcher()
    print(f"tantivy: {searcher.num_docs:,} documents in {searcher.num_segments} segments", flush=True)

    def search(asked: list[str], k: int) -> object:
        parts = [(tantivy.Occur.Should, tantivy.Query.term_query(schema, "words", term, "freq")) for term in asked]
        return searcher.search(tantivy.Query.boolean_query(parts), k, count=False)

    return search


def hybrid(index: LexicalIndex, queries: list[str], rounds: int) -> np.ndarray:
    """Milliseconds that hybrid search by ranks adds to a dense one, for each query: BM25 and fusion to 10 hits.

    The dense side has every third of its rows in common with that of the words.
    """
    fusion, rng = Fusion(), np.random.default_rng(2)
    depth = min(fusion.depth, index.rows)
    spent = np.full((rounds, len(queries)), np.inf)
    for number, query in enumerate(queries):
        rows = rng.permutation(index.rows)[:depth]
        words = index.search([query], depth)[1][0]
        rows[::3] = np.where(words[::3] >= 0, words[::3], rows[::3])
        rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
        dense = Stage("exact", rows[None], np.linspace(0.9, 0.5, len(rows), dtype=np.float32)[None])
        for turn in range(rounds):
            began = time.thread_time()
            scores, rows = index.search([query], depth)
            fuse(dense, Stage("bm25", rows, scores), fusion, 10)
            spent[turn, number] = time.thread_time() - began
    return 1_000 * spent.min(0)


def measured(
    index: LexicalIndex, rivals: dict[str, Callable[[list[str], int], object]], queries: list[str], k: int, rounds: int
) -> dict[str, np.ndarray]:
    """Milliseconds of each query, its fastest of the rounds; ``first`` is ours when no word of it was asked before."""
    terms = [index.analyzer.query_terms(query) for query in queries]
    spent = {name: np.full(len(queries), np.inf) for name in ("searchapp", *rivals)}
    for _ in range(rounds):
        for number, query in enumerate(queries):
            began = time.thread_time()
            index.search([query], k)
            spent["searchapp"][number] = min(spent["searchapp"][number], time.thread_time() - began)
            for name, search in rivals.items():
                began = time.thread_time()
                search(terms[number], k)
                spent[name][number] = min(spent[name][number], time.thread_time() - began)
    return {name: 1_000 * times for name, times in spent.items()}


def told(times: np.ndarray) -> str:
    """Mean, median and 90th of a hundred."""
    return f"mean {times.mean():7.3f}  p50 {np.median(times):7.3f}  p90 {np.quantile(times, 0.9):7.3f}"


def report(options: argparse.Namespace, count: int) -> None:
    """Measure on ``count`` passages and print."""
    texts = cache(lambda: sentences(options.text))
    snapshot = Snapshot.open(made(texts, count, options.work))
    place = options.work / f"queries-{options.queries}.json"
    if not place.exists():
        place.write_text(json.dumps(asked(texts(), options.collections, options.queries)), encoding="utf-8")
    kinds: dict[str, list[str]] = json.loads(place.read_text(encoding="utf-8"))
    began = time.thread_time()
    index = LexicalIndex(snapshot)
    index.search(["bees"], 10)
    print(f"\n{count:,} passages: opened and asked once in {time.thread_time() - began:.3f} s of CPU")
    for kind, queries in kinds.items():
        spent = []
        for query in queries:
            began = time.thread_time()
            index.search([query], 10)
            spent.append(1_000 * (time.thread_time() - began))
        print(f"{kind:6} asked first     {told(np.array(spent))}")
    terms = {term for queries in kinds.values() for query in queries for term in index.analyzer.query_terms(query)}
    rivals = {"bm25s": of_bm25s(index, terms, "numpy")}
    if find_spec("numba") is not None:
        rivals["bm25s numba"] = of_bm25s(index, terms, "numba")
    if find_spec("tantivy") is not None:
        rivals["tantivy"] = of_tantivy(index, snapshot, options.work / f"tantivy-{count}")
    for kind, queries in kinds.items():
        for k in options.k:
            times = measured(index, rivals, queries, k, options.rounds)
            for name, values in times.items():
                ratio = np.median(values) / np.median(times["searchapp"])
                print(f"{kind:6} k {k:5} {name:12} {told(values)}  ratio of medians {ratio:5.2f}", flush=True)
    for kind, queries in kinds.items():
        print(f"{kind:6} hybrid adds      {told(hybrid(index, queries, options.rounds))}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB, rivals and all")


def main() -> None:
    """Measure at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("collections", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[6_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=100, help="of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--k", type=int, nargs="+", default=[10, 1_000])
    options = parser.parse_args()
    for count in options.sizes:
        report(options, count)


if __name__ == "__main__":
    main()
