"""Each stage from files to a model that embeds: what is trained, what is written, how it goes on after a stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from searchapp import Encoder
from searchapp.adapt import run as stage_module
from searchapp.adapt.config import flat
from searchapp.adapt.data import PairFile
from searchapp.adapt.run import run_stage
from searchapp.adapt.run_record import RunRecord
from searchapp.errors import AdaptError, ModelError
from searchapp.progress import Silent
from tests.adapt.stages import LINEARS, small, write_pairs, write_text
from tests.models import make_checkpoint

# so large a rate that a tiny model learns in seconds
FAST = {"learning_rate": 1e-2, "batch_size": 12, "steps": 24, "lora_dropout": 0.0}
STAGES: dict[str, dict[str, Any]] = {
    "mntp": FAST | {"mask_rate": 0.3, "max_length": 24},
    "simcse": FAST | {"attention_dropout": 0.2, "lora_dropout": 0.1, "learning_rate": 2e-3, "batch_size": 16},
    "supervised": FAST | {"negatives": 2, "scale": 10.0},
}
TEXTS = ["bees fly and make honey in their hives", "how do you measure the quality of a search engine"]


class Stopped(Exception):
    pass


def _train(kind: str, root: Path, to: Path, model: Path, progress: Any = None, **changes: Any) -> RunRecord:
    given: dict[str, Any] = {"progress": progress}
    if kind == "supervised":
        given["pairs"] = [PairFile(root / "pairs.jsonl", instruction="find it:")]
    else:
        given["texts"] = [root / "text.txt"]
    return run_stage(small(kind, **{**STAGES[kind], **changes}), model=str(model), to=to, **given)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("training")
    (root / "text.txt").write_text("bees fly and make honey in their hives\nthe quick brown fox jumps over it\n" * 40)
    write_text(root / "other.txt", 64)
    write_pairs(root / "pairs.jsonl", 32, scored=True)
    return root


@pytest.fixture(scope="module")
def runs(root: Path, tiny_model: Path) -> dict[str, RunRecord]:
    """Every stage, run once on a model of its own, whose weights are to stay as they are."""
    shutil.copytree(tiny_model, root / "base")
    return {kind: _train(kind, root, root / kind, root / "base") for kind in STAGES}


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training here; the runs that all tests share have had theirs drawn."""
    from searchapp.adapt import loss_curve as curve

    monkeypatch.setattr(curve, "draw", lambda *_, **__: None)


def _mean(record: RunRecord, part: slice) -> float:
    return float(np.mean([row["loss"] for row in record.history[part]]))


@pytest.mark.parametrize("kind", STAGES)
def test_the_loss_falls_on_what_can_be_learned(runs: dict[str, RunRecord], kind: str) -> None:
    first, last = _mean(runs[kind], slice(0, 3)), _mean(runs[kind], slice(-3, None))
    assert last < (0.8 if kind != "simcse" else 0.97) * first, (first, last)


@pytest.mark.parametrize("kind", STAGES)
def test_exactly_the_adapters_are_trained(runs: dict[str, RunRecord], kind: str) -> None:
    wanted = [
        f"decoder.base_model.model.layers.{layer}.{'mlp' if name in LINEARS[4:] else 'self_attn'}.{name}.lora_{half}.default.weight"
        for layer in range(2)
        for name in LINEARS
        for half in "AB"
    ]
    assert sorted(runs[kind].content["trained"]) == sorted(wanted)
    # 7 linears of hidden 32, intermediate 48, 2 of 4 heads for keys and values, rank 16, in 2 layers
    shapes = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 48), (32, 48), (48, 32)]
    assert runs[kind].content["trained_parameters"] == 2 * 16 * sum(a + b for a, b in shapes)
    stored = load_file(runs[kind].directory / "adapter_model.safetensors")
    assert sorted(stored) == sorted(name.removeprefix("decoder.").replace(".default", "") for name in wanted)
    assert all(tensor.isfinite().all() for tensor in stored.values())
    assert all(tensor.abs().max() > 0 for tensor in stored.values()), "an adapter that was never changed"


