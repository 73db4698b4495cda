"""Peak memory of a build does not grow with the corpus: ten times the documents, at most 15 % more."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import make_checkpoint

WORDS = "bees fly make honey hives search engine quality measure fox dog quick brown lazy web query passages".split()


def _peak_kilobytes(*arguments: object) -> int:
    process = subprocess.Popen(
        [sys.executable, "-m", "searchapp", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss


@pytest.mark.slow
def test_ten_times_the_documents_take_the_same_memory(tmp_path: Path, tokenizer) -> None:
    model = make_checkpoint(tmp_path / "m", tokenizer, hidden_size=256, num_hidden_layers=1)
    rng = random.Random(0)
    peaks = {}
    for count in (20_000, 200_000):
        corpus = tmp_path / f"{count}.jsonl"
        with corpus.open("w") as file:
            for i in range(count):
                file.write(json.dumps({"_id": f"d{i}", "text": " ".join(rng.choices(WORDS, k=8)), "n": i}) + "\n")
        peaks[count] = _peak_kilobytes(
            "build", corpus, "--index", tmp_path / f"ix{count}", "--model", model, "--pca", 128
        )
    print(peaks)  # noqa: T201 - the figure itself is wanted in the log
    assert peaks[200_000] <= 1.15 * peaks[20_000]
