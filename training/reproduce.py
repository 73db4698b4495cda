"""Repeat the LLM2Vec paper's ablation with a small decoder: which step brings what, and under which pooling.

    python training/reproduce.py --data ../shared/data --base runs/base/causal --work runs/reproduction

Trains the variants with ``searchapp adapt``'s own stages, measures them on retrieval, reranking, STS and word-level
tasks, and writes every figure to ``results.jsonl`` in the work directory, a line each; ``--write`` makes
docs/reproduction.md of it. What is there already is not made again. Data of any licence is read: nothing of it ships.

What the method loses: a decoder of 10 million parameters, trained on some million tokens, is no 7B model; its
findings are about the method at this size.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from searchapp import Encoder
from searchapp.adapt.config import StageConfig, make_stage
from searchapp.adapt.data import PairFile
from searchapp.adapt.probing.linear_probe import ProbeTraining, probe, read_task
from searchapp.adapt.run import run_stage
from searchapp.evaluate.collection import load_collection
from searchapp.evaluate.retrieval import IndexConfig, Request, evaluate_collection

log = logging.getLogger("training")

COLLECTIONS = ("med", "cranfield", "cacm")
RERANKING = ("wikiqa/test", "trecqa/dev", "semeval-cqa-b/dev")
STS = ("stsb/dev", "sick-r/dev", "sts12/test", "sts13/test", "sts14/test", "sts15/test", "sts16/test")
WORDS = {"chunking": "conll2000", "ner": "conll2003", "pos": "ud-ewt-pos"}
POOLINGS = ("eos_token", "mean", "weighted_mean")
CURVE, STEPS = (25, 50), 100  # supervised steps; a run is measured at the first ones too
LORA = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "autocast": True, "save_steps": 1_000}
LORA |= {"gradient_checkpointing": False, "warmup_steps": 10}
MNTP = LORA | {"steps": 200, "batch_size": 32, "max_length": 128, "learning_rate": 1e-3}
SIMCSE = LORA | {"steps": 100, "batch_size": 64, "max_length": 48, "learning_rate": 5e-4}
SUPERVISED = LORA | {"batch_size": 32, "max_length": 96, "learning_rate": 1e-3, "scale": 20.0}
PAIRS = {  # name -> (instruction, symmetric, share of its rows an epoch)
    "medquad-qa": ("Given a medical question, retrieve passages that answer it:", False, 0.3),
    "pubmedqa": ("Given a question, retrieve abstracts that answer it:", False, 1.0),
    "openstax-section-heading": ("Given a heading, retrieve the passage below it:", False, 0.5),
    "openstax-glossary": ("Given a term, retrieve its definition:", False, 0.5),
    "multi30k-captions": ("Retrieve captions of the same picture:", True, 0.1),
    "medical-question-pairs": ("Retrieve questions that ask the same:", True, 1.0),
}
BETWEEN = 1_000  # resamples of a bootstrap


def stages(seed: int) -> dict[str, tuple[str, StageConfig]]:
    """Name of each trained variant -> (what it starts from, its stage)."""
    mntp, simcse = make_stage("mntp", MNTP | {"seed": seed}), make_stage("simcse", SIMCSE | {"seed": seed})
    made: dict[str, tuple[str, StageConfig]] = {
        "mntp": ("base", mntp),
        "causal+simcse": ("base", make_stage("simcse", SIMCSE | {"seed": seed, "bidirectional": False})),
        "bi+simcse": ("base", simcse),
        "mntp+simcse": ("mntp", simcse),
    }
    for steps in (*CURVE, STEPS):
        settings = SUPERVISED | {"steps": steps, "schedule_steps": STEPS, "seed": seed}
        mark = "" if steps == STEPS else f"@{steps}"
        made[f"bi+supervised{mark}"] = ("base", make_stage("supervised", settings))
        made[f"mntp+supervised{mark}"] = ("mntp", make_stage("supervised", settings))
    return made


def train(options: argparse.Namespace, seed: int) -> dict[str, tuple[str, bool]]:
    """Train what is not there yet; variant -> (directory, whether it is bidirectional)."""
    texts = [options.data / "text" / f"{name}.txt.gz" for name in ("openstax-by", "standardebooks-cc0", "brown-nc")]
    sentences = [options.data / "text" / "simcse-sentences.txt.gz"]
    pairs = [
        PairFile(options.data / "pairs" / f"{name}.jsonl.gz", instruction, symmetric=symmetric, share=share)
        for name, (instruction, symmetric, share) in PAIRS.items()
    ]
    work = options.work / f"seed-{seed}"
    places = {"base": str(options.base)}
    variants = {"causal": (str(options.base), False), "bi": (str(options.base), True)}
    for name, (start, stage) in stages(seed).items():
        if options.only and name not in options.only and name != "mntp":
            continue
        to = work / name
        run_stage(
            stage,
            model=places[start],
            to=to,
            texts={"mntp": texts, "simcse": sentences}.get(stage.name, []),
            pairs=pairs if stage.name == "supervised" else [],
        )
        places[name] = str(to)
        variants[name] = (str(to), not name.startswith("causal"))
        log.info("seed %d: trained %s", seed, name)
    return variants


def retrieval(encoder: Encoder, data: Path) -> dict[str, np.ndarray]:
    """nDCG@10 of each query of each collection."""
    found = {}
    for name in COLLECTIONS:
        collection = load_collection(data / "retrieval" / name)
        with tempfile.TemporaryDirectory() as work:
            result = evaluate_collection(
                collection,
                encoder,
                [IndexConfig(factory="Flat")],
                Path(work) / "index",
                Request(metrics=["nDCG@10"], depth=100),
            )[0]
        found[name] = np.array(list(result.scores.per_query["nDCG@10"].values()))
    return found


def reranking(encoder: Encoder, data: Path) -> dict[str, np.ndarray]:
    """Average precision of each query over its own candidates."""
    found = {}
    for name in RERANKING:
        with gzip.open(data / "rerank" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        queries = encoder.encode_queries([row["query"] for row in rows])
        documents = encoder.encode_documents([text for row in rows for text in row["positive"] + row["negative"]])
        values, start = [], 0
        for query, row in zip(queries, rows, strict=True):
            count = len(row["positive"]) + len(row["negative"])
            order = np.argsort(-(documents[start : start + count] @ query), kind="stable")
            hits = np.flatnonzero(order < len(row["positive"])) + 1
            values.append(float(np.mean(np.arange(1, len(hits) + 1) / hits)))
            start += count
        found[name.split("/")[0]] = np.array(values)
    return found


def similarity(encoder: Encoder, data: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(judged, computed) similarity of each pair of sentences."""
    found = {}
    for name in STS:
        with gzip.open(data / "sts" / f"{name}.tsv.gz", "rt", encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        one, other = (encoder.encode([row[side] for row in rows]) for side in (0, 1))
        found[name.split("/")[0]] = (np.array([float(row[2]) for row in rows]), (one * other).sum(1))
    return found


def mean_of_means(parts: list[np.ndarray]) -> tuple[float, float, float]:
    """Mean over sets of the means within them, with a 95 % bootstrap interval that resamples within each set."""
    rng = np.random.default_rng(0)
    draws = np.mean([[rng.choice(part, len(part)).mean() for _ in range(BETWEEN)] for part in parts], axis=0)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.mean([part.mean() for part in parts])), float(low), float(high)


