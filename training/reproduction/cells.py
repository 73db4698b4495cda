"""One cell: a variant is trained or found, measured on one task, and what came out is written as one JSON file."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp import Encoder
from searchapp.adapt.config import flat
from searchapp.adapt.run import run_stage
from searchapp.adapt.run_record import PACKAGES
from searchapp.atomic import write_text
from searchapp.errors import AdaptError
from searchapp.progress import Progress
from searchapp.provenance import package_versions
from training.reproduction.plan import BASE, Variant, pairs, texts, variants
from training.reproduction.tasks import LENGTH, MEASURES
from training.reproduction.vectors import Pass

RESULTS = Path(__file__).resolve().parent / "results"
log = logging.getLogger("training")


@dataclass(frozen=True)
class Places:
    """Where the base, the data, the trained models (by seed and name) and the results are."""

    base: Path
    data: Path
    work: Path
    results: Path = RESULTS

    def model(self, variant: Variant, seed: int) -> Path:
        """The directory of a variant's model, whether it is there or not."""
        if variant.checkpoint:
            run = self.work / f"seed-{seed}" / variant.start
            return run / "checkpoints" / f"checkpoint-{variant.checkpoint}"
        return self.base if variant.stage is None else self.work / f"seed-{seed}" / variant.name

    def result(self, name: str, task: str, seed: int) -> Path:
        """The file of a cell."""
        return self.results / f"{name}.{task}.{seed}.json"


def ready(places: Places, variant: Variant, seed: int) -> bool:
    """Whether the variant's model is there, complete."""
    if variant.stage is None and not variant.checkpoint:
        return True
    model = places.model(variant, seed)
    if variant.checkpoint:
        return (model / "adapter_config.json").exists()
    record = model / "run.json"
    return record.exists() and json.loads(record.read_text(encoding="utf-8")).get("state") == "complete"


def train(places: Places, name: str, seed: int, progress: Progress | None = None) -> Path:
    """Train a variant, and before it what it starts from; one that is there is kept, one that was stopped goes on."""
    known = variants(seed)
    variant = known[name]
    model = places.model(variant, seed)
    if ready(places, variant, seed):
        return model
    start = places.base if variant.start == BASE else train(places, variant.start, seed, progress)
    if variant.checkpoint:
        if ready(places, variant, seed):
            return model
        raise AdaptError(f"{model}: this checkpoint was not kept; delete the run {variant.start} and train it again")
    stage = variant.stage
    if stage is None:
        raise AdaptError(f"{name} is the base, which is not trained")
    run_stage(
        stage, model=str(start), to=model, texts=texts(places.data, stage), pairs=pairs(places.data, stage),
        progress=progress,
    )  # fmt: skip
    return model


def measure(places: Places, name: str, task: str, seed: int) -> dict[str, Any]:
    """Measure one cell and write its file; one that is there is read.

    The vectors of a cell that is stopped are kept beside the models until it is done.
    """
    path = places.result(name, task, seed)
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    variant = variants(seed)[name]
    if not ready(places, variant, seed):
        raise AdaptError(f"{name} of seed {seed} is not trained; run `python -m training.reproduction train {name}`")
    model = places.model(variant, seed)
    pooling = "eos_token" if task == "sts_eos" else "mean"
    encoder = Encoder.load(str(model), bidirectional=variant.bidirectional, document_max_length=LENGTH, pooling=pooling)
    began, worked = time.perf_counter(), time.process_time()
    kept = places.work / "kept" / f"{name}.{task}.{seed}"
    found = MEASURES[task](Pass(encoder, kept), places.data)
    result = {
        "variant": name, "task": task, "seed": seed,
        "settings": None if variant.stage is None else flat(variant.stage),
        "fingerprint": encoder.fingerprint["sha256"], "bidirectional": variant.bidirectional, "dtype": encoder.dtype,
        "device": encoder.device, "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - worked, 1), "processor": platform.processor() or platform.machine(),
        "packages": package_versions(PACKAGES), "figures": found,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(result, indent=None, separators=(",", ":")) + "\n")
    shutil.rmtree(kept, ignore_errors=True)
    log.info("%s %s: %s", name, task, {key: round(value["value"], 4) for key, value in found.items()})
    return result
