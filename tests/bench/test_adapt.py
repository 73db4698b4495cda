"""``bench adapt``: both programs compute the same, work is what torch counts, and the command tells both apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from searchapp.bench.adapt import AdaptPlan, _objective, _work
from searchapp.bench.adapt_report import HEAD, rows, summary


@pytest.fixture(scope="module")
def found(tiny_model: Path) -> dict:
    from searchapp.bench.adapt import bench_adapt

    plan = AdaptPlan(str(tiny_model), batch=3, block=16, longest=160, steps=2, rounds=1, dtype="float32")
    return bench_adapt(plan)


def test_both_programs_train_alike(found: dict) -> None:
    """The second step's loss depends on the first one's gradients and optimizer step."""
    for stage in ("mntp", "simcse", "supervised"):
        ours, plain = (result for result in found["results"] if result["stage"] == stage)
        assert (ours["program"], plain["program"]) == ("searchapp", "Trainer + peft")
        assert ours["losses"] == pytest.approx(plain["losses"], rel=1e-4)
        assert len(ours["losses"]) == 2
        assert ours["tokens"] == plain["tokens"] > 0
        assert ours["times"] > 0 and plain["times"] == 1.0
    assert {result["padding"] > 0.1 for result in found["results"][3::2]} == {True}, "texts of one length show nothing"
    assert json.loads(json.dumps(found)) == found
    assert [len(row) for row in rows(found)] == [len(HEAD)] * 7
    assert "no dropout" in " ".join(summary(found))


def test_work_is_what_torch_counts_of_a_step(tiny_model: Path, tmp_path: Path) -> None:
    """Of peft's own layers, whose way back has the gradients of frozen weights' inputs and no others."""
    from torch.utils.flop_counter import FlopCounterMode

    plan = AdaptPlan(str(tiny_model), stages=("mntp",), batch=3, block=32, steps=1, dtype="float32")
    texts = ["bees fly and make honey in their hives " * 6] * 12
    objective = _objective("mntp", plan, texts, tmp_path / "mntp")
    tokens, padded, work = _work(objective, plan)
    assert tokens == padded == 96
    masked, _ = objective.masked(0)
    states = objective.trainee.decoder.get_input_embeddings()(masked.ids).requires_grad_()
    objective.trainee.decoder.base_model.model.set_attn_implementation("eager")  # torch does not count flash on a CPU
    with FlopCounterMode(display=False) as counter:
        hidden = objective.trainee.decoder(inputs_embeds=states, use_cache=False).last_hidden_state
        scored = masked.labels[:, 1:] >= 0
        logits = hidden[:, :-1][scored] @ objective._head.weight.T
        torch.autograd.backward(logits.sum())
    assert work == pytest.approx(counter.get_total_flops(), rel=5e-3)


def test_the_command_writes_json_and_refuses_what_is_no_stage(tiny_model: Path, run) -> None:
    command = ("bench", "adapt", "--model", tiny_model, "--batch-size", 2, "--block", 16, "--max-length", 32)
    done = run(*command, "--stage", "mntp", "--steps", 1, "--rounds", 1, "--json")
    assert done.code == 0, done.err
    assert [result["program"] for result in json.loads(done.out)["results"]] == ["searchapp", "Trainer + peft"]
    refused = run(*command, "--stage", "mnpt")
    assert refused.code == 2
    assert "--stage mnpt is unknown; expected one of mntp, simcse, supervised" in refused.err
