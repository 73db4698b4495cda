"""The four kinds of task: what a model scores on each of its sets, and how far that can be trusted.

A figure comes with ``draws``: its value on resamples of the queries, pairs or sentences. They are the same resamples
for every model, so that the draws of two models, one minus the other, are the paired bootstrap of their difference.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from searchapp.adapt.probing.linear_probe import SPANS, ProbeTraining, label_words, read_task, score_labels, train_layer
from searchapp.adapt.probing.word_vectors import read_both
from searchapp.corpus.document import Document, passage_of
from searchapp.corpus.jsonl import read_jsonl
from searchapp.errors import AdaptError
from searchapp.evaluate.collection import load_collection
from searchapp.evaluate.metrics import score
from training.reproduction.plan import POOLINGS
from training.reproduction.vectors import Pass

DRAWS = 500
LENGTH = 256  # tokens of a document that are read
RETRIEVAL = ("med", "cacm", "scifact")
SCIFACT_SHARE = 5  # one document in so many, beside all that are judged
RERANKING = ("wikiqa/test", "trecqa/dev", "semeval-cqa-b/dev", "semeval-cqa-a/dev")
STS = ("stsb/dev", "sick-r/dev", "sts12/test", "sts13/test", "sts14/test", "sts15/test", "sts16/test")
WORDS = {"chunking": "conll2000", "ner": "conll2003", "pos": "ud-ewt-pos"}
TRAIN_SENTENCES, SCORED_SENTENCES = 2_000, 1_000
PROBE = ProbeTraining(steps=2_000, learning_rate=5e-3)
QUERY = "Given a question, retrieve passages that answer it:"

Figures = dict[str, Any]  # value, low, high, parts by set, draws


def resamples(name: str, count: int) -> np.ndarray:
    """Rows of each draw, (DRAWS, count): the same for every model."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).integers(count, size=(DRAWS, count))


def figures(parts: dict[str, tuple[float, np.ndarray]]) -> Figures:
    """The mean over sets of their values and draws."""
    draws = np.mean([drawn for _, drawn in parts.values()], axis=0)
    low, high = np.quantile(draws, [0.025, 0.975])
    sets = {}
    for name, (value, drawn) in parts.items():
        ends = np.quantile(drawn, [0.025, 0.975])
        sets[name] = [round(float(number), 4) for number in (value, *ends)]
    value = float(np.mean([value for value, _ in parts.values()]))
    return {
        "value": round(value, 5), "low": round(float(low), 5), "high": round(float(high), 5), "parts": sets,
        "draws": [round(float(number), 5) for number in draws],
    }  # fmt: skip


def _means(name: str, values: np.ndarray) -> tuple[float, np.ndarray]:
    return float(values.mean()), values[resamples(name, len(values))].mean(axis=1)


def sts_eos(model: Pass, data: Path) -> dict[str, Figures]:
    """``sts`` with the closing token's state as the vector; the encoder is one that was loaded with that pooling."""
    return sts(model, data, ("eos_token",))


def sts(model: Pass, data: Path, poolings: Sequence[str] = POOLINGS) -> dict[str, Figures]:
    """Spearman's correlation of cosines with judgements; a draw resamples pairs, with their ranks in the whole set."""
    rows = {}
    for name in STS:
        with gzip.open(data / "sts" / f"{name}.tsv.gz", "rt", encoding="utf-8") as file:
            rows[name] = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    every = [row[side] for name in STS for row in rows[name] for side in (0, 1)]
    vectors = model.pooled(every, poolings)
    found = {}
    for pooling in poolings:
        parts, begin = {}, 0
        for name in STS:
            both = vectors[pooling][begin : begin + 2 * len(rows[name])]
            begin += len(both)
            judged, cosines = np.array([float(row[2]) for row in rows[name]]), (both[::2] * both[1::2]).sum(axis=1)
            ranks = rankdata(judged), rankdata(cosines)
            drawn = [np.corrcoef(ranks[0][row], ranks[1][row])[0, 1] for row in resamples(name, len(judged))]
            parts[name.split("/")[0]] = float(spearmanr(judged, cosines).statistic), np.array(drawn)
        found[pooling] = figures(parts)
    return found


