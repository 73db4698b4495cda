"""Turns a located checkpoint into a model ready to embed: weights, merged adapters, attention, probe."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from searchapp.encoder import attention as packing
from searchapp.encoder.adapters import merge
from searchapp.encoder.base_weights import require_base
from searchapp.encoder.checkpoint import Checkpoint, raw_config, refuse
from searchapp.encoder.devices import choose_dtype
from searchapp.encoder.gguf import is_gguf
from searchapp.encoder.json_files import read_json
from searchapp.encoder.library import explain, quiet
from searchapp.encoder.memory import affordable
from searchapp.encoder.probes import (
    NOT_FINITE,
    PROBE_LENGTH,
    bidirectional_fault,
    has_window,
    is_bidirectional,
    make_bidirectional,
    packing_fault,
    pad_id,
    values_fault,
)
from searchapp.encoder.settings import FOLDER, Settings, read_settings, settings_file
from searchapp.encoder.shape import HEADS
from searchapp.encoder.st_folder import UNLIMITED, transformer_options
from searchapp.encoder.template import Template, choose, with_known_end
from searchapp.encoder.verdicts import Verdicts
from searchapp.errors import ModelError

log = logging.getLogger("searchapp")
ATTENTIONS = ("auto", "packed", "sdpa", "eager")


class _NoKernelError(Exception):
    """transformers does not offer this attention kernel for this family."""


def resolve_settings(
    checkpoint: Checkpoint, config: Any, tokenizer: Any, *, recorded: Template | None = None, **options: Any
) -> Settings:
    """What a checkpoint says of itself, with every option that is not None in its place, and a template chosen.

    ``config`` is what ``read_config`` gives. ``recorded`` is the template that holds where the checkpoint has none, in
    place of the one that is chosen by its name. Raises ModelError for a settings file or an option that makes no sense.
    """
    settings = read_settings(checkpoint.settings, list(checkpoint.adapters))
    if settings.native:
        settings = _as_sentence_transformers(settings, checkpoint, config, tokenizer, options.get("bidirectional"))
    closes = settings.pooling == "eos_token" and settings.template is not None  # trained with that end, whatever it is
    settings = settings.with_options(**options)
    template = settings.template or recorded
    if template is None:
        template = choose(checkpoint.base_name, config.model_type, tokenizer.eos_token)
    if settings.pooling == "eos_token" and not closes:
        template = with_known_end(template, tokenizer) if recorded is None else replace(template, end=recorded.end)
    return settings.with_options(template=template)


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
    """Read config.json, or a GGUF file's, natively; a model whose code is not part of transformers is refused."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    raw = raw_config(directory)
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
            if is_gguf(directory):
                config = AutoConfig.for_model(**raw)
            else:
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
    checkpoint: Checkpoint,
    *,
    bidirectional: bool,
    attention: str,
    dtype: str,
    device: str,
    windows: bool = False,
    probe: bool = False,
) -> Any:
    """Build the inner decoder in eval mode with every adapter merged, in order, and probe its attention.

    ``windows`` keeps attention windows as config.json has them.
    ``attention="auto"`` takes packed attention where it passes the probes, else sdpa, else eager. What probes found
    before is taken from the user's cache, unless ``probe`` asks for them again. Raises ModelError for weights that are
    missing, adapters that do not fit, and models that stay causal.
    """
    if attention not in ATTENTIONS:
        raise ModelError(f"attention {attention!r} is unknown; expected one of {', '.join(ATTENTIONS)}")
    if attention == "packed" and not bidirectional:
        raise ModelError("attention packed is for bidirectional encoders only; use auto, sdpa or eager")
    precision = affordable(checkpoint.weights, checkpoint.name, dtype, choose_dtype(dtype, device), device)
    problem, model, verdicts = "", None, None
    for kernel in {"auto": ("sdpa", "eager"), "packed": ("sdpa",)}.get(attention, (attention,)):
        config = load_config(checkpoint.weights, bidirectional=bidirectional, windows=windows)
        if bidirectional and verdicts is None:
            verdicts = Verdicts(config, precision, device, again=probe)
        if verdicts is not None and (fault := verdicts.fault(kernel)):
            problem = f"{fault} on {attention if attention == 'packed' else kernel} attention"
            continue
        if model is None or not _switched(model, kernel):
            model = None  # not two of them in memory
            try:
                model = _build(checkpoint.weights, config, kernel, precision)
            except _NoKernelError:
                problem = f"has no {kernel} attention in transformers"
                continue
            model = _placed(model, checkpoint, device)
        if verdicts is None:
            return model
        narrow = windows and has_window(config)
        fault = _fault(model, kernel, checkpoint, verdicts, reach=2 if narrow else PROBE_LENGTH)
        if not fault and not narrow and (attention == "packed" or (attention, kernel) == ("auto", "sdpa")):
            fault = _pack(model, verdicts)
            if attention == "auto":
                fault = ""  # the model is sound: it only has to be padded
        if not fault:
            return model
        problem = f"{fault} on {attention if attention == 'packed' else kernel} attention"
    raise ModelError(
        f"{checkpoint.name} ({config.model_type}) cannot be made bidirectional here: it {problem}; "
        "choose another base model, attention or dtype"
    )


