"""Vectors, BM25, the default fusion and every other one on test collections, with weights tuned on other queries.

    python -m benchmarks.fusion ../shared/data/retrieval --cache runs/fusion [--model M]
        [--tune scifact:train --tune checkthat2020:dev] [--reranker M --rerank COLLECTION] [--to docs/fusion.md]

``--reranker`` measures a reranker on top. The default has the weight that it is shipped with. Another weight is chosen
for the mean over the tuning sets and used on all collections. Where ``--own`` is not given, a collection's own tuning
set has no part in it, so that no figure is helped by documents of the same collection.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from searchapp.encoder import Encoder
from searchapp.evaluate import load_collection
from searchapp.evaluate.metrics import score
from searchapp.evaluate.protocol import examine, ranked
from searchapp.evaluate.tuning import BASES, METRIC, tune_fusion
from searchapp.index import VectorIndex, build
from searchapp.search import Fusion, Plan, run
from searchapp.search.fusion import DEFAULT, fuse
from searchapp.search.ranking import Stage

PLAIN = Fusion()


def opened(folder: Path, cache: Path, encoder: Encoder) -> VectorIndex:
    """The index of a collection, built once."""
    place = cache / f"{folder.name}-{encoder.fingerprint['sha256'][:12]}"
    corpus = load_collection(
        folder, sorted(path.name.split(".")[0] for path in (folder / "qrels").iterdir())[-1]
    ).corpus
    build([str(corpus)], place, encoder)
    return VectorIndex.open(place)


def measured(folder: Path, index: VectorIndex, encoder: Encoder, ways: dict[str, Fusion]) -> dict[str, float]:
    """nDCG@10 on the test judgements of each side alone and of each way to fuse them."""
    collection = load_collection(folder, "test")
    texts = [query.text for query in collection.queries]
    vectors = encoder.encode_queries(texts)
    stages = run(index, texts, vectors, Plan(k=100, fusion=PLAIN))
    corpus = examine(collection, index)
    found = {"vectors": stages[0], "BM25": stages[1]}
    for name, fusion in ways.items():
        if fusion.is_absolute:  # it looks up in the index what a side has not found
            found[name] = run(index, texts, vectors, Plan(k=100, fusion=fusion))[-1]
            continue
        scores, rows = fuse(stages[0], stages[1], fusion, 101)
        found[name] = Stage("fused", rows, scores)
    values = {}
    for name, stage in found.items():
        ranking, qrels = ranked(corpus, collection, stage.scores, stage.rows, 100)
        run_of = {query: dict(hits) for query, hits in ranking.items()}
        values[name] = score(run_of, qrels, [METRIC]).estimate(METRIC).value
    return values


def reranked(
    folder: Path, index: VectorIndex, encoder: Encoder, name: str, fusions: dict[str, Fusion]
) -> dict[str, float]:
    """nDCG@10 after a reranker saw the best 100 of the vectors, of BM25, and of each fusion."""
    from searchapp.rerank import load_reranker

    collection = load_collection(folder, "test")
    texts = [query.text for query in collection.queries]
    vectors, corpus = encoder.encode_queries(texts), examine(collection, index)
    reranker = load_reranker(name)
    plans = {
        "vectors": Plan(k=100, reranker=reranker),
        "BM25": Plan(k=100, dense=False, fusion=PLAIN, reranker=reranker),
        **{name: Plan(k=100, fusion=fusion, reranker=reranker) for name, fusion in fusions.items()},
    }
    values = {}
    for way, plan in plans.items():
        stage = run(index, texts, vectors, plan)[-1]
        ranking, qrels = ranked(corpus, collection, stage.scores, stage.rows, 100)
        run_of = {query: dict(hits) for query, hits in ranking.items()}
        values[f"{way}, reranked"] = score(run_of, qrels, [METRIC]).estimate(METRIC).value
    return values


def best_weight(curves: list[dict[float, float]]) -> float:
    """The weight with the highest mean over the tuning sets; of equal ones the one nearest to a half."""
    return max(
        curves[0], key=lambda weight: (round(float(np.mean([c[weight] for c in curves])), 6), -abs(weight - 0.5))
    )


def main() -> None:
    """Tune, measure, print and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--tune", action="append", metavar="COLLECTION:SPLIT")
    parser.add_argument("--own", action="store_true", help="tune with a collection's own other queries too")
    parser.add_argument("--reranker")
    parser.add_argument("--rerank", action="append", default=[], metavar="COLLECTION")
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    encoder = Encoder.load(options.model)
    folders = sorted(path for path in options.data.iterdir() if (path / "qrels").is_dir())
    indexes = {folder.name: opened(folder, options.cache, encoder) for folder in folders}

    curves: dict[Fusion, dict[str, dict[float, float]]] = {base: {} for base in BASES}
    for item in options.tune or ["scifact:train", "checkthat2020:dev"]:
        name, _, split = item.partition(":")
        tuned = tune_fusion(load_collection(options.data / name, split), indexes[name], encoder)
        for base in BASES:
            curves[base][name] = {one.fusion.weight: one.value for one in tuned.curve(base)}
            weight = best_weight([curves[base][name]])
            told = f"{curves[base][name][weight]:.4f} at {weight:g}"
            alone = f"vectors {tuned.dense.value:.4f}, BM25 {tuned.lexical.value:.4f}"
            print(f"{item} {base.method} {base.normalisation}: {told}; {alone}", flush=True)

    rows: list[dict[str, float]] = []
    for folder in folders:
        ways = {"default": DEFAULT, "RRF": PLAIN}
        for base in BASES:
            used = [curve for name, curve in curves[base].items() if options.own or name != folder.name]
            weight = best_weight(used or list(curves[base].values()))
            label = "weighted RRF" if base.method == "rrf" else base.normalisation
            ways[label] = replace(base, weight=weight)
        values = measured(folder, indexes[folder.name], encoder, ways)
        if options.reranker and folder.name in options.rerank:
            both = {"default": DEFAULT, "RRF": PLAIN, "minmax": ways["minmax"]}
            print(folder.name, reranked(folder, indexes[folder.name], encoder, options.reranker, both), flush=True)
        rows.append(values)
        told = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        weights = ", ".join(f"{name} {fusion.weight:g}" for name, fusion in ways.items() if name != "RRF")
        print(f"{folder.name:14} {told}   (weights: {weights})", flush=True)
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    print(f"{'mean':14} " + "  ".join(f"{name} {value:.4f}" for name, value in mean.items()))
    if options.to is not None:
        lines = [f"| collection | {' | '.join(mean)} |", "| --- " * (1 + len(mean)) + "|"]
        for name, row in [*zip([folder.name for folder in folders], rows, strict=True), ("mean", mean)]:
            lines.append(f"| {name} | {' | '.join(f'{row[way]:.4f}' for way in mean)} |")
        options.to.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
