"""The tables of docs/reproduction.md, made of the results of the cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from training.reproduction.cells import Places
from training.reproduction.plan import CURVE, POOLINGS, SEEDS, SUPERVISED_STEPS, variants

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reproduction.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
POOLING_NAMES = {"last_token": "last token", "mean": "mean", "weighted_mean": "weighted mean"}
MAIN = (
    "causal", "bi", "mntp", "causal+simcse", "bi+simcse", "mntp+simcse", "bi+supervised", "mntp+supervised",
)  # fmt: skip
METRICS = {
    "sts": "STS (Spearman, mean of seven sets)",
    "retrieval": "Retrieval (nDCG@10, mean of MED, CACM and a fifth of SciFact)",
    "reranking": "Reranking (MAP, mean of four sets)",
}
# What the paper finds: (what, variant, what it is compared with, tasks)
FINDINGS = (
    ("Bidirectional attention without training", "bi", "causal"),
    ("MNTP repairs it", "mntp", "bi"),
    ("MNTP against the causal model", "mntp", "causal"),
    ("SimCSE after MNTP", "mntp+simcse", "mntp"),
    ("SimCSE without MNTP", "bi+simcse", "bi"),
    ("Supervised with MNTP against without", "mntp+supervised", "bi+supervised"),
    ("Supervised against SimCSE, both after MNTP", "mntp+supervised", "mntp+simcse"),
)
Results = dict[tuple[str, str, int], dict[str, Any]]


def read_results(places: Places) -> Results:
    """The figures of each cell that is there, by variant, task and seed."""
    found = {}
    for path in sorted(places.results.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        found[row["variant"], row["task"], row["seed"]] = row["figures"]
    return found


def difference(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float, float]:
    """By how much the first is ahead, and its 95 % interval: the resamples of both are the same."""
    draws = np.array(one["draws"]) - np.array(other["draws"])
    low, high = np.quantile(draws, [0.025, 0.975])
    return one["value"] - other["value"], float(low), float(high)


def needed(count: int, gap: tuple[float, float, float]) -> int:
    """How many queries would decide, were the difference what it seems: half the interval equal to it."""
    value, low, high = gap
    half = (high - low) / 2
    return int(np.ceil(count * (half / max(abs(value), 1e-4)) ** 2))


def _cell(results: Results, name: str, task: str, key: str) -> str:
    found = [results[name, task, seed][key] for seed in SEEDS if (name, task, seed) in results]
    if not found:
        return "–"
    first = found[0]
    text = f"{first['value']:.3f} [{first['low']:.3f}, {first['high']:.3f}]"
    return text + "".join(f"; seed 2 {again['value']:.3f}" for again in found[1:])


def _table(head: list[str], body: list[list[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(row) + " |" for row in rows] + [""]


def _differences(results: Results) -> list[str]:
    body = []
    for what, name, other in FINDINGS:
        for task, key in (("sts", "mean"), ("words", "same"), ("reranking", "mean"), ("retrieval", "mean")):
            pair = [results.get((variant, task, SEEDS[0])) for variant in (name, other)]
            if pair[0] is None or pair[1] is None:
                continue
            gap = difference(pair[0][key], pair[1][key])
            decided = "yes" if gap[1] > 0 or gap[2] < 0 else "no"
            body.append([what, task, f"{gap[0]:+.3f} [{gap[1]:+.3f}, {gap[2]:+.3f}]", decided])
    return _table(["", "task", "difference", "decided"], body)


def tables(results: Results) -> str:
    """Everything between the marks."""
    known = variants(SEEDS[0])
    lines = [
        "In brackets: 95 % bootstrap interval over queries, pairs or sentences within each set. A difference is "
        "paired: both models are resampled alike. Mean pooling, and a word's own states, unless said otherwise.", "",
        "**Differences**", "", *_differences(results),
    ]  # fmt: skip
    for task, title in METRICS.items():
        body = [[known[name].label, *(_cell(results, name, task, key) for key in POOLINGS)] for name in MAIN]
        head = ["", *(POOLING_NAMES[key] for key in POOLINGS)]
        if task == "sts":
            head.append("closing token")
            body = [[*row, _cell(results, name, "sts_eos", "eos_token")] for name, row in zip(MAIN, body, strict=True)]
        lines += [f"**{title}**", "", *_table(head, body)]
    body = [[known[name].label, *(_cell(results, name, "words", key) for key in ("same", "shifted"))] for name in MAIN]
    lines += ["**Word level** (accuracy of a linear probe, mean of chunking, NER and POS)", ""]
    lines += _table(["", "own states", "one token earlier"], body)
    lines += ["**Supervised steps** (mean pooling, nDCG@10 of retrieval)", ""]
    curve = []
    for start, before in (("bi+supervised", "bi"), ("mntp+supervised", "mntp")):
        names = [before, *(f"{start}@{steps}" for steps in CURVE), start]
        curve.append([known[start].label, *(_cell(results, name, "retrieval", "mean") for name in names)])
    lines += _table(["", "0", *map(str, CURVE), str(SUPERVISED_STEPS)], curve)
    lines += ["**MNTP by its steps and masks**", ""]
    names = ["bi", "mntp@100", "mntp@500", "mntp", "mask-blank", "mask-rate-0.4", "mask-eos"]
    body = [
        [known[name].label, _cell(results, name, "sts", "mean"), _cell(results, name, "words", "same")]
        for name in names
    ]
    return "\n".join([*lines, *_table(["", "STS", "word level"], body)])


def write_report(places: Places, page: Path = PAGE) -> None:
    """Replace what stands between the marks of the page."""
    text = page.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{head}{BEGIN}\n\n{tables(read_results(places))}\n{END}{tail}", encoding="utf-8")
