"""Small data and settings that the tests of training share."""

from __future__ import annotations

import json
import random
from pathlib import Path

from searchapp.adapt.config import StageConfig, make_stage

WORDS = "bees fly make honey hives search engine quality measure fox dog quick brown lazy web query passages".split()
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SMALL = {"steps": 3, "batch_size": 4, "max_length": 16, "device": "cpu", "dtype": "float32", "save_steps": 100}


def write_text(path: Path, lines: int = 40, words: int = 12, seed: int = 0) -> Path:
    """Lines of random words."""
    rng = random.Random(seed)
    path.write_text("".join(" ".join(rng.choices(WORDS, k=words)) + "\n" for _ in range(lines)))
    return path


def write_pairs(path: Path, rows: int = 24, seed: int = 0, *, scored: bool = False) -> Path:
    """Pairs that can be learned: a document is about the first word of its query. Rows have 0 to 2 negatives."""
    rng = random.Random(seed)
    with path.open("w") as file:
        for number in range(rows):
            topic = WORDS[number % len(WORDS)]
            others = rng.sample([word for word in WORDS if word != topic], 6)
            row = {
                "query": f"{topic} {others[0]}",
                "positive": [f"{others[1]} {topic} {topic} {number}"],
                "negative": [f"{others[2 + i]} {others[3 + i]} {number}" for i in range(number % 3)],
            }
            if scored and number % 2:
                row["scores"] = [3.0] + [rng.uniform(-1, 1) for _ in row["negative"]]
            file.write(json.dumps(row) + "\n")
    return path


def small(kind: str, **changes: object) -> StageConfig:
    """Settings of a stage that takes no time."""
    return make_stage(kind, SMALL | changes)