def _placed(model: Any, checkpoint: Checkpoint, device: str) -> Any:
    """The model with its adapters merged, on its device, for inference."""
    if checkpoint.adapters:
        require_base(checkpoint.adapters[0], model)
    for adapter in checkpoint.adapters:
        model = merge(model, adapter)
    try:
        return model.to(device).eval().requires_grad_(False)
    except RuntimeError as error:  # out of memory, for one
        raise ModelError(f"{checkpoint.name} cannot be put on {device}: {explain(error)}") from error


def _switched(model: Any, kernel: str) -> bool:
    """Whether a model that is loaded could be given another attention kernel, instead of being loaded again."""
    try:
        with quiet():
            model.set_attn_implementation(kernel)
    except Exception:  # a family without this kernel, which loading it again says
        return False
    return bool(model.config._attn_implementation == kernel)


def _fault(model: Any, kernel: str, checkpoint: Checkpoint, verdicts: Verdicts, reach: int) -> str:
    """What is wrong with a model on its kernel, as a phrase, "" for nothing: by what is known, else by the probes."""
    config = model.config
    try:
        if not verdicts.are_finite(checkpoint):
            if fault := values_fault(model, vocabulary=config.vocab_size):
                return fault
            verdicts.keep_finite(checkpoint)
        if verdicts.fault(kernel) is None:
            fault = bidirectional_fault(model, vocabulary=config.vocab_size, pad=pad_id(config), reach=reach)
            if fault is not None and fault.startswith(NOT_FINITE):  # by the weights, not by the kernel
                return fault
            verdicts.keep(kernel, fault or "")
    except Exception as error:  # a model with odd sizes fails anywhere in its forward pass
        return f"cannot be run with bidirectional attention ({explain(error)})"
    return verdicts.fault(kernel) or ""


def _pack(model: Any, verdicts: Verdicts) -> str:
    """Give a model the packed kernel if it passes the probe of it; return what is wrong and leave it as it was if not.

    A kernel that needs another GPU or precision fails here too, and padding takes its place.
    """
    if fault := verdicts.fault("packed"):
        return fault
    before, lasting = model.config._attn_implementation, True
    try:
        with quiet():
            model.set_attn_implementation(packing.register())
        if verdicts.fault("packed") == "":
            return ""
        problem = packing_fault(model, vocabulary=model.config.vocab_size)
    except Exception as error:  # a family that does not pass keywords on to its attention, for one
        problem, lasting = f"cannot be packed ({explain(error)})", not _out_of_memory(error)
    if lasting:
        verdicts.keep("packed", problem or "")
    if problem is not None:
        with quiet():
            model.set_attn_implementation(before)
    return problem or ""


def _out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "memory" in str(error)


def _build(directory: Path, config: Any, kernel: str, dtype: Any) -> Any:
    """Load the weights. Raises _NoKernelError when the family lacks the attention kernel, else ModelError."""
    from transformers import AutoModel

    if is_gguf(directory):
        from searchapp.encoder.gguf.model import decoder, read_weights

        kind: Any = decoder(config)
        source: dict[str, Any] = {"pretrained_model_name_or_path": None, "state_dict": read_weights(directory, dtype)}
    elif any(directory.glob("*.safetensors")):
        kind, source = AutoModel, {"pretrained_model_name_or_path": directory, "use_safetensors": True}
    else:
        refuse(directory, read_json(directory / "config.json"))
    quantised = _quantised(config)
    try:
        with quiet():
            model, report = kind.from_pretrained(
                **source,
                config=config,
                dtype=dtype,
                attn_implementation=kernel,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name: transformers' own error points at its log
            )
    except Exception as error:  # damaged weights and configurations raise anything
        if isinstance(error, ValueError) and "does not support an attention implementation" in str(error):
            raise _NoKernelError from error
        raise ModelError(f"{directory} cannot be loaded{quantised}: {explain(error)}") from error
    model.config._name_or_path = str(directory)
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
    if is_gguf(directory):
        from searchapp.encoder.gguf.tokenizer import load_tokenizer as of_file

        return of_file(directory)
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, use_fast=True)
    except Exception as error:  # tokenizers itself raises nothing more precise
        raise ModelError(f"the tokenizer in {directory} cannot be loaded: {explain(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer in {directory} is a slow one; save it as a fast tokenizer (tokenizer.json)")
    return tokenizer