@pytest.mark.parametrize("kind", ["mntp", "simcse", "supervised"])
def test_weights_of_the_base_and_its_head_are_not_changed(
    root: Path, tiny_model: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = stage_module.make_objective
    monkeypatch.setattr(stage_module, "make_objective", lambda *given: made.append(make(*given)) or made[0])
    before = load_file(tiny_model / "model.safetensors")
    shutil.copytree(tiny_model, tmp_path / "base")
    _train(kind, root, tmp_path / "run", tmp_path / "base", steps=3)
    decoder = made[0].trainee.decoder
    after = {name.replace(".base_layer", ""): tensor for name, tensor in decoder.base_model.model.state_dict().items()}
    compared = 0
    for name, tensor in before.items():
        if name.startswith("model."):
            assert torch.equal(after[name.removeprefix("model.")], tensor), name
            compared += 1
    assert compared == len(before) - 1
    if kind == "mntp":
        states = torch.randn(3, 32)
        assert torch.equal(made[0]._head(states), states @ before["lm_head.weight"].T)
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["mntp", "supervised"])
def test_train_all_trains_every_weight_of_the_decoder(root: Path, tmp_path: Path, tokenizer, kind: str) -> None:
    base = make_checkpoint(tmp_path / "base", tokenizer, tie_word_embeddings=True)
    record = _train(kind, root, tmp_path / "run", base, train="all", steps=4, learning_rate=1e-3)
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    names = {name.removeprefix("model.") for name in before} - {"lm_head.weight"}
    assert {name.removeprefix("decoder.") for name in record.content["trained"]} == names
    assert set(after) == names
    for name, tensor in after.items():
        assert not torch.equal(tensor, before[f"model.{name}"]), name
    assert not (tmp_path / "run" / "adapter_config.json").exists()
    vectors = Encoder.load(str(tmp_path / "run"), dtype="float32").encode(TEXTS)
    assert np.abs(vectors - Encoder.load(str(base), dtype="float32").encode(TEXTS)).max() > 1e-4


