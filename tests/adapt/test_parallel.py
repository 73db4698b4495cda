"""Two processes train one model: equal on both, and equal to one process that has the whole batch.

The processes of the quick test are forked from this one (no program starts from nothing for it), meet over gloo and
run every stage; what the launcher itself starts is in ``tests/cli/test_adapt.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

from searchapp.adapt import loss_curve as curve
from searchapp.adapt import run as stage_module
from searchapp.adapt.data import PairFile
from searchapp.adapt.run import run_stage
from searchapp.errors import AdaptError
from tests.adapt.stages import small, write_pairs, write_text

TOLERANCE = 1e-6  # of weights that move by 3 steps of 1e-4
COMMON = {"steps": 3, "batch_size": 8, "learning_rate": 1e-4, "warmup_steps": 0, "lora_dropout": 0.0, "lora_r": 4}
SCORED = {"negatives": 2, "matryoshka": [8, 32], "margin": 0.1, "scale": 10.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mntp": ("mntp", {"max_length": 24}),
    "mntp in chunks": ("mntp", {"max_length": 24, "chunk": 3}),
    "simcse": ("simcse", {"attention_dropout": 1e-12, "scale": 5.0}),
    "simcse in chunks": ("simcse", {"attention_dropout": 1e-12, "scale": 5.0, "chunk": 3}),
    "supervised": ("supervised", SCORED),
    "supervised in chunks": ("supervised", SCORED | {"chunk": 3, "gradient_checkpointing": False}),
}


def _run(root: Path, model: Path, to: Path, case: str) -> tuple[Any, Any]:
    """Run a case and return its record and the task with the trained model."""
    kind, options = CASES[case]
    made = []
    make = stage_module.make_objective
    stage_module.make_objective = lambda *given: made.append(make(*given)) or made[0]
    try:
        data = {"pairs": [PairFile(root / "pairs.jsonl")]} if kind == "supervised" else {"texts": [root / "text.txt"]}
        record = run_stage(small(kind, **COMMON, **options), model=str(model), to=to, **data)
    finally:
        stage_module.make_objective = make
    return record, made[0]


def _weights(task: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in task.trainee.named_parameters() if p.requires_grad}


def _process(rank: int, port: int, root: Path, model: Path) -> None:
    """One of two; ends without the leave of whatever this process was forked from."""
    code = 1
    with (root / f"{rank}.log").open("w", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            from accelerate.state import AcceleratorState, PartialState

            AcceleratorState._reset_state(reset_partial_state=True)
            assert not PartialState._shared_state
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
            for case in CASES:
                record, task = _run(root, model, root / "two" / case, case)
                torch.save((_weights(task), record.history), root / f"{case}-{rank}.pt")
            try:
                run_stage(small("mntp", batch_size=5), model=str(model), to=root / "odd", texts=[root / "text.txt"])
            except AdaptError as error:
                (root / f"odd-{rank}").write_text(str(error))
            code = 0
        except BaseException:
            traceback.print_exc(file=log)
    os._exit(code)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    if sys.platform != "linux":
        pytest.skip("forks processes that use torch")
    root = tmp_path_factory.mktemp("parallel")
    write_text(root / "text.txt", 40)
    write_pairs(root / "pairs.jsonl", 30, scored=True)
    torch.set_num_threads(1)  # threads do not survive a fork
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_process, args=(rank, port, root, tiny_model)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(900)
    logs = "\n".join((root / f"{rank}.log").read_text() for rank in range(2))
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.kill()
    assert not alive, f"the processes wait for each other\n{logs}"
    assert [process.exitcode for process in processes] == [0, 0], logs
    return root


@pytest.fixture(autouse=True, scope="module")
def _no_picture():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curve, "draw", lambda *_, **__: None)
        yield


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(two: Path, tiny_model: Path, tmp_path: Path, case: str) -> None:
    (first, history), (second, other) = (torch.load(two / f"{case}-{rank}.pt") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first), "the processes have drifted apart"
    record, task = _run(two, tiny_model, tmp_path / "one", case)
    alone = _weights(task)
    assert max(weight.abs().max().item() for name, weight in alone.items() if "lora_B" in name) > 1e-4
    distance = max((first[name] - alone[name]).abs().max().item() for name in alone)
    assert distance < TOLERANCE, distance
    for row, row2, row1 in zip(history, other, record.history, strict=True):
        assert row["loss"] == pytest.approx(row1["loss"], rel=1e-5)
        assert row2["loss"] == pytest.approx(row1["loss"], rel=1e-5)
        assert (row["tokens"], row["step"], row["learning_rate"]) == (
            row1["tokens"],
            row1["step"],
            row1["learning_rate"],
        )


def test_the_negatives_were_not_shared_evenly(two: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Else the test above shows less than it seems to."""
    from searchapp.adapt.dataset import as_pair
    from searchapp.adapt.objectives.supervised import PairBatch, _take

    _, task = _run(two, tiny_model, tmp_path / "one", "supervised")
    counts = []
    for step in range(3):
        batch = task._batch(step)
        rows = PairBatch.of([as_pair(row) for row in _take(task._datasets[0], batch.rows)], task.stage, step)
        counts.append([len(rows.slice(part).negatives) for part in (slice(0, 4), slice(4, 8))])
    assert any(one != other for one, other in counts), counts


def test_one_process_writes_and_both_say_nothing(two: Path) -> None:
    import json

    for case in CASES:
        directory = two / "two" / case
        content = json.loads((directory / "run.json").read_text())
        assert (content["state"], content["processes"]) == ("complete", 2)
        assert not (directory / "work").exists()
        assert not (directory / "checkpoints").exists()
    assert [(two / f"{rank}.log").read_text() for rank in range(2)] == ["", ""]


def test_a_batch_that_cannot_be_shared_is_refused(two: Path) -> None:
    for rank in range(2):
        said = (two / f"odd-{rank}").read_text()
        assert said == ("a batch of 5 cannot be shared by 2 processes; give a batch size that is a multiple of 2")
    assert not (two / "odd").exists()
