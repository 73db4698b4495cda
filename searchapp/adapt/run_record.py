"""What a run of a stage was made from and came to: ``run.json`` in its directory."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from searchapp.adapt.config import StageConfig, flat
from searchapp.adapt.data import PairFile, hash_file
from searchapp.atomic import atomic_write
from searchapp.encoder.checkpoint import locate, weight_files
from searchapp.errors import AdaptError
from searchapp.provenance import package_versions
from searchapp.unicode import json_bytes

RECORD = "run.json"
PACKAGES = ("searchapp", "torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "numpy")
WITHOUT_EFFECT = (
    "device",
    "tensorboard",
    "save_steps",
    "keep_checkpoints",
)  # settings that do not change what is learned


@dataclass(frozen=True)
class RunRecord:
    """The run in ``directory``; ``content`` is what its ``run.json`` holds.

    ``already_done``: it was complete before. ``resumed_at``: the step after which it went on, 0 for a run in one go.
    """

    directory: Path
    content: dict[str, Any]
    already_done: bool = False
    resumed_at: int = 0

    @property
    def history(self) -> list[dict[str, float]]:
        """A row a step: step, loss, learning_rate, tokens, seconds."""
        rows: list[dict[str, float]] = self.content["history"]
        return rows


def describe_run(
    settings: StageConfig, model: str, adapters: Sequence[str], texts: Sequence[Path], pairs: Sequence[PairFile]
) -> dict[str, Any]:
    """Everything that decides what a run learns, and what it is made with.

    Raises ModelError where the model is not found, AdaptError for a data file that cannot be read.
    """
    from searchapp.encoder.fingerprint import checksum

    checkpoint = locate(model, list(adapters))
    weights = {path.name: checksum(path) for path in weight_files(checkpoint.weights)}
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
        "started": now(),
    }


def find_record(to: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """What the record in ``to`` holds of the run that ``describe_run`` describes; None where nothing is there yet.

    Raises AdaptError for a file, for another run, and for a directory that holds something else.
    """
    if not to.exists():
        return None
    if not to.is_dir():
        raise AdaptError(f"{to} is a file; expected a directory, or a name that is free")
    path = to / RECORD
    if not path.exists():
        # a draft of the record is what a killed run may leave; and of several processes one may write it just now
        strange = any(item.name != RECORD and not item.name.startswith(f".{RECORD}") for item in to.iterdir())
        if strange and not path.exists():
            raise AdaptError(f"{to} is not empty and holds no {RECORD}; give another directory")
        if not path.exists():
            return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        difference = _difference(found, json.loads(json.dumps(wanted)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdaptError(f"{path} cannot be read ({error}); give another directory, or remove {to}") from error
    if difference:
        raise AdaptError(f"{to} holds another run ({difference}); give another directory, or remove it")
    return found


def write_record(to: Path, content: dict[str, Any]) -> None:
    """Write the record, whole or not at all, and to the disk; drafts of a run that was killed go. Raises OSError."""
    with atomic_write(to / RECORD, sync=True) as file:
        file.write(json_bytes(json.dumps(content, indent=1, ensure_ascii=False) + "\n"))
    for draft in to.glob(f".{RECORD}*"):
        draft.unlink(missing_ok=True)


def now() -> str:
    """The time as records have it: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first thing in which two runs differ; "" when there is none."""
    if found["stage"] != wanted["stage"]:
        return f"stage {found['stage']}, now {wanted['stage']}"
    for key, value in wanted["settings"].items():
        if key not in WITHOUT_EFFECT and found["settings"].get(key) != value:
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
