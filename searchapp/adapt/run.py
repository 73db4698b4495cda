"""Run one stage of the recipe from files to a directory that ``Encoder.load`` takes, and record how it was made."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.adapt.config import MntpConfig, SimcseConfig, StageConfig, SupervisedConfig
from searchapp.adapt.data import PairFile, read_pairs, read_texts
from searchapp.adapt.distributed import env_rank, env_world_size
from searchapp.adapt.memory import fit_memory, require_memory
from searchapp.adapt.run_record import RECORD, RunRecord, describe_run, find_record, now, write_record
from searchapp.encoder.checkpoint import locate
from searchapp.encoder.devices import choose_device
from searchapp.encoder.free_memory import free_memory
from searchapp.errors import AdaptError, is_disk_full, is_out_of_memory, reason_of
from searchapp.heap import freed_memory_returned
from searchapp.progress import Progress, Silent

if TYPE_CHECKING:
    from searchapp.adapt.objectives.base import Objective

log = logging.getLogger("searchapp")
FITTED = ("chunk", "gradient_checkpointing")  # settings that memory decides; the record keeps what was taken
WORK, CHECKPOINTS, BOARD = "work", "checkpoints", "tensorboard"  # below the run; the first two go when it is complete


def run_stage(
    settings: StageConfig,
    *,
    model: str,
    to: Path,
    texts: Sequence[Path] = (),
    pairs: Sequence[PairFile] = (),
    adapters: Sequence[str] = (),
    progress: Progress | None = None,
) -> RunRecord:
    """Train one stage into ``to``; go on where a run that was stopped had come to; do nothing when it is complete.

    ``texts`` are for MNTP and SimCSE, ``pairs`` for supervised training. The last stage of ``progress`` has the
    name of the settings, and advances by steps with their ``loss`` and ``tokens``. Where memory asks for it the batch
    goes through in parts, which is said. Raises AdaptError for data that cannot be
    used, a directory that holds something else or another run, and a loss that is no longer a number; ModelError for
    a base that cannot be made bidirectional.
    """
    asked = settings
    check_data(settings, texts, pairs)
    _require_even(settings)
    if settings.training.device == "cuda":
        choose_device("cuda")  # an absent GPU is reported before any work
    shown = progress or Silent()
    if new := not (to / RECORD).exists():  # before the weights are hashed, which takes a minute where they are large
        settings, tight = _fit_memory(settings, model, adapters, texts, pairs)
    wanted = describe_run(asked, model, adapters, texts, pairs)
    found = find_record(to, wanted)
    if found is not None and found["state"] == "complete":
        return RunRecord(to, found, already_done=True)
    _require_packages()
    if not new:  # the same parts as before, or dropout would be drawn differently
        settings = _as_before(settings, found or {})
        settings, tight = _fit_memory(settings, model, adapters, texts, pairs)
    wanted |= {name: getattr(settings.training, name) for name in FITTED}
    _begin(to, wanted, fresh=found is None)
    from searchapp.adapt.trainer import trainer_arguments

    arguments = trainer_arguments(settings.training, to / CHECKPOINTS, to / BOARD)  # the processes meet here
    objective = make_objective(settings, model, adapters, texts, pairs, to / WORK, shown)
    with freed_memory_returned() if tight else nullcontext():
        return _train(objective, arguments, wanted, to, shown)


def _fit_memory(
    settings: StageConfig, model: str, adapters: Sequence[str], texts: Sequence[Path], pairs: Sequence[PairFile]
) -> tuple[StageConfig, bool]:
    """The settings that fit, and whether that is so much that freed memory has to go back at once.

    A kept heap takes up to twice the need.
    """
    device, checkpoint = choose_device(settings.training.device), locate(model, list(adapters))
    settings, news = fit_memory(settings, checkpoint, device, texts=texts, pairs=pairs)
    if news:
        log.warning("%s", news)
    need = require_memory(settings, checkpoint, device, texts=texts, pairs=pairs)
    free = free_memory(device) if device == "cpu" else None
    return settings, need is not None and free is not None and need.total + need.activations > free


def _as_before(settings: StageConfig, found: dict[str, Any]) -> StageConfig:
    kept = {name: found[name] for name in FITTED if name in found}
    return replace(settings, training=replace(settings.training, **kept))


def _require_even(settings: StageConfig) -> None:
    size, processes = settings.training.batch_size, env_world_size()
    if size % processes:
        raise AdaptError(
            f"a batch of {size} cannot be shared by {processes} processes; give a batch size that is a multiple of "
            f"{processes}"
        )


def _begin(to: Path, wanted: dict[str, Any], *, fresh: bool) -> None:
    """Make the directory, and write the record of a run that goes on."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        if fresh and env_rank() == 0:
            write_record(to, wanted | {"state": "running", "history": []})
    except OSError as error:
        if is_disk_full(error):  # the command line has its own message for a full disk
            raise
        raise AdaptError(
            f"{to} cannot be written to ({reason_of(error)}); give a directory where a run can be kept"
        ) from error


