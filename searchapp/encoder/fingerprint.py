"""What made a vector, as hashes. An index keeps them, and refuses an encoder with others, naming what differs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from searchapp.atomic import write_text
from searchapp.encoder.checkpoint import Checkpoint, raw_config, weight_files
from searchapp.encoder.probes import has_window
from searchapp.encoder.settings import Settings
from searchapp.encoder.tokenization import LEAST_TEXT

# Keys of config.json that say nothing of the vectors: names, versions, precision, bookkeeping. The file is hashed and
# not the configuration made of it, whose defaults grow with every transformers release.
VOLATILE = {
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures", "auto_map",
    "attn_implementation", "_attn_implementation",
}  # fmt: skip
# what a search must have in common with the documents; the query's own instruction is free
PARTS = ("weights", "adapters", "tokenizer", "architecture", "template", "pooling", "lengths", "instruction")


def fingerprint(
    checkpoint: Checkpoint, settings: Settings, tokenizer: Any, head: Sequence[Path] = ()
) -> dict[str, str]:
    """Return sha256 hex digests: one for each of ``PARTS`` and one over all, under ``sha256``.

    ``head`` are the files of the layers behind the pooling. Where this version reads a checkpoint differently from an
    earlier one, a digest changes only if a document's vector does, so that all other indexes stay usable.
    """
    config = raw_config(checkpoint.weights)
    keep = {key: value for key, value in config.items() if key not in VOLATILE}
    parts = {
        "weights": _digest([checksum(path) for path in weight_files(checkpoint.weights)]),
        "adapters": _digest([_adapter(path) for path in checkpoint.adapters]),
        "tokenizer": tokenizer_digest(checkpoint, settings, tokenizer),
        "architecture": _digest(keep),
        "template": _digest(asdict(settings.template) if settings.template else None),
        "pooling": _digest([*_pooling(settings), *_native(settings, config), *map(checksum, head)]),
        "lengths": _digest([settings.max_length, settings.document_max_length, *_cut(settings, tokenizer)]),
        "instruction": _digest(settings.document_instruction),
    }
    return {"sha256": _digest(parts), **parts}


def tokenizer_digest(checkpoint: Checkpoint, settings: Settings, tokenizer: Any) -> str:
    """The sha256 of what defines a tokenizer: its file, its special tokens, and whether texts are lowered before it."""
    return _digest([*_tokenizer(checkpoint.tokenizer, tokenizer), *(["lower"] * settings.lower_case)])


def _pooling(settings: Settings) -> list[Any]:
    """How documents are pooled; ways that differ only behind an instruction have one name where there is none."""
    pooling, span = settings.pooling, settings.span
    if settings.document_instruction is None:
        pooling = {
            "first_token": "bos_token",
            "last_of_span": "last_token",
            "weighted_by_position": "weighted_mean",
        }.get(pooling, pooling)
        span = "offsets" if span == "prompt" else span
    return [pooling, settings.pool_instruction, settings.pool_bos, span, settings.bidirectional]


def _native(settings: Settings, config: dict[str, Any]) -> list[Any]:
    """What a sentence-transformers folder asks for beyond that."""
    windows = settings.native and settings.bidirectional and has_window(SimpleNamespace(**config))
    return [*(["windows"] * windows), *([] if settings.truncate_dim is None else [settings.truncate_dim])]


def _cut(settings: Settings, tokenizer: Any) -> list[str]:
    """Whether texts are cut otherwise than with a rest of ``LEAST_TEXT`` tokens from the left."""
    if not settings.native:
        return []
    before = len(tokenizer.backend_tokenizer.encode(settings.document_instruction or "").ids)
    left = getattr(tokenizer, "truncation_side", "right") == "left"
    return ["exact"] * (settings.max_length < before + LEAST_TEXT) + ["left"] * left


def renewal(encoder_settings: Settings) -> str:
    """The end of an error: what to do about an index of an earlier version; "" where this one reads the same."""
    if not encoder_settings.native:
        return ""
    return (
        " (sentence-transformers folders are run as that library runs them since version 2 of this reading: attention "
        "as config.json says, lengths, lower case, prompts, Dense; an index made before has to be made again)"
    )


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
    outer = (
        "model.",
        "transformer.",
        "gpt_neox.",
        "^",
    )  # an earlier version ignored patterns by the causal model's names
    renewed = any(str(name).startswith(outer) for name in content.get("alpha_pattern") or ())
    return [checksum(directory / "adapter_model.safetensors"), _digest(scale), *(["patterns"] * renewed)]


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
        write_text(memo, value)
    except OSError:
        pass  # with a read-only home the file is read again the next time
    return value