def mean_correlation(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, float]:
    """Mean over sets of Spearman's correlation; the bootstrap resamples pairs, with their ranks in the whole set."""
    rng = np.random.default_rng(0)
    drawn = []
    for judged, computed in parts:
        ranks = rankdata(judged), rankdata(computed)
        rows = rng.integers(len(judged), size=(300, len(judged)))
        drawn.append([np.corrcoef(ranks[0][row], ranks[1][row])[0, 1] for row in rows])
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return float(np.mean([spearmanr(*part).statistic for part in parts])), float(low), float(high)


def sentence_scores(encoder: Encoder, data: Path) -> Iterator[dict[str, Any]]:
    """Retrieval, reranking and STS, each with its interval."""
    found = retrieval(encoder, data)
    yield _row("retrieval", mean_of_means(list(found.values())), {k: float(v.mean()) for k, v in found.items()})
    ranked = reranking(encoder, data)
    yield _row("reranking", mean_of_means(list(ranked.values())), {k: float(v.mean()) for k, v in ranked.items()})
    pairs = similarity(encoder, data)
    parts = {name: float(spearmanr(*part).statistic) for name, part in pairs.items()}
    yield _row("sts", mean_correlation(list(pairs.values())), parts)


def _row(task: str, estimate: tuple[float, float, float], parts: dict[str, float]) -> dict[str, Any]:
    value, low, high = estimate
    return {"task": task, "value": value, "low": low, "high": high, "parts": parts}


def measure(options: argparse.Namespace, seed: int, variants: dict[str, tuple[str, bool]]) -> None:
    """Measure what is not measured yet; a line of JSON each."""
    path = options.work / "results.jsonl"
    done = {(row["seed"], row["variant"], row["pooling"], row["task"]) for row in read_results(path)}

    def write(row: dict[str, Any]) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        log.info("%s", {key: value for key, value in row.items() if key != "parts"})

    chosen = {name: found for name, found in variants.items() if not options.only or name in options.only}
    for pooling in ("mean", *(other for other in POOLINGS if other != "mean")):
        for name, (place, bidirectional) in chosen.items():
            if (pooling != "mean" and "@" in name) or (seed, name, pooling, "sts") in done:
                continue
            encoder = Encoder.load(place, pooling=pooling, bidirectional=bidirectional, document_max_length=256)
            for row in sentence_scores(encoder, options.data):
                write({"seed": seed, "variant": name, "pooling": pooling} | row)
        if pooling == "mean":
            for name, (place, bidirectional) in chosen.items():
                if "supervised" not in name:
                    for row in word_scores(Encoder.load(place, bidirectional=bidirectional), name, seed, options, done):
                        write({"seed": seed, "variant": name, "pooling": "words"} | row)


def word_scores(
    encoder: Encoder, name: str, seed: int, options: argparse.Namespace, done: set[tuple[int, str, str, str]]
) -> Iterator[dict[str, Any]]:
    """Accuracy of a linear probe on each task; for models trained with MNTP also on states one token earlier."""
    for task, folder in WORDS.items():
        data = read_task(options.data / "wordlevel" / folder, task)
        for shift in (False, True) if name.startswith("mntp") else (False,):
            label = f"{task}{' (shifted)' if shift else ''}"
            if (seed, name, "words", label) not in done:
                result = probe(encoder, data, shift=shift, training=ProbeTraining(steps=4_000, learning_rate=5e-3))
                score = result.scores["accuracy"]
                parts = {key: value.value for key, value in result.scores.items()}
                yield _row(label, (score.value, score.low, score.high), parts)


def read_results(path: Path) -> list[dict[str, Any]]:
    """The figures so far."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True, help="a causal language model with its tokenizer")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduction"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--only", nargs="*", help="variants to train and measure; default: all")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    options.work.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        measure(options, seed, train(options, seed))


if __name__ == "__main__":
    main()
