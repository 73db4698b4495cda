"""Turns a located checkpoint into a model ready to embed: weights, merged adapters, attention, probe."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from searchapp.encoder import attention as packing
from searchapp.encoder.adapters import merge
from searchapp.encoder.checkpoint import Checkpoint, refuse
from searchapp.encoder.devices import choose_dtype
from searchapp.encoder.json_files import read_json
from searchapp.encoder.library import explain, quiet
from searchapp.encoder.memory import affordable
from searchapp.encoder.probes import (
    PROBE_LENGTH,
    bidirectional_fault,
    has_window,
    is_bidirectional,
    make_bidirectional,
    packing_fault,
    pad_id,
)
from searchapp.encoder.settings import FOLDER, Settings, read_settings, settings_file
from searchapp.encoder.shape import HEADS
from searchapp.encoder.st_folder import UNLIMITED, transformer_options
from searchapp.encoder.template import choose
from searchapp.errors import ModelError

log = logging.getLogger("searchapp")
ATTENTIONS = ("auto", "packed", "sdpa", "eager")


class _NoKernelError(Exception):
    """transformers does not offer this attention kernel for this family."""


def resolve_settings(checkpoint: Checkpoint, config: Any, tokenizer: Any, **options: Any) -> Settings:
    """What a checkpoint says of itself, with every option that is not None in its place, and a template chosen.

    ``config`` is what ``read_config`` gives. Raises ModelError for a settings file or an option that makes no sense.
    """
    settings = read_settings(checkpoint.settings, list(checkpoint.adapters))
    if settings.native:
        settings = _as_sentence_transformers(settings, checkpoint, config, tokenizer, options.get("bidirectional"))
    settings = settings.with_options(**options)
    if settings.template is None:
        settings = settings.with_options(template=choose(checkpoint.base_name, config.model_type, tokenizer.eos_token))
    return settings


def _as_sentence_transformers(
    settings: Settings, checkpoint: Checkpoint, config: Any, tokenizer: Any, bidirectional: bool | None
) -> Settings:
    """Attention and length as that library takes them from config.json and the tokenizer.

    Attention that was asked for, against what config.json says, is LLM2Vec's: without windows.
    """
    path = settings_file(checkpoint.settings, checkpoint.adapters)
    given = transformer_options(path)["config"] if path is not None and path.name == FOLDER else {}
    for name in ("is_causal", "use_bidirectional_attention"):
        if name in given:
            setattr(config, name, given[name])
    natural = is_bidirectional(config)
    settings = replace(settings, bidirectional=natural, native=bidirectional in (None, natural))
    positions = getattr(config, "max_position_embeddings", None)
    length = min(int(min(tokenizer.model_max_length, UNLIMITED)), positions or UNLIMITED)
    changes: dict[str, Any] = {
        name: length for name in ("max_length", "document_max_length") if getattr(settings, name) >= UNLIMITED
    }
    return replace(settings, **changes)


def read_config(directory: Path) -> Any:
    """Read config.json natively; a model whose code is not part of transformers is refused."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    raw = read_json(directory / "config.json")
    family = raw.get("model_type")
    if not isinstance(family, str) or family not in CONFIG_MAPPING:
        if raw.get("auto_map"):
            raise ModelError(
                f"{directory} is a {family!r} model that needs remote code, which is never run; "
                "use a model that is part of transformers"
            )
        raise ModelError(f"{directory}/config.json has model_type {family!r}, which this transformers does not know")
    try:
        with quiet():
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        config.use_cache = False
    except Exception as error:  # a damaged configuration raises anything, down to ZeroDivisionError
        raise ModelError(f"{directory}/config.json is not usable: {explain(error)}; restore the model's own") from error
    for name in ("hidden_size", "vocab_size"):
        value = getattr(config, name, None)
        if not isinstance(value, int) or value < 1:
            raise ModelError(f"{directory}/config.json gives {value!r} as {name}; expected a text decoder's number")
    return config


def load_config(directory: Path, *, bidirectional: bool, windows: bool = False) -> Any:
    """``read_config`` with its attention made bidirectional (with or without its windows), or causal."""
    config = read_config(directory)
    if bidirectional and windows:
        config.is_causal = False
    elif bidirectional:
        make_bidirectional(config)
    elif getattr(config, "is_causal", None) is False:  # saved that way; a window that was cleared stays so
        config.is_causal = True
    return config


