"""transformers' Trainer with the steps of an objective; what stops a run; and which checkpoints are whole.

The trainer brings optimiser, schedule, clipping, checkpoints, several processes and TensorBoard. A step's batch, its
masks and its dropout are functions of the step's number, so that a run that was killed goes on to the same curve
without the state of any generator having been saved.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from searchapp.adapt.config import TrainingConfig
from searchapp.adapt.distributed import all_reduce_sum, env_world_size, rank_and_world_size
from searchapp.adapt.model import TrainableModel
from searchapp.adapt.objectives.base import Objective
from searchapp.errors import AdaptError
from searchapp.progress import Progress

HISTORY, COMPLETE = "history.json", "complete"  # files of a checkpoint; the second is written last


class StageTrainer(Trainer):  # type: ignore[misc, unused-ignore]  # transformers does not type it
    """Minimises an objective; ``progress`` advances by each step, with its ``loss`` and ``tokens``."""

    def __init__(self, objective: Objective, arguments: TrainingArguments, progress: Progress) -> None:
        self.objective = objective
        self.history: list[dict[str, float]] = []
        self._progress = progress
        super().__init__(model=objective.trainee, args=arguments, callbacks=[Watch(self)])

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One empty item a step: the batch is made in the step, from its number."""
        return DataLoader(range(self.args.max_steps), batch_size=1, collate_fn=lambda _: {})  # type: ignore[arg-type]

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Span the schedule over its own number of steps, which may be more than are made."""
        settings = self.objective.trainee.training_settings
        scheduler: torch.optim.lr_scheduler.LRScheduler = super().create_scheduler(
            settings.schedule_steps or num_training_steps, optimizer
        )
        return scheduler

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Make the step's gradients. Raises AdaptError, before any weight has changed, when its loss is no number."""
        model.train()
        step, began = self.state.global_step, time.perf_counter()
        loss, tokens = self.objective.backward(model, step)
        row = {
            "step": step + 1,
            "loss": loss.item(),
            "learning_rate": self._get_learning_rate(),
            "tokens": int(all_reduce_sum(torch.tensor(tokens, device=loss.device))),
        }
        if not math.isfinite(row["loss"]):
            batch = self.objective.describe(step)
            raise AdaptError(
                f"the loss of step {step + 1} is {row['loss']} (batch: {batch}); the weights of the last checkpoint "
                "are kept: lower the learning rate, or look at that batch"
            )
        self.history.append({**row, "seconds": time.perf_counter() - began})
        self._progress.advance(1, loss=row["loss"], tokens=row["tokens"])
        return loss.detach()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if not self.args.should_save:  # the trainer asks every process
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        self.objective.trainee.save_weights(folder)
        self.objective.trainee.settings.save(folder)  # so that a checkpoint is a model of its own
        (folder / HISTORY).write_text(json.dumps(self.history), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        self.objective.trainee.load_weights(folder)
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
        for name, parameter in self._trainer.objective.trainee.named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                step = state.global_step
                batch = self._trainer.objective.describe(step)
                raise AdaptError(
                    f"the gradient of {name} in step {step + 1} is not finite (batch: {batch}); the weights of the "
                    "last checkpoint are kept: lower the learning rate, or look at that batch"
                )


def trainer_arguments(training: TrainingConfig, checkpoints: Path, board: Path) -> TrainingArguments:
    """The trainer's own settings; it writes checkpoints and TensorBoard's events to these folders.

    With several processes it is here that they meet.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = training.device
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if training.tensorboard:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(board)
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=training.steps,
        per_device_train_batch_size=1,
        learning_rate=training.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim="adamw_torch",
        seed=training.seed,
        logging_steps=10,
        logging_nan_inf_filter=False,
        save_steps=training.save_steps,
        save_total_limit=training.keep_checkpoints or None,
        ignore_data_skip=True,
        remove_unused_columns=False,
        report_to=["tensorboard"] if training.tensorboard else [],
        disable_tqdm=True,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and env_world_size() > 1 else None,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # in each forward pass, and processes may make different numbers of them
        dataloader_pin_memory=False,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs take a process each, or the trainer splits every batch
    return arguments


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end.

    Others are removed: the trainer would count them among those it keeps.
    """
    for path in folder.glob("checkpoint-*"):
        if not (path / COMPLETE).exists() and rank_and_world_size()[0] == 0:
            shutil.rmtree(path, ignore_errors=True)
    found = {int(path.name.removeprefix("checkpoint-")): path for path in folder.glob("checkpoint-*")}
    return next((found[step] for step in sorted(found, reverse=True) if (found[step] / COMPLETE).exists()), None)


def trained_names(trainee: TrainableModel) -> list[str]:
    """Names of all parameters that training changes."""
    return [name for name, parameter in trainee.named_parameters() if parameter.requires_grad]
