"""Run one stage of the recipe from files to a directory that ``Encoder.load`` takes, and record how it was made."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.adapt.config import MntpConfig, SimcseConfig, StageConfig, SupervisedConfig, flat
from searchapp.adapt.data import PairFile, hash_file, read_pairs, read_texts
from searchapp.adapt.distributed import launched
from searchapp.encoder.checkpoint import locate
from searchapp.encoder.devices import choose_device
from searchapp.errors import AdaptError
from searchapp.provenance import package_versions

if TYPE_CHECKING:
    from searchapp.adapt.objectives.base import Objective
    from searchapp.adapt.trainer import Progress

RECORD = "run.json"
WORK, CHECKPOINTS, BOARD = "work", "checkpoints", "tensorboard"  # below the run; the first two go when it is complete
PACKAGES = ("searchapp", "torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "numpy")
PLACES = ("device", "tensorboard", "save_steps")  # settings that decide nothing


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` holds; ``history`` has a row a step: step, loss, learning_rate, tokens, seconds."""

    directory: Path
    content: dict[str, Any]
    already_done: bool = False
    resumed_at: int = 0

    @property
    def history(self) -> list[dict[str, float]]:
        """One row a step."""
        rows: list[dict[str, float]] = self.content["history"]
        return rows


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

    ``texts`` are for MNTP and SimCSE, ``pairs`` for supervised training. Raises AdaptError for data that cannot be
    used, a directory that holds something else or another run, and a loss that is no longer a number; ModelError for
    a base that cannot be made bidirectional.
    """
    check_data(settings, texts, pairs)
    _require_even(settings)
    if settings.training.device == "cuda":
        choose_device("cuda")  # said before any work
    wanted = _describe(settings, model, adapters, texts, pairs)
    found = _existing(to, wanted)
    if found is not None and found["state"] == "complete":
        return RunRecord(to, found, already_done=True)
    _require_packages()
    _begin(to, wanted, fresh=found is None)
    arguments = _arguments(settings, to)  # the processes meet here
    task = _make_task(settings, model, adapters, texts, pairs, to / WORK)
    return _train(task, arguments, wanted, to, progress)


def _require_even(settings: StageConfig) -> None:
    size, processes = settings.training.batch_size, launched()[1]
    if size % processes:
        raise AdaptError(
            f"a batch of {size} cannot be shared by {processes} processes; give a batch size that is a multiple of "
            f"{processes}"
        )


def _begin(to: Path, wanted: dict[str, Any], *, fresh: bool) -> None:
    """Make the directory, and say in it what is run there."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        if fresh and launched()[0] == 0:
            _write(to, wanted | {"state": "running", "history": []})
    except OSError as error:
        if error.errno == errno.ENOSPC:  # the program has a word of its own for it
            raise
        raise AdaptError(
            f"{to} cannot be written to ({error.strerror}); give a directory where a run can be kept"
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


def _make_task(
    settings: StageConfig,
    model: str,
    adapters: Sequence[str],
    texts: Sequence[Path],
    pairs: Sequence[PairFile],
    work: Path,
) -> Objective:
    from searchapp.adapt.model import load_trainable_model
    from searchapp.adapt.objectives.mntp import MntpObjective
    from searchapp.adapt.objectives.simcse import SimcseObjective
    from searchapp.adapt.objectives.supervised import SupervisedObjective

    work = work / str(launched()[0])  # each process has its own
    match settings:
        case MntpConfig():
            return MntpObjective(
                load_trainable_model(model, settings.training, adapters=adapters), settings, texts, work
            )
        case SimcseConfig():
            trainee = load_trainable_model(
                model,
                settings.training,
                adapters=adapters,
                pooling=settings.pooling,
                attention_dropout=settings.attention_dropout,
            )
            return SimcseObjective(trainee, settings, texts, work)
        case SupervisedConfig():
            trainee = load_trainable_model(model, settings.training, adapters=adapters, pooling=settings.pooling)
            if settings.query_instruction:
                trainee.settings = trainee.settings.with_options(query_instruction=settings.query_instruction)
            return SupervisedObjective(trainee, settings, pairs, work)


def _train(task: Objective, arguments: Any, wanted: dict[str, Any], to: Path, progress: Progress | None) -> RunRecord:
    import torch
    from transformers.trainer_callback import PrinterCallback

    from searchapp.adapt.distributed import world
    from searchapp.adapt.trainer import StageTrainer, last_checkpoint, trained_names

    checkpoint = last_checkpoint(to / CHECKPOINTS)
    trainer = StageTrainer(task, arguments, progress)
    trainer.remove_callback(PrinterCallback)
    try:
        with warnings.catch_warnings():
            # torch has renamed it, accelerate has not
            warnings.filterwarnings("ignore", ".*broadcast_buffers", category=FutureWarning)
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except torch.OutOfMemoryError as error:
        raise AdaptError(
            f"the device ran out of memory in step {trainer.state.global_step + 1}; set --chunk to a smaller number of "
            "rows (the result is the same), or --gradient-checkpointing"
        ) from error
    rank, processes = world()
    seconds = sum(row["seconds"] for row in trainer.history)
    tokens = sum(row["tokens"] for row in trainer.history)
    content = wanted | {
        "state": "complete",
        "processes": processes,
        "rows_per_step": task.rows_per_step,
        "device": str(task.trainee.device.type),
        "dtype": str(task.trainee.dtype).removeprefix("torch."),
        "trained": trained_names(task.trainee),
        "trained_parameters": sum(p.numel() for p in task.trainee.parameters() if p.requires_grad),
        "seconds": round(seconds, 3),
        "tokens": int(tokens),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else 0.0,
        "history": trainer.history,
    }
    if rank == 0:
        from searchapp.adapt.loss_curve import draw

        task.trainee.save(to)
        draw(trainer.history, to / "loss.png", title=f"{wanted['stage']} on {wanted['model']['name']}")
        _write(to, content | {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        for folder in (CHECKPOINTS, WORK):
            shutil.rmtree(to / folder, ignore_errors=True)
    if processes > 1:
        torch.distributed.barrier()
    resumed = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
    return RunRecord(to, json.loads((to / RECORD).read_text(encoding="utf-8")), resumed_at=resumed)


def _arguments(settings: StageConfig, to: Path) -> Any:
    import torch
    from transformers import TrainingArguments
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    training = settings.training
    device = training.device
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if training.tensorboard:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(to / BOARD)
    arguments = TrainingArguments(
        output_dir=str(to / CHECKPOINTS),
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
        save_total_limit=2,
        ignore_data_skip=True,
        remove_unused_columns=False,
        report_to=["tensorboard"] if training.tensorboard else [],
        disable_tqdm=True,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and launched()[1] > 1 else None,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # in each forward pass, and processes may make different numbers of them
        dataloader_pin_memory=False,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs take a process each, or the trainer splits every batch
    return arguments


def _describe(
    settings: StageConfig, model: str, adapters: Sequence[str], texts: Sequence[Path], pairs: Sequence[PairFile]
) -> dict[str, Any]:
    """Everything that decides what a run makes, and what it was made with."""
    from searchapp.encoder.fingerprint import checksum

    checkpoint = locate(model, list(adapters))
    weights = {path.name: checksum(path) for path in sorted(checkpoint.weights.glob("*.safetensors"))}
    for number, adapter in enumerate(checkpoint.adapters, 1):
        weights[f"adapter {number}"] = checksum(adapter / "adapter_model.safetensors")
    data = [hash_file(path) for path in texts]
    for file in pairs:
        options = {key: value for key, value in asdict(file).items() if key != "path"}
        data.append(hash_file(file.path) | options)
    return {
        "stage": settings.name,
        "settings": flat(settings),
        "model": {
            "name": model,
            "adapters": [str(adapter) for adapter in checkpoint.adapters],
            "weights": weights,
        },
        "data": data,
        "packages": dict.fromkeys(PACKAGES) | package_versions(PACKAGES),
        "python": platform.python_version(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _existing(to: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The record of the same run in ``to``, None for a fresh directory; AdaptError for anything else that is there."""
    if not to.exists():
        return None
    if not to.is_dir():
        raise AdaptError(f"{to} is a file; expected a directory, or a name that is free")
    path = to / RECORD
    if not path.exists():
        if any(path.name != f".{RECORD}" for path in to.iterdir()):
            raise AdaptError(f"{to} is not empty and holds no {RECORD}; give another directory")
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        difference = _difference(found, json.loads(json.dumps(wanted)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdaptError(f"{path} cannot be read ({error}); give another directory, or remove {to}") from error
    if difference:
        raise AdaptError(f"{to} holds another run ({difference}); give another directory, or remove it")
    return found


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first thing that makes two runs different ones; "" when there is none."""
    if found["stage"] != wanted["stage"]:
        return f"stage {found['stage']}, now {wanted['stage']}"
    for key, value in wanted["settings"].items():
        if key not in PLACES and found["settings"].get(key) != value:
            return f"{key} was {found['settings'].get(key)!r}, now {value!r}"
    if found["model"]["weights"] != wanted["model"]["weights"]:
        return f"its model was {found['model']['name']}, now {wanted['model']['name']}: the weights are not the same"
    if len(found["data"]) != len(wanted["data"]):
        return f"{len(found['data'])} data files, now {len(wanted['data'])}"
    for old, new in zip(found["data"], wanted["data"], strict=True):
        changed = [key for key in new if key != "path" and old.get(key) != new[key]]
        if changed:
            return f"data file {new['path']} has another {changed[0]}"
    return ""


def _write(to: Path, content: dict[str, Any]) -> None:
    """Write the record so that it is whole whenever it is there."""
    unfinished = to / f".{RECORD}"
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(to / RECORD)


def _require_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("accelerate", "datasets", "matplotlib") if find_spec(name) is None]
    if missing:
        raise AdaptError(f"training needs {', '.join(missing)}; pip install 'searchapp[adapt]'")