def reranking(model: Pass, data: Path) -> dict[str, Figures]:
    """Average precision of each query over its own candidates."""
    rows = {}
    for name in RERANKING:
        with gzip.open(data / "rerank" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows[name] = [json.loads(line) for line in file]
    asked = model.pooled([row["query"] for name in RERANKING for row in rows[name]], POOLINGS, QUERY)
    texts = [text for name in RERANKING for row in rows[name] for text in row["positive"] + row["negative"]]
    documents = model.pooled(texts, POOLINGS)
    found = {}
    for pooling in POOLINGS:
        parts, query, begin = {}, 0, 0
        for name in RERANKING:
            values = []
            for row in rows[name]:
                count = len(row["positive"]) + len(row["negative"])
                scores = documents[pooling][begin : begin + count] @ asked[pooling][query]
                hits = np.flatnonzero(np.argsort(-scores, kind="stable") < len(row["positive"])) + 1
                values.append(float(np.mean(np.arange(1, len(hits) + 1) / hits)))
                query, begin = query + 1, begin + count
            parts[name.split("/")[0]] = _means(name, np.array(values))
        found[pooling] = figures(parts)
    return found


def retrieval(model: Pass, data: Path, names: Sequence[str] = RETRIEVAL, share: int = SCIFACT_SHARE) -> Any:
    """nDCG@10 of each query, over all documents, compared exactly."""
    parts: dict[str, dict[str, Any]] = {pooling: {} for pooling in POOLINGS}
    for name in names:
        collection = load_collection(data / "retrieval" / name)
        records = (record.item for record in read_jsonl(collection.corpus, name))
        documents = [item for item in records if isinstance(item, Document)]
        judged = {document for row in collection.qrels.values() for document in row}
        if name == "scifact" and share > 1:
            documents = [doc for doc in documents if doc.id in judged or _hash(doc.id) % share == 0]
        queries = [query.id for query in collection.queries]
        asked = model.pooled([query.text for query in collection.queries], POOLINGS, QUERY)
        vectors = model.pooled([passage_of(doc) for doc in documents], POOLINGS)
        ids = [doc.id for doc in documents]
        for pooling in POOLINGS:
            run = {}
            for query, row in zip(queries, asked[pooling] @ vectors[pooling].T, strict=True):
                best = np.argsort(-row, kind="stable")[:100]
                run[query] = {ids[place]: float(row[place]) for place in best}
            values = score(run, collection.qrels, ["nDCG@10"]).per_query["nDCG@10"]
            parts[pooling][name] = _means(name, np.array([values[query] for query in sorted(values)]))
    return {pooling: figures(part) for pooling, part in parts.items()}


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def words(model: Pass, data: Path) -> dict[str, Figures]:
    """Accuracy of a linear probe, on a word's own states (``same``) and on those one token earlier (``shifted``)."""
    shown: dict[bool, dict[str, Any]] = {False: {}, True: {}}
    spans: dict[bool, dict[str, float]] = {False: {}, True: {}}
    for task, folder in WORDS.items():
        read = read_task(data / "wordlevel" / folder, task)
        read = replace(read, train=read.train[:TRAIN_SENTENCES], scored=read.scored[:SCORED_SENTENCES])
        classes = sorted({label for sentence in read.train for label in sentence.labels})
        labels = [label for sentence in read.scored for label in sentence.labels]
        begins = np.cumsum([0, *(len(sentence.words) for sentence in read.scored)])[:-1]
        size, rows = np.diff([*begins, len(labels)]), resamples(task, len(begins))
        with tempfile.TemporaryDirectory(prefix="searchapp-") as work:
            known, asked = (
                read_both(
                    model.encoder,
                    [item.words for item in sentences],
                    {shift: Path(work) / f"{name}-{shift}" for shift in shown},
                )
                for name, sentences in (("train", read.train), ("scored", read.scored))
            )
            for shift in shown:
                layer = train_layer(known[shift], read.train, classes, PROBE, PROBE.seed)
                answers = [classes[number] for number in label_words(layer, asked[shift].vectors)]
                right = np.array([answer == label for answer, label in zip(answers, labels, strict=True)], dtype=float)
                correct = np.add.reduceat(right, begins)
                shown[shift][task] = float(right.mean()), correct[rows].sum(axis=1) / size[rows].sum(axis=1)
                if task in SPANS:
                    with suppress(AdaptError):  # without seqeval there is no F1
                        spans[shift][task] = round(score_labels(read.scored, [answers], spans=True)["F1"].value, 4)
    return {name: figures(shown[shift]) | {"F1": spans[shift]} for shift, name in ((False, "same"), (True, "shifted"))}


MEASURES: dict[str, Callable[[Pass, Path], dict[str, Figures]]] = {
    "sts": sts, "words": words, "reranking": reranking, "retrieval": retrieval, "sts_eos": sts_eos,
}  # fmt: skip