def load_model(
    checkpoint: Checkpoint, *, bidirectional: bool, attention: str, dtype: str, device: str, windows: bool = False
) -> Any:
    """Build the inner decoder in eval mode with every adapter merged, in order, and probe its attention.

    ``windows`` keeps attention windows as config.json has them.
    ``attention="auto"`` takes packed attention where it passes the probes, else sdpa, else eager. Raises ModelError for
    weights that are missing, adapters that do not fit, and models that stay causal.
    """
    if attention not in ATTENTIONS:
        raise ModelError(f"attention {attention!r} is unknown; expected one of {', '.join(ATTENTIONS)}")
    if attention == "packed" and not bidirectional:
        raise ModelError("attention packed is for bidirectional encoders only; use auto, sdpa or eager")
    precision = affordable(checkpoint.weights, checkpoint.name, dtype, choose_dtype(dtype, device), device)
    problem = ""
    for kernel in {"auto": ("sdpa", "eager"), "packed": ("sdpa",)}.get(attention, (attention,)):
        config = load_config(checkpoint.weights, bidirectional=bidirectional, windows=windows)
        try:
            model = _build(checkpoint.weights, config, kernel, precision)
        except _NoKernelError:
            problem = f"has no {kernel} attention in transformers"
            continue
        for adapter in checkpoint.adapters:
            model = merge(model, adapter)
        try:
            model = model.to(device).eval().requires_grad_(False)
        except RuntimeError as error:  # out of memory, for one
            raise ModelError(f"{checkpoint.name} cannot be put on {device}: {explain(error)}") from error
        if not bidirectional:
            return model
        try:
            narrow = windows and has_window(config)
            reach = 2 if narrow else PROBE_LENGTH
            fault = bidirectional_fault(model, vocabulary=config.vocab_size, pad=pad_id(config), reach=reach)
        except Exception as error:  # a model with odd sizes fails anywhere in its forward pass
            fault = f"cannot be run with bidirectional attention ({explain(error)})"
        if fault is None and not narrow and (attention == "packed" or (attention, kernel) == ("auto", "sdpa")):
            fault = _pack(model)
            if fault is not None and attention == "auto":
                fault = None  # the model is sound: it only has to be padded
        if fault is None:
            return model
        problem = f"{fault} on {attention if attention == 'packed' else kernel} attention"
    raise ModelError(
        f"{checkpoint.name} ({config.model_type}) cannot be made bidirectional here: it {problem}; "
        "choose another base model, attention or dtype"
    )


def _pack(model: Any) -> str | None:
    """Give a model the packed kernel if it passes the probe of it; return what is wrong and leave it as it was if not.

    A kernel that needs another GPU or precision fails here too, and padding takes its place.
    """
    before = model.config._attn_implementation
    try:
        with quiet():
            model.set_attn_implementation(packing.register())
        problem = packing_fault(model, vocabulary=model.config.vocab_size)
    except Exception as error:  # a family that does not pass keywords on to its attention, for one
        problem = f"cannot be packed ({explain(error)})"
    if problem is not None:
        with quiet():
            model.set_attn_implementation(before)
    return problem


def _build(directory: Path, config: Any, kernel: str, dtype: Any) -> Any:
    """Load the weights. Raises _NoKernelError when the family lacks the attention kernel, else ModelError."""
    from transformers import AutoModel

    if not any(directory.glob("*.safetensors")):
        refuse(directory, read_json(directory / "config.json"))
    quantised = _quantised(config)
    try:
        with quiet():
            model, report = AutoModel.from_pretrained(
                directory,
                config=config,
                dtype=dtype,
                attn_implementation=kernel,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name: transformers' own error points at its log
            )
    except Exception as error:  # damaged weights and configurations raise anything
        if isinstance(error, ValueError) and "does not support an attention implementation" in str(error):
            raise _NoKernelError from error
        raise ModelError(f"{directory} cannot be loaded{quantised}: {explain(error)}") from error
    if quantised and getattr(model, "hf_quantizer", None) is None:  # it has read packed weights as if they were plain
        raise ModelError(f"{directory} cannot be loaded{quantised}: transformers does not know the method")
    if spare := sorted(key for key in report["unexpected_keys"] if not HEADS.search(key)):
        log.warning(
            "%s holds %d weights that its config.json has no place for, and they are not used (first: %s); with fewer "
            "layers than were trained vectors are others: check num_hidden_layers", directory, len(spare), spare[0],
        )  # fmt: skip
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, expected = mismatched[0]
        raise ModelError(
            f"{directory} holds {len(mismatched)} weights of another shape than its config.json asks for (first: "
            f"{name} is {list(found)}, expected {list(expected)}); the files belong to another model"
        )
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{directory} lacks {len(missing)} of the weights its config.json asks for (first: {missing[0]}); "
            "the files belong to another model or are incomplete"
        )
    return model


def _quantised(config: Any) -> str:
    """Name the quantisation of a checkpoint as a phrase; "" when it has none."""
    found = getattr(config, "quantization_config", None)
    if found is None:
        return ""
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return f", being quantised ({method or 'method unknown'}); use the model's unquantised checkpoint"


def load_tokenizer(directory: Path) -> Any:
    """Load the fast tokenizer; ModelError when there is only a slow one."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, use_fast=True)
    except Exception as error:  # tokenizers itself raises nothing more precise
        raise ModelError(f"the tokenizer in {directory} cannot be loaded: {explain(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer in {directory} is a slow one; save it as a fast tokenizer (tokenizer.json)")
    return tokenizer
