"""What a step takes, against what autograd really keeps; and what is refused when less is free."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from searchapp.adapt import memory, run
from searchapp.adapt.config import MntpConfig, SimcseConfig, StageConfig, SupervisedConfig, TrainingConfig
from searchapp.adapt.data import PairFile
from searchapp.adapt.memory import (
    Step,
    fit_memory,
    largest_rows,
    longest,
    require_memory,
    step_of,
    training_need,
    training_precision,
)
from searchapp.adapt.model import load_trainable_model
from searchapp.adapt.packed import pack_blocks
from searchapp.encoder.checkpoint import Checkpoint, locate
from searchapp.encoder.shape import Shape, read_shape
from searchapp.errors import AdaptError, is_out_of_memory

# SmolLM2-135M by its published configuration; its linear layers are all that LoRA needs to know of them.
LINEAR = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
SMOLLM2 = Shape(
    parameters=134_515_008, largest=49_152 * 576, stored=2, output=0, hidden=576, layers=30, heads=9, groups=3,
    head_dim=64, inner=1_536, vocabulary=49_152,
    tensors=tuple((f"layers.{layer}.{n}.weight", sides) for layer in range(30) for n, sides in enumerate(LINEAR)),
)  # fmt: skip


PADDED = TrainingConfig(attention="sdpa")  # not in parts of its own accord


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer) -> Path:
    from tests.models import make_checkpoint

    return make_checkpoint(
        tmp_path_factory.mktemp("wide") / "model", tokenizer, hidden_size=64, intermediate_size=160,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    "training",
    [
        TrainingConfig(),
        TrainingConfig(lora_dropout=0.0),
        TrainingConfig(lora_dropout=0.0, dtype="bfloat16"),
        TrainingConfig(train="all", lora_dropout=0.0),
    ],
    ids=["dropout", "none", "bfloat16", "all"],
)
def test_what_a_layer_keeps_is_what_autograd_saves(model: Path, training: TrainingConfig) -> None:
    rows, length = 4, 48
    trainee = load_trainable_model(str(model), replace(training, device="cpu")).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in trainee.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    kept: list[torch.Tensor] = []
    mask = torch.zeros(rows, 1, length, length, dtype=trainee.dtype)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainee(torch.randint(3, 400, (rows, length)), mask)
    shape = read_shape(model)
    assert shape is not None
    size = 2 if training.dtype == "bfloat16" else 4
    expected = rows * length * shape.layers * memory._kept(shape, training, size, length, 0.0)
    assert 0.85 < expected / sum(saved.values()) < 1.25


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_what_a_fused_layer_keeps_is_what_autograd_saves(model: Path, dropout: float) -> None:
    rows, length = 4, 48
    training = TrainingConfig(lora_dropout=dropout, device="cpu")
    trainee = load_trainable_model(str(model), training).train()
    assert trainee.fused
    assert memory.is_fused(locate(str(model)), training, "cpu", 4)
    weights = {parameter.untyped_storage().data_ptr() for parameter in trainee.parameters()}
    saved: dict[int, int] = {}
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            kept.append(tensor)
        return tensor

    ids = torch.randint(3, 400, (rows, length))
    batch = pack_blocks(ids, torch.full_like(ids, -100), None, -100, rounded=False).batch
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainee(packed=replace(batch, rows=None))
    shape = read_shape(model)
    assert shape is not None
    masks = rows * length * shape.layers * (2 * 64 + 64 + 160) * (dropout > 0)  # kept beside what autograd sees
    expected = rows * length * shape.layers * memory._fused_kept(shape, training, 4, length, 0.0)
    assert 0.85 < expected / (sum(saved.values()) + masks) < 1.25


def test_blocks_that_go_in_parts_need_no_more_than_a_part(model: Path) -> None:
    checkpoint = locate(str(model))
    need = require_memory(MntpConfig(), checkpoint, "cpu", free=10**12)
    small = require_memory(MntpConfig(TrainingConfig(batch_size=4)), checkpoint, "cpu", free=10**12)
    assert need is not None and need == small


def test_what_does_not_fit_goes_in_chunks_and_is_said(model: Path) -> None:
    shape, checkpoint = read_shape(model), locate(str(model))
    assert shape is not None
    stage = MntpConfig(PADDED)
    free = training_need(shape, stage, 4, step_of(stage, 512, 16)).total
    found, news = fit_memory(stage, checkpoint, "cpu", free=free)
    assert found == replace(stage, training=replace(PADDED, chunk=16))
    assert "--chunk 16, which gives the same gradients" in news
    assert fit_memory(found, checkpoint, "cpu", free=free) == (found, "")
    contrastive = SupervisedConfig(replace(PADDED, gradient_checkpointing=True))
    found, news = fit_memory(contrastive, checkpoint, "cpu", free=free)
    need = require_memory(found, checkpoint, "cpu", free=free)
    assert need is not None and found.training.chunk > 0 and need.total <= free
    with pytest.raises(AdaptError, match="are free on cpu"):
        fit_memory(stage, checkpoint, "cpu", free=10_000)


def test_checkpointing_is_left_out_where_memory_does_not_ask_for_it(model: Path) -> None:
    stage = MntpConfig(TrainingConfig(gradient_checkpointing=True))
    found, news = fit_memory(stage, locate(str(model)), "cpu", free=10**12)
    assert not found.training.gradient_checkpointing
    assert news == ""
    assert fit_memory(stage, locate(str(model)), "cuda", free=10**12) == (stage, "")


def test_a_run_that_goes_on_keeps_its_parts() -> None:
    before = run._as_before(MntpConfig(), {"chunk": 5, "gradient_checkpointing": True, "state": "running"})
    assert (before.training.chunk, before.training.gradient_checkpointing) == (5, True)
    assert run._as_before(MntpConfig(), {"state": "running"}) == MntpConfig()


def test_lora_on_smollm2_has_the_parameters_that_peft_counts() -> None:
    need = training_need(SMOLLM2, MntpConfig(), 4, Step(1, 1))
    assert need.trained == 16 * 4_884_480  # peft, rank 16 on the seven layers


def test_parts_go_the_way_they_must() -> None:
    plain, sparing = MntpConfig(), MntpConfig(training=TrainingConfig(gradient_checkpointing=True))
    whole = training_need(SMOLLM2, plain, 4, step_of(plain, 512))
    assert whole.total > 30e9  # seen: out of memory with 24 GB
    assert training_need(SMOLLM2, sparing, 4, step_of(sparing, 512)).activations < whole.activations / 8
    assert whole.logits == int(0.2 * 32 * 512) * 49_152 * 12
    chunked = MntpConfig(training=TrainingConfig(chunk=4))
    assert step_of(chunked, 512).rows == 4
    assert training_need(SMOLLM2, chunked, 4, step_of(chunked, 512)).total < whole.total / 4


@pytest.mark.parametrize(
    ("stage", "rows"),
    [(SimcseConfig(), 256), (SupervisedConfig(negatives=2), 512 * 4), (SupervisedConfig(TrainingConfig(chunk=8)), 8)],
)
def test_texts_of_a_contrastive_step(stage: StageConfig, rows: int) -> None:
    assert step_of(stage, 128).rows == rows


@pytest.mark.parametrize("free", [2e9, 5e9, 20e9])
def test_the_largest_batch_is_the_largest(free: float) -> None:
    stage = MntpConfig()
    rows = largest_rows(SMOLLM2, stage, 4, 512, int(free))
    assert 0 < rows < 32
    fits = [training_need(SMOLLM2, stage, 4, step_of(stage, 512, count)).total <= free for count in (rows, rows + 1)]
    assert fits == [True, False]


def refusal(model: Path, stage: StageConfig, free: float, **data) -> str:
    with pytest.raises(AdaptError) as refused:
        require_memory(stage, locate(str(model)), "cpu", free=int(free), **data)
    return str(refused.value)


def test_a_refusal_names_what_fits(model: Path) -> None:
    stage = MntpConfig(PADDED)
    shape = read_shape(model)
    assert shape is not None
    half = training_need(shape, stage, 4, step_of(stage, 512, 16)).total
    said = refusal(model, stage, half + 1)
    assert "32 x 512 tokens at once need" in said
    assert "the largest batch that fits is 16 x 512" in said
    assert "--gradient-checkpointing" in said and "--chunk 16" in said
    assert require_memory(MntpConfig(replace(PADDED, batch_size=16)), locate(str(model)), "cpu", free=half + 1)


def test_where_not_even_one_row_fits_the_length_is_named(model: Path) -> None:
    shape = read_shape(model)
    assert shape is not None
    stage = MntpConfig(TrainingConfig(gradient_checkpointing=True, dtype="float32"))
    free = training_need(shape, stage, 4, step_of(stage, 128, 1)).total
    assert "--batch-size 1 --max-length 128" in refusal(model, stage, free)
    assert "use a smaller model" in refusal(model, replace(stage, training=TrainingConfig(train="all")), 1)


def test_short_texts_count_by_their_length(model: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("bees make honey\n" * 4)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"query": "q", "positive": "bees " * 2_000, "negative": "n"}) + "\n")
    checkpoint: Checkpoint = locate(str(model))
    assert longest(SimcseConfig(), checkpoint, [texts], []) < 64
    assert longest(SupervisedConfig(), checkpoint, [], [PairFile(pairs)]) == 512
    assert longest(MntpConfig(), checkpoint, [texts], []) == 512


def test_auto_gives_way_to_bfloat16_and_what_was_asked_for_does_not(model: Path, caplog) -> None:
    checkpoint, shape = locate(str(model)), read_shape(model)
    assert shape is not None
    training, free = TrainingConfig(), shape.parameters * 3
    assert training_precision(checkpoint, training, "cpu", shape.parameters * 5) == "float32"
    assert training_precision(checkpoint, training, "cpu", free) == "bfloat16"
    assert "is trained in bfloat16: float32 weights need" in caplog.text
    for fixed in (TrainingConfig(dtype="float32"), TrainingConfig(train="all")):
        assert training_precision(checkpoint, fixed, "cpu", free) == "float32"


def test_a_stage_that_does_not_fit_leaves_nothing_behind(model: Path, tmp_path: Path, monkeypatch) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("bees make honey\n" * 9)
    monkeypatch.setattr(run, "require_memory", lambda *given, **data: require_memory(*given, **data, free=10_000))
    with pytest.raises(AdaptError, match="are free on cpu"):
        run.run_stage(MntpConfig(), model=str(model), to=tmp_path / "out", texts=[texts])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: …"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_memory_ran_out(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_torch_says_so_itself() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        torch.empty(1 << 58, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
