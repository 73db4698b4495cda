"""`--factory auto` beside raw FAISS indexes over the same vectors: recall@10, milliseconds, bytes, interleaved.

    python benchmarks/ann.py --vectors text.npy --queries queries.npy [--json out.json]
    python benchmarks/ann.py --synthetic 100000x4096

Times are CPU seconds of one thread, the median of rounds in which every rival is asked the same queries in turn;
ratios are to exact search over float32 (IndexFlatIP). Half of the queries calibrate, the other half measure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.vectors import Synthetic, array_blocks, index_of
from searchapp.index import VectorIndex, reindex
from searchapp.index.ann import AnnIndex, add, import_faiss, train
from searchapp.index.calibrate import DEPTH, Probes, Subject, calibrate
from searchapp.index.choice import Targets, lists_for, rotation, start
from searchapp.index.rescore import exact_scores
from searchapp.index.vectors import Held

ROUNDS = 5
SINGLE = 40  # queries asked one by one in a round
BATCH = 256
Search = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def rivals(rows: int, dim: int) -> list[str]:
    """Factory strings tuned by hand for comparison; each gets rescoring and the fastest setting at the target."""
    lists = lists_for(rows)
    turned = rotation(dim)
    fast = "RaBitQfs" if dim <= 1_024 else "RaBitQ"
    return [
        f"{turned},{fast}", f"{turned},RaBitQ2", "SQ8", "SQ4", f"IVF{lists},SQ8", f"IVF{lists // 2},SQ8",
        f"{turned},IVF{lists},RaBitQfs", f"{turned},IVF{lists // 4},RaBitQfs", f"IVF{lists},PQ{dim // 4}x4fs",
        f"PQ{dim // 4}x4fs", "HNSW32,SQ8", "HNSW16,SQ8",
    ]  # fmt: skip


def cpu_milliseconds(searches: dict[str, Search], queries: np.ndarray, size: int) -> dict[str, float]:
    """Median CPU milliseconds a query, asked ``size`` at a time, all rivals in turn."""
    spent: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(ROUNDS):
        for name, search in searches.items():
            began = time.process_time()
            for start_at in range(0, len(queries), size):
                search(queries[start_at : start_at + size])
            spent[name].append(1_000 * (time.process_time() - began) / len(queries))
    return {name: float(np.median(times)) for name, times in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="float16 or float32 .npy (n, dim)")
    parser.add_argument("--queries", type=Path, help="float32 .npy (m, dim)")
    parser.add_argument("--synthetic", help="ROWSxDIM")
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--rivals", type=int, default=12)
    parser.add_argument("--memory", type=float, help="bytes that `auto` may use")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    faiss = import_faiss()
    faiss.omp_set_num_threads(1)
    if options.synthetic:
        rows, dim = (int(part) for part in options.synthetic.split("x"))
        made = Synthetic(rows, dim)
        queries, blocks = made.queries(600), made.blocks
    else:
        stored = np.load(options.vectors, mmap_mode="r")
        rows, dim = stored.shape
        queries = np.load(options.queries).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)

        def blocks():  # noqa: ANN202
            return array_blocks(stored)

    half = len(queries) // 2
    calibrating, asked = queries[:half], queries[half:]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "index"
        index_of(path, blocks(), dim, calibrating)
        began = time.process_time()
        targets = Targets(options.recall, options.memory)
        manifest = reindex(path, pca=None, factory="auto", targets=targets)
        seconds = time.process_time() - began
        index = VectorIndex.open(path)
        flat = faiss.IndexFlatIP(dim)
        for block in index.vectors.blocks():
            flat.add(block)
        truth = Probes.over(asked, index.vectors.blocks())
        searches: dict[str, Search] = {"Flat (raw faiss)": lambda q: flat.search(q, DEPTH)}
        facts: dict[str, dict[str, object]] = {"Flat (raw faiss)": {"bytes": 4 * dim, "build": 0.0}}
        ann = manifest.ann or sys.exit("no index was made")
        shown = f"PCA{manifest.reduction.dim},{ann.factory}" if manifest.reduction else ann.factory
        chosen = f"auto: {shown}"
        searches[chosen] = lambda q: index.search_vectors(q, DEPTH)
        facts[chosen] = {
            "bytes": ann.measured["bytes"],
            "build": seconds,
            "candidates": ann.candidates,
        }
        facts[chosen] |= {"parameters": ann.parameters, "notes": ann.notes}
        known = Probes.over(calibrating, index.vectors.blocks())
        held = Held(
            np.concatenate([index.vectors.stored(np.arange(i, min(i + 65_536, rows))) for i in range(0, rows, 65_536)])
        )
        for factory in rivals(rows, dim)[: options.rivals]:
            began = time.process_time()
            choice = start(factory, reduced=False)
            raw = train(choice, index.vectors.sample(100_000))
            add(choice, raw, index.vectors.blocks())
            build_seconds = time.process_time() - began
            subject = Subject(AnnIndex(raw, {}), None, held)
            point = calibrate(subject, known, factory, options.recall)
            subject.ann.set(point.parameters)

            def rival(
                q: np.ndarray, subject: Subject = subject, depth: int = point.candidates
            ) -> tuple[np.ndarray, np.ndarray]:
                return subject.search(q, DEPTH, depth)

            searches[factory] = rival
            size = len(faiss.serialize_index(raw)) / rows
            facts[factory] = {
                "bytes": size,
                "build": build_seconds,
                "candidates": point.candidates,
                "parameters": point.parameters,
            }
            print(factory, facts[factory], file=sys.stderr, flush=True)  # noqa: T201
        single = cpu_milliseconds(searches, asked[:SINGLE], 1)
        batch = cpu_milliseconds(searches, np.resize(asked, (BATCH, dim)), BATCH)
        for name, search in searches.items():
            _, found = search(asked)
            facts[name] |= {
                "recall": truth.recall(exact_scores(index.vectors, asked, found)),
                "single": single[name],
                "batch": batch[name],
            }
    report(facts, rows, dim)
    if options.json:
        options.json.write_text(
            json.dumps({"rows": rows, "dim": dim, "recall": options.recall, "results": facts}, indent=1)
        )


def report(facts: dict[str, dict[str, object]], rows: int, dim: int) -> None:
    """Print a table, ratios to raw Flat."""
    flat = facts["Flat (raw faiss)"]
    print(f"{rows:,} x {dim}; Flat: {flat['single']:.2f} ms alone, {flat['batch']:.3f} ms in batches of {BATCH}")  # noqa: T201
    print(f"{'index':44} recall@10      x1    x256  bytes  1/   rescored  build CPU s")  # noqa: T201
    for name, fact in facts.items():
        faster = float(flat["single"]) / float(fact["single"]), float(flat["batch"]) / float(fact["batch"])
        size = float(fact["bytes"])
        setting = f"{name} {fact.get('parameters') or ''}"
        print(  # noqa: T201
            f"{setting:44} {fact['recall']:9.4f} {faster[0]:7.1f} {faster[1]:7.1f} {size:6.0f} {4 * dim / size:3.0f}  "
            f"{fact.get('candidates', 0):8} {fact['build']:8.1f}"
        )


if __name__ == "__main__":
    main()
