"""How fast a model reads on this machine: measured when asked for, and kept until its weights change."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from searchapp.atomic import write_text

TEXT = "How do bees find their way back to the hive, and what do they tell the others of the flowers they have met? "
TEXTS, REPEATS = 16, 6  # texts of some 140 tokens
LEAST_SECONDS, MOST_PASSES = 2.0, 50


@dataclass(frozen=True)
class Speed:
    """Tokens a second over texts of some 140 tokens, and what they were read with."""

    tokens_per_second: float
    dtype: str
    device: str
    threads: int
    seconds: float


def measure_speed(model: str) -> Speed:
    """Load a model with its defaults and encode for two seconds or more. Raises ModelError."""
    import torch

    from searchapp.encoder.encoder import Encoder

    encoder = Encoder.load(model)
    texts = [f"{number} {TEXT * REPEATS}" for number in range(TEXTS)]
    encoder.encode(texts[:2])  # what is made at the first pass is not measured
    tokens, passes, began = 0, 0, time.perf_counter()
    while passes < MOST_PASSES and (spent := time.perf_counter() - began) < LEAST_SECONDS:
        part = texts[2 * (passes % (TEXTS // 2)) :][:2]
        tokens += encoder.encode_counted(part).tokens
        passes += 1
    spent = time.perf_counter() - began
    return Speed(tokens / spent, encoder.dtype, encoder.device, torch.get_num_threads(), spent)


def kept_speed(path: Path) -> Speed | None:
    """What was measured of the model in this folder or file, while its weights are the same; None if nothing was."""
    try:
        return Speed(**json.loads(_memo(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def keep_speed(path: Path, speed: Speed) -> None:
    """Keep it in the user's cache folder; where that cannot be written it is measured again the next time."""
    memo = _memo(path)
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_text(memo, json.dumps(asdict(speed)))
    except OSError:
        pass


def _memo(path: Path) -> Path:
    """The file of a model's speed, named by its weights' places, sizes and times."""
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    key = [f"{file.resolve()}|{file.stat().st_size}|{file.stat().st_mtime_ns}" for file in files]
    store = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "searchapp" / "speeds"
    return store / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.json"
