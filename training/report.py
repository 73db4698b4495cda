"""Write the tables of docs/reproduction.md from the figures that reproduce.py has measured.

    python training/report.py --results runs/reproduction/results.jsonl --to docs/reproduction.md

What stands between the two marks in the file is replaced; the rest, which says what the figures mean, is left alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from reproduce import CURVE, POOLINGS, STEPS, WORDS, read_results

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
NAMES = {
    "causal": "causal",
    "bi": "bidirectional",
    "mntp": "+ MNTP",
    "causal+simcse": "causal + SimCSE",
    "bi+simcse": "bidirectional + SimCSE",
    "mntp+simcse": "+ MNTP + SimCSE",
    "bi+supervised": "bidirectional + supervised",
    "mntp+supervised": "+ MNTP + supervised",
}
TASKS = {"retrieval": "nDCG@10", "reranking": "MAP", "sts": "Spearman"}
POOLING_NAMES = {"eos_token": "EOS", "mean": "mean", "weighted_mean": "weighted"}


def cell(rows: list[dict[str, Any]], **wanted: Any) -> str:
    """Mean over seeds with the interval of the first; the seeds' spread where there are several."""
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    if not found:
        return "–"
    value = float(np.mean([row["value"] for row in found]))
    low, high = (float(np.mean([row[side] for row in found])) for side in ("low", "high"))
    spread = f" ±{np.std([row['value'] for row in found], ddof=1):.3f}" if len(found) > 1 else ""
    return f"{value:.3f}{spread} [{low:.3f}, {high:.3f}]"


def table(head: list[str], body: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    rows = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(row) + " |" for row in rows]


def tables(rows: list[dict[str, Any]]) -> str:
    """Everything between the marks."""
    seeds = len({row["seed"] for row in rows})
    lines = [f"Seeds: {seeds}. In brackets: 95 % bootstrap interval over queries or pairs, within each set.", ""]
    for task, metric in TASKS.items():
        lines += [f"**{task.upper() if task == 'sts' else task.capitalize()}** ({metric}, mean over the sets)", ""]
        body = [
            [label, *(cell(rows, variant=name, pooling=pooling, task=task) for pooling in POOLINGS)]
            for name, label in NAMES.items()
        ]
        lines += [*table(["", *(POOLING_NAMES[pooling] for pooling in POOLINGS)], body), ""]
    lines += ["**Word level** (accuracy of a linear probe)", ""]
    labels = [*WORDS, *(f"{task} (shifted)" for task in WORDS)]
    body = [
        [label, *(cell(rows, variant=name, pooling="words", task=task) for task in labels)]
        for name, label in NAMES.items()
        if "supervised" not in name
    ]
    lines += [*table(["", *labels], body), ""]
    lines += ["**Supervised steps** (mean pooling, nDCG@10 of retrieval)", ""]
    marks = [f"@{steps}" for steps in CURVE] + [""]
    body = [
        [
            NAMES[name],
            cell(rows, variant=name, pooling="mean", task="retrieval"),
            *(cell(rows, variant=f"{name}+supervised{mark}", pooling="mean", task="retrieval") for mark in marks),
        ]
        for name in ("bi", "mntp")
    ]
    lines += table(["", "0", *map(str, CURVE), str(STEPS)], body)
    return "\n".join(lines)


def main() -> None:
    """Replace the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("runs/reproduction/results.jsonl"))
    parser.add_argument("--to", type=Path, default=Path("docs/reproduction.md"))
    options = parser.parse_args()
    text = options.to.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = tables(read_results(options.results))
    options.to.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
