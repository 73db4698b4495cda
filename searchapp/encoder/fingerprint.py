"""What made a vector, as hashes. An index keeps them, and refuses an encoder with others, naming what differs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from searchapp.encoder.checkpoint import Checkpoint, raw_config, weight_files
from searchapp.encoder.probes import has_window
from searchapp.encoder.settings import Settings
from searchapp.encoder.tokenization import LEAST_TEXT
from searchapp.user_cache import file_stamp, remember, remembered

SHA256 = re.compile(r"[0-9a-f]{64}")
_LOCK = threading.Lock()
_LOCKS: dict[Path, threading.Lock] = {}  # one reader a file: a second one awaits what the first finds
_FOUND: dict[str, str] = {}  # by stamp, in this process: for where nothing can be kept on disk

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
    """Return the sha256 of a file; remembered by place, size and times, so that large weights are read once.

    A file that changed just now is read again, as is one whose hash cannot be kept. Where ``hash_beside`` is at work on
    it, its result is awaited.
    """
    with _lock_of(path):
        before = file_stamp(path)
        known = (_FOUND.get(before) or remembered("checksums", before)) if before is not None else None
        if known is not None and SHA256.fullmatch(known):
            return known
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        if before is not None and file_stamp(path) == before:
            _FOUND[before] = value
            remember("checksums", before, value)
        return value


def hash_beside(checkpoint: Checkpoint) -> None:
    """Begin to hash the weights in a thread, while they are read anyway; what is known is not hashed again."""

    def work() -> None:
        with contextlib.suppress(OSError):  # whoever asks for the fingerprint raises it
            for path in weight_files(checkpoint.weights):
                if file_stamp(path) is not None:  # else the result would count for nothing a moment later
                    checksum(path)

    threading.Thread(target=work, name="searchapp-hash", daemon=True).start()


def _lock_of(path: Path) -> threading.Lock:
    with _LOCK:
        return _LOCKS.setdefault(path.resolve(), threading.Lock())
