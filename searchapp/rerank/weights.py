"""Loads models with a head: a score or a vocabulary on top of what ``searchapp.encoder`` loads bare."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from searchapp.encoder.adapters import merge_headed
from searchapp.encoder.checkpoint import Checkpoint, refuse
from searchapp.encoder.devices import choose_dtype
from searchapp.encoder.fingerprint import checksum
from searchapp.encoder.gguf import is_gguf
from searchapp.encoder.json_files import read_json
from searchapp.encoder.loading import load_config
from searchapp.errors import ModelError, reason_of

SCORE, LANGUAGE = "AutoModelForSequenceClassification", "AutoModelForCausalLM"
HEADS = ("score.", "classifier.")


def load_headed(checkpoint: Checkpoint, head: str, *, device: str, dtype: str) -> Any:
    """Load weights and adapters with the head ``SCORE`` (of one number) or ``LANGUAGE``, in eval mode.

    Raises ModelError where the head is in neither of them, for an adapter that does not fit, and for pickles.
    """
    import transformers
    from transformers.utils import logging as reports

    directory = checkpoint.weights
    if is_gguf(directory):
        raise ModelError(
            f"{directory} is a GGUF file, of which embedders are read and no rerankers; give the model's safetensors, "
            "or --reranker-kind bi-encoder"
        )
    config = load_config(directory, bidirectional=False)
    if read_json(directory / "config.json").get("is_causal") is False:
        config.is_causal = False  # a head that was trained on a bidirectional model
    if head == SCORE:
        config.num_labels = _labels(checkpoint, config)
    if not any(directory.glob("*.safetensors")):
        refuse(directory, read_json(directory / "config.json"))
    level = reports.get_verbosity()
    reports.set_verbosity(reports.CRITICAL)
    reports.disable_progress_bar()
    try:
        model, report = getattr(transformers, head).from_pretrained(
            directory,
            config=config,
            dtype=choose_dtype(dtype, device),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # damaged weights and configurations raise anything
        raise ModelError(f"{directory} cannot be loaded as a reranker: {reason_of(error)[:300]}") from error
    finally:
        reports.set_verbosity(level)
    given = {name for adapter in checkpoint.adapters for name in _names(adapter)}
    for name in sorted({*report["missing_keys"], *(item[0] for item in report["mismatched_keys"])}):
        if not any(key.endswith(name) for key in given):
            what = "a head that scores" if name.startswith(HEADS) else f"the weight {name}"
            raise ModelError(f"{checkpoint.name} lacks {what}; use a reranker's checkpoint, or another --reranker-kind")
    for adapter in checkpoint.adapters:
        model = merge_headed(model, adapter)
    try:
        return model.to(device).eval().requires_grad_(False)
    except RuntimeError as error:
        raise ModelError(f"{checkpoint.name} cannot be put on {device}: {reason_of(error)}") from error


def _names(adapter: Path) -> list[str]:
    from safetensors import safe_open

    path = adapter / "adapter_model.safetensors"
    if not path.exists():
        refuse(adapter, {})
    with safe_open(path, "pt") as file:
        return list(file.keys())


def _labels(checkpoint: Checkpoint, config: Any) -> int:
    """How many numbers the head gives; ModelError unless it is one."""
    from safetensors import safe_open

    named = [str(name) for name in read_json(checkpoint.weights / "config.json").get("architectures") or ()]
    count = int(config.num_labels) if any(name.endswith("ForSequenceClassification") for name in named) else 0
    for adapter in checkpoint.adapters:
        for name in _names(adapter):
            if name.endswith(("score.weight", "classifier.weight")):
                with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
                    count = int(file.get_slice(name).get_shape()[0])
    if count == 0:
        raise ModelError(
            f"{checkpoint.name} has no head that scores (it is a {', '.join(named) or 'bare model'}); "
            "use a cross-encoder's checkpoint, or another --reranker-kind"
        )
    if count != 1:
        raise ModelError(
            f"{checkpoint.name} gives {count} numbers for a pair, expected one score; it is a classifier, no reranker"
        )
    return count


def digest(checkpoint: Checkpoint, *details: Any) -> str:
    """A sha256 over weights, adapters, tokenizer and ``details``, which also decide a score."""
    files = [*checkpoint.weights.glob("*.safetensors"), checkpoint.weights / "config.json"]
    files += [path for adapter in checkpoint.adapters for path in adapter.glob("adapter_*") if path.is_file()]
    files += [path for path in checkpoint.tokenizer.glob("tokenizer*") if path.is_file()]
    content = [[path.name, checksum(path)] for path in sorted(files)]
    return hashlib.sha256(json.dumps([content, details], default=str).encode()).hexdigest()


def filler(tokenizer: Any, vocabulary: int) -> int:
    """The token to pad with: the pad token, else EOS, else the first; the mask hides it."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None and 0 <= token < vocabulary:
            return int(token)
    return 0


def longest(tokenizer: Any, config: Any, most: int) -> int:
    """Tokens of a sequence: what tokenizer and positions allow, and ``most``."""
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= max(config.pad_token_id or 0, 0) + 1  # their positions begin after the pad token's number
    known = [number for number in (tokenizer.model_max_length, positions) if isinstance(number, int) and number > 0]
    return min([most, *known])
