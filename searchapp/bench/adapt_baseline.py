"""What ``searchapp bench adapt`` compares: a stage of ours, and the script one writes for it with Trainer and peft."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from searchapp.adapt.objectives.mntp import MntpObjective
from searchapp.adapt.objectives.simcse import SimcseObjective
from searchapp.adapt.objectives.supervised import SupervisedObjective
from searchapp.adapt.trainer import StageTrainer, trainer_arguments
from searchapp.encoder.library import quiet
from searchapp.progress import Silent

if TYPE_CHECKING:
    from searchapp.encoder.tokenization import Tokens

Clock = Callable[[], float]


@dataclass
class Training:
    """A program in one stage: ``run`` makes the steps; then the seconds and the loss of each are there."""

    name: str
    run: Callable[[], None]
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class _Stopwatch(TrainerCallback):  # type: ignore[misc, unused-ignore]  # transformers does not type it
    """Times the steps of a training, optimizer and all."""

    def __init__(self, made: Training, clock: Clock) -> None:
        self._made, self._clock, self._began = made, clock, 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """A step begins."""
        self._began = self._clock()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step ends."""
        self._made.seconds.append(self._clock() - self._began)


def ours(objective: Any, folder: Path, clock: Clock) -> Training:
    """The steps of a stage as ``searchapp adapt`` makes them."""

    def run() -> None:
        made.seconds.clear()
        arguments = trainer_arguments(objective.trainee.training_settings, folder / "checkpoints", folder)
        arguments.save_strategy = "no"
        trainer = _silent(StageTrainer(objective, arguments, Silent()))
        trainer.add_callback(_Stopwatch(made, clock))
        trainer.train()
        made.losses = [row["loss"] for row in trainer.history]

    made = Training("searchapp", run)
    return made


def baseline(objective: Any, weights: Path, folder: Path, clock: Clock) -> Training:
    """A plain script of transformers' Trainer and peft for the same stage: weights, batches and settings are the same.

    Its batches are tokenized, and their tokens hidden, before it starts. A collator pads them to the longest.
    """
    training = objective.trainee.training_settings
    steps = training.steps
    if isinstance(objective, MntpObjective):
        batches: list[dict[str, Any]] = [_blocks(objective, step) for step in range(steps)]
        kind: Any = AutoModelForCausalLM
    else:
        kind = AutoModel
        groups = [
            [objective.tokens(step)] * 2 if isinstance(objective, SimcseObjective) else objective.tokens(step)
            for step in range(steps)
        ]
        filler = objective.trainee.tokenizer.pad_token_id or 0
        batches = [{"groups": [_padded(group, filler) for group in step if group]} for step in groups]
    model = _model(kind, weights, objective)
    arguments = TrainingArguments(
        output_dir=str(folder / "baseline"), max_steps=steps, per_device_train_batch_size=1,
        learning_rate=training.learning_rate, lr_scheduler_type="linear", optim="adamw_torch", logging_steps=1,
        save_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False, use_cpu=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    if training.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()

    def run() -> None:
        made.seconds.clear()
        scale = None if isinstance(objective, MntpObjective) else float(objective.stage.scale)
        trainer = _silent(_PlainTrainer(scale, model=model, args=arguments, train_dataset=batches))
        trainer.add_callback(_Stopwatch(made, clock))
        trainer.train()
        made.losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]

    made = Training("Trainer + peft", run)
    return made


class _PlainTrainer(Trainer):  # type: ignore[misc, unused-ignore]  # as above
    """The trainer with a contrastive loss where the model has none; batches come whole and in their order."""

    def __init__(self, scale: float | None, **options: Any) -> None:
        self._scale = scale
        super().__init__(data_collator=lambda rows: rows[0], **options)

    def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
        return None

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """InfoNCE over mean-pooled vectors, or the language model's own loss."""
        if self._scale is None:
            return model(**inputs).loss
        vectors = []
        for group in inputs["groups"]:
            pooled = group["pool"][:, :, None]
            hidden = model(input_ids=group["input_ids"], attention_mask=group["attention_mask"]).last_hidden_state
            vectors.append(normalize((hidden * pooled).sum(1) / pooled.sum(1), dim=-1))
        scores = self._scale * vectors[0] @ torch.cat(vectors[1:]).T
        return cross_entropy(scores, torch.arange(len(scores)))


def _blocks(objective: MntpObjective, step: int) -> dict[str, torch.Tensor]:
    masked, _ = objective.masked(step)
    return {"input_ids": masked.ids, "labels": masked.labels, "attention_mask": torch.ones_like(masked.ids)}


def _padded(texts: Sequence[Tokens], filler: int) -> dict[str, torch.Tensor]:
    longest = max(len(text.ids) for text in texts)
    made = {
        "input_ids": torch.full((len(texts), longest), filler),
        "attention_mask": torch.zeros(len(texts), longest, dtype=torch.long),
        "pool": torch.zeros(len(texts), longest),
    }
    for row, text in enumerate(texts):
        made["input_ids"][row, : len(text.ids)] = torch.as_tensor(text.ids)
        made["attention_mask"][row, : len(text.ids)] = 1
        made["pool"][row, text.start : text.end] = 1
    return made


def _model(kind: Any, weights: Path, objective: MntpObjective | SimcseObjective | SupervisedObjective) -> Any:
    from peft import LoraConfig, get_peft_model

    from searchapp.adapt.model import linear_layers

    training = objective.trainee.training_settings
    config = AutoConfig.from_pretrained(weights)
    config.is_causal = False
    config.attention_dropout = getattr(objective.stage, "attention_dropout", config.attention_dropout)
    with quiet():
        model = kind.from_pretrained(weights, config=config, dtype=objective.trainee.dtype, trust_remote_code=False)
    lora = LoraConfig(
        r=training.lora_r, lora_alpha=training.lora_alpha, lora_dropout=_rate(training.lora_dropout),
        target_modules=[name for name in linear_layers(model) if name != "lm_head"], bias="none",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in loading ours
        wrapped = get_peft_model(model, lora)
    theirs = dict(objective.trainee.decoder.named_parameters())
    with torch.no_grad():  # the same first adapters
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(theirs[name.replace("base_model.model.model.", "base_model.model.")])
    return wrapped


def _rate(dropout: float) -> float:
    return 0.0 if dropout < 1e-4 else dropout


def _silent(trainer: Any) -> Any:
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer
