"""What one writes with transformers' Trainer and peft for the same two stages: padding and masks in the collator."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.gpu import internals
from benchmarks.gpu.record import Run
from benchmarks.gpu.shapes import Model

MASKED, SCALE, IGNORED = 0.2, 50.0, -100


def make(run: Run, model: Model, stage: str, data: Path, checkpointing: bool, told: Callable[[float], None]) -> Trainer:
    """A trainer over a random decoder; ``told`` hears after each step how many tokens it had."""
    head = stage == "mntp"
    decoder = internals.decoder(model, run.device, head=head)
    if checkpointing:
        decoder.enable_input_require_grads()
    body = decoder.model if head else decoder
    lora = LoraConfig(
        r=16,
        lora_alpha=32,
        lora_dropout=0.05,
        bias="none",
        target_modules=internals.linear_layers(body),
        task_type=None,
    )
    rows = _blocks(run, data) if head else _pairs(data)
    collate = _masked if head else _Padded(run.shapes.length)
    kind = Trainer if head else _Contrastive
    trainer = kind(
        model=get_peft_model(decoder, lora),
        args=_arguments(run, head, checkpointing),
        train_dataset=rows,
        data_collator=collate,
        callbacks=[_Told(rows, run.shapes.blocks if head else run.shapes.pairs, told, collate)],
    )
    return trainer


def _arguments(run: Run, head: bool, checkpointing: bool) -> TrainingArguments:
    place = run.work / "rival"
    shutil.rmtree(place, ignore_errors=True)
    return TrainingArguments(
        output_dir=str(place),
        max_steps=run.shapes.warm + run.shapes.steps,
        per_device_train_batch_size=run.shapes.blocks if head else run.shapes.pairs,
        learning_rate=5e-5,
        gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        optim="adamw_torch",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=run.device == "cpu",
    )


def _blocks(run: Run, data: Path) -> list[torch.Tensor]:
    """Texts end to end, cut into blocks."""
    ids = torch.tensor(internals.tokenizer()(data.read_text(encoding="utf-8"))["input_ids"])
    length = run.shapes.length
    return list(ids[: len(ids) // length * length].view(-1, length))


def _masked(blocks: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Hide tokens; the model shifts the labels itself, so that each is read from the state before it."""
    ids = torch.stack(blocks)
    hidden = torch.rand(ids.shape) < MASKED
    return {"input_ids": ids.masked_fill(hidden, 5), "labels": ids.masked_fill(~hidden, IGNORED)}


def _pairs(data: Path) -> list[list[str]]:
    """Query, positive and negative of each row."""
    rows = map(json.loads, data.read_text(encoding="utf-8").splitlines())
    return [[row["query"], row["positive"], row["negative"]] for row in rows]


class _Padded:
    """Tokenizes and pads queries, positives and negatives, each apart."""

    def __init__(self, longest: int) -> None:
        self._cut, self._longest = internals.tokenizer(), longest

    def __call__(self, rows: list[list[str]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, texts in zip(("query", "positive", "negative"), zip(*rows, strict=True), strict=True):
            batch = self._cut(list(texts), padding=True, truncation=True, max_length=self._longest, return_tensors="pt")
            made |= {f"{name}_ids": batch["input_ids"], f"{name}_mask": batch["attention_mask"]}
        return made


class _Contrastive(Trainer):
    """InfoNCE over the batch and its negatives, on the mean of the last states."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """One forward pass for queries, one for positives, one for negatives."""
        vectors = []
        for name in ("query", "positive", "negative"):
            mask = inputs[f"{name}_mask"]
            states = model(input_ids=inputs[f"{name}_ids"], attention_mask=mask).last_hidden_state.float()
            vectors.append((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        queries, *others = (torch.nn.functional.normalize(part, dim=-1) for part in vectors)
        scores = SCALE * queries @ torch.cat(others).T
        return torch.nn.functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


class _Told(TrainerCallback):
    """Tells of the end of each step, with the mean of a step's tokens, padding not counted."""

    def __init__(self, rows: list[Any], size: int, told: Callable[[float], None], collate: Any) -> None:
        sample = list(islice(rows, 4 * size))
        batch = collate(sample)
        masks = [value for name, value in batch.items() if name.endswith("_mask")]
        tokens = sum(int(mask.sum()) for mask in masks) if masks else batch["input_ids"].numel()
        self._tokens, self._told = tokens * size / len(sample), told

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See the class."""
        self._told(self._tokens)
