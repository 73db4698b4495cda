"""Filtered search beside the search without a filter: recall and time by share of the rows passing and kind of index.

    python benchmarks/filters.py search VECTORS.npy QUERIES.npy --work DIR [--factory Flat ...]
    python benchmarks/filters.py masks --rows 1000000 --work DIR

``search`` gives every document a random place (``place < 0.05`` lets 5 % pass, anywhere) and its place on the first
principal axis (``axis < 0.05``: those at one end, far from most queries). Recall@10 against exact search among the
rows that pass; CPU milliseconds of one thread, medians, with and without the filter in turn. ``masks`` times the mask
of filters over documents with numbers, few and many texts, and missing keys: of an index just opened, of a second
expression, of one that was asked before. What was stored in DIR is used again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.bench.vectors import BLOCK
from searchapp.corpus import Document
from searchapp.index import Filter, VectorIndex, reindex
from searchapp.index.ann.faiss_lib import import_faiss
from searchapp.index.ann.queries import write_queries
from searchapp.index.storage.manifest import Build, Manifest
from searchapp.index.storage.segment import write_segment
from searchapp.index.storage.writer import Writer

FACTORIES = ("Flat", "RR,PQ{pairs}x4fs", "HR,RaBitQfs", "RR,IVF256,PQ{pairs}x4fs", "IVF512,SQ8", "HNSW32,SQ8")
SHARES = (0.5, 0.05, 0.01, 0.001)
LANGS = ("en", "de", "fr", "es", "it", "pl", "ja", "zh")
MASKS = (
    'year >= 2020 and lang in ["de", "fr"]',
    'user == "user-012345"',
    'not lang == "en"',
    "score < 0.1",
    "not score < 0.1 or ok == true",
)
Metadata = Callable[[int, int], list[dict[str, Any]]]


def store(path: Path, vectors: np.ndarray, probes: np.ndarray, metadata: Metadata) -> None:
    """Store vectors with the metadata of rows from a number on, some thousand at a time, without a search index."""
    described: dict[str, Any] = {"reference": {"model": "none", "adapters": []}, "fingerprint": {"sha256": "none"}}
    described["dtype"] = "float32"
    described["settings"] = {"pooling": "none", "document_max_length": 0, "max_length": 0, "bidirectional": True}
    with Writer.open(path) as writer:
        manifest = Manifest(described, vectors.shape[1], Build(()))
        while (base := manifest.rows) < len(vectors):
            block = np.array(vectors[base : base + BLOCK], dtype=np.float32)
            documents = [
                Document(str(base + place), "-", metadata=fields)
                for place, fields in enumerate(metadata(base, len(block)))
            ]
            segment, files = write_segment(writer, documents, block, base)
            manifest = manifest.with_files(
                segments=(*manifest.segments, segment), rows=base + len(block), files={**manifest.files, **files}
            )
        with writer.draft("probes") as (name, draft, entries):
            write_queries(draft, probes)
        writer.commit(manifest.with_files(probes=name, files=entries, state="encoded"))


def places(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """A random place of each row, and its place on the first principal axis, from 0 to 1."""
    rng = np.random.default_rng(0)
    sample = vectors[np.sort(rng.choice(len(vectors), min(len(vectors), 20_000), replace=False))].astype(np.float32)
    axis = np.linalg.svd(sample - sample.mean(0), full_matrices=False)[2][0]
    along = np.concatenate([vectors[begin : begin + BLOCK] @ axis for begin in range(0, len(vectors), BLOCK)])
    rank = np.empty(len(vectors))
    rank[np.argsort(along)] = np.arange(len(vectors))
    return {"place": rng.permutation(len(vectors)) / len(vectors), "axis": rank / len(vectors)}


def milliseconds(calls: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Median CPU time of each call, in turn; a call gets the number of the round."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            began = time.process_time()
            call(number)
            spent[name].append(1_000 * (time.process_time() - began))
    return {name: float(np.median(times)) for name, times in spent.items()}


def search(options: argparse.Namespace) -> None:
    """Measure filtered searches and print a table."""
    vectors, queries = np.load(options.vectors, mmap_mode="r"), np.load(options.queries).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    path = options.work / "search"
    if not path.exists():
        of_rows = places(vectors)

        def metadata(base: int, count: int) -> list[dict[str, Any]]:
            return [{key: float(ranks[base + place]) for key, ranks in of_rows.items()} for place in range(count)]

        store(path, vectors, queries[:300], metadata)
    asked = queries[300:500]
    for template in options.factory or FACTORIES:
        factory = template.format(pairs=vectors.shape[1] // 2)
        ann = reindex(path, factory=factory).ann
        index = VectorIndex.open(path)
        exact = asked @ np.concatenate([*index.vectors.blocks()]).T
        print(f"{factory}: {ann.parameters if ann else ''}, {ann.candidates if ann else 0} candidates")  # noqa: T201
        for key in ("place", "axis"):
            for share in SHARES:
                row(index, f"{key} < {share}", asked, exact)


def row(index: VectorIndex, expression: str, asked: np.ndarray, exact: np.ndarray) -> None:
    """Measure one filter and print its line."""
    filtered = Filter(expression)
    passing = index.allowed(filtered)
    among = exact if passing is None else np.where(passing, exact, -np.inf)
    least = np.partition(among, -10, axis=1)[:, -10:].min(1)
    began = time.process_time()
    index.search_vectors(asked[:1], 10, filter=filtered)
    first = 1_000 * (time.process_time() - began)
    scores, rows = index.search_vectors(asked, 10, filter=filtered)
    one = np.concatenate([index.search_vectors(query[None], 10, filter=filtered)[0] for query in asked])
    recalls = [float((found >= least[:, None] - 4e-6).mean()) for found in (one, scores)]
    spent = milliseconds(
        {
            "plain": lambda i: index.search_vectors(asked[i : i + 1], 10),
            "filtered": lambda i: index.search_vectors(asked[i : i + 1], 10, filter=filtered),
        },
        len(asked),
    )
    batch = milliseconds(
        {
            "plain": lambda _: index.search_vectors(asked, 10),
            "filtered": lambda _: index.search_vectors(asked, 10, filter=filtered),
        },
        3,
    )
    print(  # noqa: T201
        f"  {expression:14s} recall {recalls[0]:.4f}, in a batch {recalls[1]:.4f}; first {first:.1f} ms, then "
        f"{spent['filtered']:.3f} beside {spent['plain']:.3f} ms: {spent['filtered'] / spent['plain']:.2f} x; "
        f"batch {batch['filtered'] / batch['plain']:.2f} x",
        flush=True,
    )


def masks(options: argparse.Namespace) -> None:
    """Measure masks and print a table."""
    path = options.work / f"masks-{options.rows}"
    if not path.exists():
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(options.rows, 16)).astype(np.float16)
        vectors /= np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True).astype(np.float16)

        def metadata(_: int, count: int) -> list[dict[str, Any]]:
            found = []
            users, years = rng.integers(0, 100_000, count), rng.integers(1990, 2026, count)
            langs, part = rng.choice(len(LANGS), count), rng.random(count)
            for user, year, lang, score in zip(users, years, langs, part.tolist(), strict=True):
                one = {"lang": LANGS[lang], "year": int(year), "user": f"user-{user:06d}"}
                found.append({**one, **({"score": score} if score < 0.3 else {"ok": True} if score > 0.9 else {})})
            return found

        store(path, vectors, vectors[:300].astype(np.float32), metadata)
        reindex(path, factory="Flat")
    for expression in MASKS:
        times = []
        for _ in range(options.rounds):
            index = VectorIndex.open(path)
            _ = index.columns  # opens the files
            spent = []
            for asked in map(Filter, (expression, f"({expression})", f"({expression})")):
                began = time.process_time()
                passing = index.allowed(asked)
                spent.append(1_000 * (time.process_time() - began))
            times.append(spent)
        first, second, again = np.median(times, axis=0)
        count = 0 if passing is None else int(passing.sum())
        print(  # noqa: T201
            f"{expression:40s} {count:9,} pass: first {first:.1f} ms, another of the same keys {second:.1f} ms, "
            f"again {again:.4f} ms",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    one = modes.add_parser("search")
    one.add_argument("vectors", type=Path)
    one.add_argument("queries", type=Path)
    one.add_argument("--factory", nargs="*")
    one.set_defaults(run=search)
    two = modes.add_parser("masks")
    two.add_argument("--rows", type=int, default=1_000_000)
    two.add_argument("--rounds", type=int, default=5)
    two.set_defaults(run=masks)
    for mode in (one, two):
        mode.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    import_faiss().omp_set_num_threads(1)
    options.run(options)


if __name__ == "__main__":
    main()
