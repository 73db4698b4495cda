"""The benchmark: lengths as asked for, work counted as torch counts it, a report that replaces its own section."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from searchapp.bench.encode import flops
from searchapp.bench.report import LEGEND, rows, summary, write_section
from searchapp.bench.shape import write_shape
from searchapp.bench.texts import cut, lengths, read_prose
from searchapp.errors import SearchAppError


def test_lengths_have_the_median_and_the_tail_that_are_asked_for() -> None:
    drawn = lengths(20_000, 100_000)
    assert np.median(drawn) == pytest.approx(120, rel=0.03)
    assert np.percentile(drawn, 95) == pytest.approx(400, rel=0.05)
    assert lengths(1_000, 512).max() == 512


def test_texts_are_cut_to_these_lengths(tokenizer) -> None:
    backend = tokenizer.backend_tokenizer
    wanted = lengths(40, 300).tolist()
    texts = cut(read_prose(["python:stdlib"]), wanted, backend)
    got = [len(backend.encode(text, add_special_tokens=False).ids) for text in texts]
    assert np.max(np.array(got) / wanted) <= 1.5  # at the seams, where blanks go and a word begins in the middle
    assert np.sum(got) == pytest.approx(np.sum(wanted), rel=0.05)
    with pytest.raises(SearchAppError, match="enough for 1 of 2 documents"):
        cut(iter(["bees fly and make honey"]), [3, 100], backend)


def test_work_is_what_torch_counts(tmp_path: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModel

    write_shape("64,2,4,2,96", tmp_path, 512)
    model = AutoModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    counted = 0.0
    for length in (7, 30):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(input_ids=torch.ones(1, length, dtype=torch.long))
        rotary = 2 * 8 * length  # the angles: an outer product of frequencies and positions
        counted += counter.get_total_flops() - rotary
    assert flops(model, np.array([7, 30])) == pytest.approx(counted, rel=1e-3)


@pytest.mark.parametrize("shape", ["384", "a,b", "0,2", "100,2,3", "64,2,4,3"])
def test_a_shape_that_is_none_is_refused(shape: str, tmp_path: Path) -> None:
    with pytest.raises(SearchAppError, match="shape"):
        write_shape(shape, tmp_path, 512)


def test_the_command_measures_and_writes_its_section(tmp_path: Path, run) -> None:
    target = tmp_path / "benchmarks.md"
    command = ["bench", "encode", "--shape", "64,1", "--documents", 12, "--rounds", 1, "--dtype", "float32"]
    outcome = run(*command, "--rivals", "hf", "--json", "--markdown", target)
    assert outcome.code == 0
    found = json.loads(outcome.out)
    mine, other = found["results"]
    assert (mine["program"], other["program"]) == ("searchapp", "hf")
    assert mine["padding"] == 0 < other["padding"]
    assert other["least_cosine"] > 0.9999
    assert mine["tokens_per_second"] > 0 < mine["mfu"]
    assert found["texts"]["documents"] == 12
    for title, rounds in (("another", 1), (found["model"], 77)):
        again = {**found, "rounds": rounds}
        write_section(target, title, "searchapp bench encode", summary(again), [(rows(again), LEGEND)], words=2)
    written = target.read_text()
    assert written.startswith("# Benchmarks\n")
    assert written.count("\n## ") == 2
    assert "77 rounds" in written
    assert run(*command, "--rivals", "nothing").err.count("\n") == 1
