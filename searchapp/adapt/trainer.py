"""transformers' Trainer, told what a step is; and what a training run may die of.

The trainer brings optimiser, schedule, clipping, checkpoints, several processes and TensorBoard. A step's batch, its
masks and its dropout are functions of the step's number, so that a run that was killed goes on to the same curve
without the state of any generator having been saved.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from searchapp.adapt.distributed import total, world
from searchapp.adapt.model import TrainableModel
from searchapp.adapt.objectives.base import Objective
from searchapp.errors import AdaptError

HISTORY, COMPLETE = "history.json", "complete"  # files of a checkpoint; the second is written last
Progress = Callable[[int, int, dict[str, float]], None]  # (step, steps, {"loss", "learning_rate", "tokens"})


class StageTrainer(Trainer):  # type: ignore[misc, unused-ignore]  # transformers does not type it
    """Trains what a task says, step by step."""

    def __init__(self, task: Objective, arguments: TrainingArguments, progress: Progress | None) -> None:
        self.task = task
        self.history: list[dict[str, float]] = []
        self._progress = progress
        super().__init__(model=task.trainee, args=arguments, callbacks=[Watch(self)])

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One empty item a step: the batch is made in the step, from its number."""
        return DataLoader(range(self.args.max_steps), batch_size=1, collate_fn=lambda _: {})  # type: ignore[arg-type]

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Span the schedule over its own number of steps, which may be more than are made."""
        settings = self.task.trainee.training_settings
        scheduler: torch.optim.lr_scheduler.LRScheduler = super().create_scheduler(
            settings.schedule_steps or num_training_steps, optimizer
        )
        return scheduler

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Make the step's gradients. Raises AdaptError, before any weight has changed, when its loss is no number."""
        model.train()
        step, began = self.state.global_step, time.perf_counter()
        loss, tokens = self.task.backward(model, step)
        row = {
            "step": step + 1,
            "loss": loss.item(),
            "learning_rate": self._get_learning_rate(),
            "tokens": int(total(torch.tensor(tokens, device=loss.device))),
        }
        if not math.isfinite(row["loss"]):
            raise AdaptError(
                f"the loss of step {step + 1} is {row['loss']} (batch: {self.task.describe(step)}); the weights of the "
                "last checkpoint are kept: lower the learning rate, or look at that batch"
            )
        self.history.append({**row, "seconds": time.perf_counter() - began})
        if self._progress is not None and world()[0] == 0:
            self._progress(step + 1, self.args.max_steps, row)
        return loss.detach()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if not self.args.should_save:  # the trainer asks every process
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        self.task.trainee.save_weights(folder)
        (folder / HISTORY).write_text(json.dumps(self.history), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        self.task.trainee.load_weights(folder)
        self.history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))


class Watch(TrainerCallback):  # type: ignore[misc, unused-ignore]  # as above
    """Marks the checkpoints that are whole, and stops at gradients that are no numbers."""

    def __init__(self, trainer: StageTrainer) -> None:
        self._trainer = trainer

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Write the mark, last."""
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    def on_pre_optimizer_step(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Raise AdaptError before a gradient that is no number reaches the weights."""
        for name, parameter in self._trainer.task.trainee.named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                step = state.global_step
                raise AdaptError(
                    f"the gradient of {name} in step {step + 1} is not finite (batch: "
                    f"{self._trainer.task.describe(step)}); the weights of the last checkpoint are kept: lower the "
                    "learning rate, or look at that batch"
                )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end.

    Others are removed: the trainer would count them among those it keeps.
    """
    for path in folder.glob("checkpoint-*"):
        if not (path / COMPLETE).exists() and world()[0] == 0:
            shutil.rmtree(path, ignore_errors=True)
    found = {int(path.name.removeprefix("checkpoint-")): path for path in folder.glob("checkpoint-*")}
    return next((found[step] for step in sorted(found, reverse=True) if (found[step] / COMPLETE).exists()), None)


def trained_names(trainee: TrainableModel) -> list[str]:
    """Names of all parameters that training changes."""
    return [name for name, parameter in trainee.named_parameters() if parameter.requires_grad]