def check_data(settings: StageConfig, texts: Sequence[Path], pairs: Sequence[PairFile]) -> None:
    """Raise AdaptError when the data do not fit the stage, or a file's first row cannot be used."""
    if isinstance(settings, SupervisedConfig):
        if not pairs:
            raise AdaptError("supervised training needs pairs; give files of {query, positive, negative} rows")
        for file in pairs:
            next(read_pairs(file))
    else:
        for path in texts:
            next(read_texts([path]))
        if not texts:
            raise AdaptError(f"{settings.name} needs text; give files of one text a line")


def make_objective(
    settings: StageConfig,
    model: str,
    adapters: Sequence[str],
    texts: Sequence[Path],
    pairs: Sequence[PairFile],
    work: Path,
    progress: Progress | None = None,
) -> Objective:
    """Load the model and the data of a stage; what has to be kept of them goes into ``work``."""
    from searchapp.adapt.model import load_trainable_model
    from searchapp.adapt.objectives.mntp import MntpObjective
    from searchapp.adapt.objectives.simcse import SimcseObjective
    from searchapp.adapt.objectives.supervised import SupervisedObjective

    work = work / str(env_rank())  # each process has its own
    shown = progress if progress is not None and env_rank() == 0 else Silent()
    shown.stage(f"loading {model}")
    match settings:
        case MntpConfig():
            trainee = load_trainable_model(model, settings.training, adapters=adapters)
            shown.stage("reading and tokenising the texts")
            return MntpObjective(trainee, settings, texts, work)
        case SimcseConfig():
            trainee = load_trainable_model(
                model,
                settings.training,
                adapters=adapters,
                pooling=settings.pooling,
                attention_dropout=settings.attention_dropout,
            )
            shown.stage("reading the texts")
            return SimcseObjective(trainee, settings, texts, work)
        case SupervisedConfig():
            trainee = load_trainable_model(model, settings.training, adapters=adapters, pooling=settings.pooling)
            if settings.query_instruction:
                trainee.settings = trainee.settings.with_options(query_instruction=settings.query_instruction)
            shown.stage("reading the pairs")
            return SupervisedObjective(trainee, settings, pairs, work)


def _train(objective: Objective, arguments: Any, wanted: dict[str, Any], to: Path, progress: Progress) -> RunRecord:
    import torch
    from transformers.trainer_callback import PrinterCallback

    from searchapp.adapt.distributed import rank_and_world_size
    from searchapp.adapt.trainer import StageTrainer, last_checkpoint, trained_names

    checkpoint = last_checkpoint(to / CHECKPOINTS)
    resumed = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
    rank, processes = rank_and_world_size()
    shown = progress if rank == 0 else Silent()
    shown.stage(wanted["stage"], arguments.max_steps, "step", done=resumed)
    trainer = StageTrainer(objective, arguments, shown)
    trainer.remove_callback(PrinterCallback)
    try:
        with warnings.catch_warnings():
            # torch has renamed it, accelerate has not
            warnings.filterwarnings("ignore", ".*broadcast_buffers", category=FutureWarning)
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise AdaptError(
            f"the device ran out of memory in step {trainer.state.global_step + 1}; the last checkpoint is kept: close "
            "other programs and give the same command again, or start anew with a smaller --chunk (the result is the "
            "same) or with --gradient-checkpointing"
        ) from error
    seconds = sum(row["seconds"] for row in trainer.history)
    tokens = sum(row["tokens"] for row in trainer.history)
    content = wanted | {
        "state": "complete",
        "processes": processes,
        "rows_per_step": objective.rows_per_step,
        "device": str(objective.trainee.device.type),
        "dtype": str(objective.trainee.dtype).removeprefix("torch."),
        "trained": trained_names(objective.trainee),
        "trained_parameters": sum(p.numel() for p in objective.trainee.parameters() if p.requires_grad),
        "seconds": round(seconds, 3),
        "tokens": int(tokens),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else 0.0,
        "history": trainer.history,
    }
    if rank == 0:
        from searchapp.adapt.loss_curve import draw

        objective.trainee.save(to)
        draw(trainer.history, to / "loss.png", title=f"{wanted['stage']} on {wanted['model']['name']}")
        write_record(to, content | {"finished": now()})
        for folder in (CHECKPOINTS, WORK):
            shutil.rmtree(to / folder, ignore_errors=True)
    if processes > 1:
        torch.distributed.barrier()
    return RunRecord(to, json.loads((to / RECORD).read_text(encoding="utf-8")), resumed_at=resumed)


def _require_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("accelerate", "datasets", "matplotlib") if find_spec(name) is None]
    if missing:
        raise AdaptError(f"training needs {', '.join(missing)}; pip install 'searchapp[adapt]'")