@pytest.mark.parametrize("kind", STAGES)
def test_the_record_holds_what_is_needed_to_run_it_again(runs: dict[str, RunRecord], root: Path, kind: str) -> None:
    from importlib.metadata import version

    from searchapp.encoder.fingerprint import checksum

    directory = root / kind
    content = json.loads((directory / "run.json").read_text())
    assert content["state"] == "complete"
    assert content["stage"] == kind
    assert content["settings"] == json.loads(json.dumps(flat(small(kind, **STAGES[kind]))))
    assert content["settings"]["seed"] == 42
    assert content["settings"]["warmup_steps"] == (7 if kind == "supervised" else 0)
    data = root / ("pairs.jsonl" if kind == "supervised" else "text.txt")
    assert content["data"][0]["sha256"] == checksum(data)
    assert content["data"][0]["bytes"] == data.stat().st_size
    assert list(content["model"]["weights"].values()) == [checksum(root / "base" / "model.safetensors")]
    for name in ("torch", "transformers", "peft", "accelerate"):
        assert content["packages"][name] == version(name)
    history = content["history"]
    assert [row["step"] for row in history] == list(range(1, 25))
    assert all(row["tokens"] > 0 and row["seconds"] > 0 for row in history)
    rates = [row["learning_rate"] for row in history]
    assert max(rates) == pytest.approx(content["settings"]["learning_rate"])
    assert rates[-1] < 0.1 * max(rates)
    assert content["tokens"] == sum(row["tokens"] for row in history)
    seconds = sum(row["seconds"] for row in history)
    assert content["tokens_per_second"] == pytest.approx(content["tokens"] / seconds, rel=1e-3)
    assert (content["device"], content["dtype"], content["processes"]) == ("cpu", "float32", 1)
    assert (directory / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert sorted(path.name for path in directory.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "encoder.json", "loss.png", "run.json", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", STAGES)
def test_the_result_embeds_differently_from_its_base(runs: dict[str, RunRecord], root: Path, kind: str) -> None:
    base = Encoder.load(str(root / "base"), dtype="float32").encode(TEXTS)
    got = Encoder.load(str(root / kind), dtype="float32")
    assert got.settings.span == "offsets"
    assert np.abs(got.encode(TEXTS) - base).max() > 1e-3


def test_an_index_is_built_with_the_result(runs: dict[str, RunRecord], root: Path, tmp_path: Path, run) -> None:
    (tmp_path / "docs.jsonl").write_text(
        "".join(json.dumps({"_id": str(n), "text": t}) + "\n" for n, t in enumerate(TEXTS))
    )
    built = run("build", tmp_path / "docs.jsonl", "--index", tmp_path / "ix", "--model", root / "supervised")
    assert built.code == 0, built.err
    found = run("search", tmp_path / "ix", TEXTS[1], "--json", "-k", 1)
    assert json.loads(found.out)["id"] == "1"


def test_a_second_stage_stands_on_the_first_and_both_can_be_moved(
    runs: dict[str, RunRecord], root: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoConfig, AutoModel

    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("base", "mntp"):
        shutil.copytree(root / name, tree / name)
    # the copied adapter names the base by a path that has another name than the tree's
    _train("supervised", root, tree / "second", tree / "mntp", steps=4)
    named = json.loads((tree / "second" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str((tree / "mntp").resolve())
    encoder = Encoder.load(str(tree / "second"), dtype="float32")
    assert [path.name for path in encoder.checkpoint.adapters] == ["mntp", "second"]
    got = encoder.encode(TEXTS, normalize=False)

    config = AutoConfig.from_pretrained(root / "base")
    config.is_causal = False
    by_hand = AutoModel.from_pretrained(root / "base", config=config, dtype=torch.float32)
    for name in ("mntp", "second"):
        by_hand = PeftModel.from_pretrained(by_hand, str(tree / name)).merge_and_unload()
    encoder.model = by_hand.eval()
    want = encoder.encode(TEXTS, normalize=False)
    assert np.abs(got - want).max() / np.linalg.norm(want) < 1e-6
    first = Encoder.load(str(tree / "mntp"), dtype="float32").encode(TEXTS, normalize=False)
    assert np.abs(got - first).max() > 1e-4

    moved = tmp_path / "moved"
    adapter = json.loads((tree / "mntp" / "adapter_config.json").read_text())
    adapter["base_model_name_or_path"] = str(tree / "base")
    (tree / "mntp" / "adapter_config.json").write_text(json.dumps(adapter))
    tree.rename(moved)
    again = Encoder.load(str(moved / "second"), dtype="float32")
    assert again.checkpoint.weights == (moved / "base")
    assert np.array_equal(again.encode(TEXTS, normalize=False), got)
    (moved / "mntp").rename(moved / "gone")
    with pytest.raises(ModelError, match="does not exist"):
        Encoder.load(str(moved / "second"))


def test_an_adapter_beside_the_model_is_kept_in_the_result(
    runs: dict[str, RunRecord], root: Path, tmp_path: Path
) -> None:
    """Named apart, base and adapter are what the new adapter was trained on: it has to name both."""
    record = run_stage(
        small("mntp"), model=str(root / "base"), adapters=[str(root / "mntp")], to=tmp_path / "run",
        texts=[root / "text.txt"],
    )  # fmt: skip
    assert [Path(path).name for path in record.content["model"]["adapters"]] == ["mntp"]
    encoder = Encoder.load(str(tmp_path / "run"), dtype="float32")
    assert [path.name for path in encoder.checkpoint.adapters] == ["mntp", "run"]
    with pytest.raises(AdaptError, match="merge them first: searchapp export"):
        run_stage(
            small("mntp"), model=str(root / "mntp"), adapters=[str(root / "simcse")], to=tmp_path / "other",
            texts=[root / "text.txt"],
        )  # fmt: skip


@pytest.mark.parametrize(
    "family", ["gpt2", "gpt_neox", *(pytest.param(name, marks=pytest.mark.slow) for name in ("opt", "gemma2"))]
)
def test_other_families_are_trained_too(root: Path, tmp_path: Path, tokenizer, family: str) -> None:
    base = make_checkpoint(tmp_path / "base", tokenizer, family)
    for kind, model in (("mntp", base), ("simcse", tmp_path / "mntp")):
        record = _train(kind, root, tmp_path / kind, model, steps=2)
        assert all("lora_" in name for name in record.content["trained"])
    vectors = Encoder.load(str(tmp_path / "simcse"), dtype="float32").encode(TEXTS)
    assert np.abs(vectors - Encoder.load(str(tmp_path / "mntp"), dtype="float32").encode(TEXTS)).max() > 1e-5


def _kept(directory: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    rows = json.loads((directory / "run.json").read_text())["history"]
    plain = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    return plain, load_file(directory / "adapter_model.safetensors")


def _same(one: Path, other: Path) -> None:
    (rows, weights), (rows2, weights2) = _kept(one), _kept(other)
    assert rows == rows2
    assert weights.keys() == weights2.keys()
    assert all(torch.equal(weights[name], weights2[name]) for name in weights)


class Steps(Silent):
    """Remembers the numbers of the steps, and stops a run after one of them."""

    def __init__(self, stop_at: int = 0) -> None:
        self.stages: list[tuple[str, int | None, str, int]] = []
        self.numbers: list[int] = []
        self._stop_at = stop_at

    def stage(self, name: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        self.stages.append((name, total, unit, done))

    def advance(self, count: int = 1, **figures: float) -> None:
        assert count == 1 and np.isfinite(figures["loss"]) and figures["tokens"] > 0
        self.numbers.append(self.stages[-1][3] + len(self.numbers) + 1)
        if self.numbers[-1] == self._stop_at:
            raise Stopped


@pytest.mark.parametrize("kind", STAGES)
def test_a_stopped_run_goes_on_exactly(root: Path, tiny_model: Path, tmp_path: Path, kind: str) -> None:
    options = {"steps": 7, "save_steps": 2, "chunk": 5, "lora_dropout": 0.1, "batch_size": 8}
    _train(kind, root, tmp_path / "whole", tiny_model, **options)
    with pytest.raises(Stopped):
        _train(kind, root, tmp_path / "run", tiny_model, Steps(6), **options)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert (checkpoints / "checkpoint-4" / "complete").exists()
    # one that was not written to its end, and one that is not even begun well
    shutil.copytree(checkpoints / "checkpoint-4", checkpoints / "checkpoint-6")
    (checkpoints / "checkpoint-6" / "complete").unlink()
    (checkpoints / "checkpoint-6" / "adapter_model.safetensors").write_bytes(b"half")
    (checkpoints / "checkpoint-8").mkdir()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "running"
    torch.manual_seed(999)  # another program, another state of every generator
    steps = Steps()
    record = _train(kind, root, tmp_path / "run", tiny_model, steps, **options)
    assert record.resumed_at == 4
    assert steps.stages[-1] == (kind, 7, "step", 4)
    assert [unit for _, _, unit, _ in steps.stages[:-1]] == [""] * 2  # loading, reading
    assert steps.numbers == [5, 6, 7]
    _same(tmp_path / "whole", tmp_path / "run")
    assert not checkpoints.exists()
    assert not (tmp_path / "run" / "work").exists()
    again = _train(kind, root, tmp_path / "run", tiny_model, Steps(1), **options)
    assert again.already_done


def test_a_run_that_stopped_behind_its_last_step_goes_on(
    root: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.adapt import loss_curve as curve

    def stop(*_: Any, **__: Any) -> None:
        raise Stopped

    _train("mntp", root, tmp_path / "whole", tiny_model, steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(curve, "draw", stop)
        with pytest.raises(Stopped):
            _train("mntp", root, tmp_path / "run", tiny_model, steps=4)
    assert _train("mntp", root, tmp_path / "run", tiny_model, steps=4).resumed_at == 4
    _same(tmp_path / "whole", tmp_path / "run")


def test_unfinished_checkpoints_never_push_out_the_last_whole_one(root: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The trainer keeps two and would count those that are no good."""
    with pytest.raises(Stopped):
        _train("mntp", root, tmp_path / "run", tiny_model, Steps(4), steps=6, save_steps=2)
    checkpoints = tmp_path / "run" / "checkpoints"
    with pytest.raises(ModelError, match=r"not finished \(step 2 of 6\); give its command again") as refused:
        Encoder.load(str(tmp_path / "run"))
    offered = str(refused.value).rpartition("--model ")[2]
    assert Path(offered) == checkpoints / "checkpoint-2"
    assert np.isfinite(Encoder.load(offered, dtype="float32").encode(TEXTS)).all()
    for number in (90, 91):
        (checkpoints / f"checkpoint-{number}").mkdir()
    with pytest.raises(Stopped):  # steps 3 and 4 again, and no checkpoint on the way
        _train("mntp", root, tmp_path / "run", tiny_model, Steps(3), steps=6, save_steps=2)
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint-2"]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_weights(
    root: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.adapt.objectives import losses

    calls, real = [0], losses.token_loss

    def poisoned(*given: Any, **options: Any) -> torch.Tensor:
        calls[0] += 1
        return real(*given, **options) * (float("nan") if calls[0] == 4 else 1.0)

    monkeypatch.setattr(losses, "token_loss", poisoned)
    with pytest.raises(AdaptError, match=r"the loss of step 4 is nan \(batch: .*\); the weights of the last") as caught:
        _train("mntp", root, tmp_path / "run", tiny_model, steps=6, save_steps=1)
    assert "\n" not in str(caught.value)
    kept = load_file(tmp_path / "run" / "checkpoints" / "checkpoint-3" / "adapter_model.safetensors")
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-3" / "complete").exists()
    assert all(tensor.isfinite().all() for tensor in kept.values())
    assert _train("mntp", root, tmp_path / "run", tiny_model, steps=6, save_steps=1).resumed_at == 3  # cured
    _train("mntp", root, tmp_path / "whole", tiny_model, steps=6, save_steps=1)
    _same(tmp_path / "whole", tmp_path / "run")


def test_a_gradient_that_is_no_number_stops_the_run(root: Path, tiny_model: Path, tmp_path: Path) -> None:
    from searchapp.adapt.trainer import StageTrainer

    class Poison(Steps):
        def advance(self, count: int = 1, **figures: float) -> None:
            super().advance(count, **figures)
            if self.numbers[-1] == 2:
                next(p for p in made[0].trainee.parameters() if p.requires_grad).grad.view(-1)[0] = float("inf")

    made: list[Any] = []
    real = StageTrainer.__init__

    def keep(self: StageTrainer, task: Any, *given: Any) -> None:
        made.append(task)
        real(self, task, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageTrainer, "__init__", keep)
        with pytest.raises(AdaptError, match=r"the gradient of .* in step 2 is not finite \(batch: "):
            _train("mntp", root, tmp_path / "run", tiny_model, Poison(), save_steps=1)


def test_the_student_moves_towards_its_teacher(root: Path, tiny_model: Path, tmp_path: Path, tokenizer) -> None:
    """Its similarities within a batch, with nothing else to learn from."""
    teacher = make_checkpoint(tmp_path / "teacher", tokenizer, seed=9)
    rows = [json.loads(line) for line in (root / "pairs.jsonl").read_text().splitlines()]
    queries, documents = [row["query"] for row in rows], [row["positive"][0] for row in rows]

    def scores(model: Path) -> np.ndarray:
        encoder = Encoder.load(str(model), dtype="float32")
        return encoder.encode(queries, "find it:") @ encoder.encode(documents).T

    target = scores(teacher)

    def agreement(model: Path) -> float:
        return float(np.corrcoef(scores(model).ravel(), target.ravel())[0, 1])

    _train("supervised", root, tmp_path / "run", tiny_model, teacher=str(teacher), teacher_weight=30.0,
           scale=20.0, teacher_scale=20.0, row_weight=0.0, batch_size=32, steps=30, learning_rate=5e-3)  # fmt: skip
    _train("supervised", root, tmp_path / "plain", tiny_model, row_weight=0.0, scale=20.0, batch_size=32, steps=30,
           learning_rate=5e-3)  # fmt: skip
    before, taught, untaught = agreement(tiny_model), agreement(tmp_path / "run"), agreement(tmp_path / "plain")
    assert taught > max(before, untaught) + 0.1, (before, taught, untaught)


def test_one_process_asks_for_no_other(
    root: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.distributed as dist

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a collective operation of a single process")

    for name in ("init_process_group", "all_reduce", "all_gather", "barrier", "broadcast"):
        monkeypatch.setattr(dist, name, refuse)
    _train("mntp", root, tmp_path / "run", tiny_model, steps=2)
    _train("supervised", root, tmp_path / "run2", tiny_model, steps=2)
