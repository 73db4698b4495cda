"""What made a vector, as hashes: an index keeps them, and a query side that differs is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from searchapp.encoder.checkpoint import Checkpoint
from searchapp.encoder.settings import Settings, read_json

# Keys of config.json that say nothing of the vectors: names, versions, precision, bookkeeping. The file is hashed and
# not the configuration made of it, whose defaults grow with every transformers release.
VOLATILE = {
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures", "auto_map",
    "attn_implementation", "_attn_implementation",
}  # fmt: skip
# what a search must have in common with the documents; the query's own instruction is free
PARTS = ("weights", "adapters", "tokenizer", "architecture", "template", "pooling", "lengths", "instruction")


def fingerprint(checkpoint: Checkpoint, settings: Settings, tokenizer: Any) -> dict[str, str]:
    """Return sha256 hex digests: one for each of ``PARTS`` and one over all, under ``sha256``."""
    config = read_json(checkpoint.weights / "config.json")
    keep = {key: value for key, value in config.items() if key not in VOLATILE}
    parts = {
        "weights": _digest([checksum(path) for path in sorted(checkpoint.weights.glob("*.safetensors"))]),
        "adapters": _digest([_adapter(path) for path in checkpoint.adapters]),
        "tokenizer": _digest(_tokenizer(checkpoint.tokenizer, tokenizer)),
        "architecture": _digest(keep),
        "template": _digest(asdict(settings.template) if settings.template else None),
        "pooling": _digest(
            [settings.pooling, settings.pool_instruction, settings.pool_bos, settings.span, settings.bidirectional]
        ),
        "lengths": _digest([settings.max_length, settings.document_max_length]),
        "instruction": _digest(settings.document_instruction),
    }
    return {"sha256": _digest(parts), **parts}


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Name the parts in which two fingerprints differ."""
    return [part for part in PARTS if one.get(part) != other.get(part)]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _adapter(directory: Path) -> list[str]:
    content = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    scale = {
        key: content.get(key) for key in ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
    }
    return [checksum(directory / "adapter_model.safetensors"), _digest(scale)]


def _tokenizer(directory: Path, tokenizer: Any) -> list[str]:
    special = sorted(str(token) for token in tokenizer.all_special_tokens)
    path = directory / "tokenizer.json"
    return [checksum(path) if path.exists() else _digest(tokenizer.backend_tokenizer.to_str()), *special]


def checksum(path: Path) -> str:
    """Return the sha256 of a file; remembered by place, size and time, so that large weights are read once."""
    real = path.resolve()
    status = real.stat()
    key = f"{real}|{status.st_size}|{status.st_mtime_ns}|{status.st_ino}"
    store = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "searchapp" / "checksums"
    memo = store / hashlib.sha256(key.encode()).hexdigest()
    try:
        known = memo.read_text(encoding="ascii")
        if len(known) == 64:
            return known
    except (OSError, ValueError):
        pass
    with real.open("rb") as file:
        value = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        store.mkdir(parents=True, exist_ok=True)
        part = memo.with_suffix(f".{os.getpid()}")
        part.write_text(value, encoding="ascii")
        part.replace(memo)
    except OSError:
        pass  # a read-only home only costs the memory, not the answer
    return value
