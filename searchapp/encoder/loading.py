"""Turns a located checkpoint into a model ready to embed: weights, merged adapters, attention, probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from searchapp.encoder.bidirectional import find_leak, make_bidirectional
from searchapp.encoder.checkpoint import Checkpoint, refuse
from searchapp.encoder.settings import read_json
from searchapp.errors import ModelError

ATTENTIONS = ("auto", "sdpa", "eager")
DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")


def choose_device(device: str) -> str:
    """Resolve ``auto`` to cuda where there is one; ModelError when cuda is asked for and absent."""
    import torch

    if device.split(":")[0] not in DEVICES:
        raise ModelError(f"device {device!r} is unknown; expected auto, cpu or cuda")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for, but torch finds no GPU here; use --device cpu or auto")
    return device


def load_config(directory: Path, *, bidirectional: bool) -> Any:
    """Read config.json natively; a model whose code is not part of transformers is refused."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    raw = read_json(directory / "config.json")
    family = raw.get("model_type")
    if family not in CONFIG_MAPPING:
        if raw.get("auto_map"):
            raise ModelError(
                f"{directory} is a {family or 'model'} that needs remote code, which is never run; "
                "use a model that is part of transformers"
            )
        raise ModelError(f"{directory}/config.json has model_type {family!r}, which this transformers does not know")
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    config.use_cache = False
    if bidirectional:
        make_bidirectional(config)
    return config


def load_model(checkpoint: Checkpoint, *, bidirectional: bool, attention: str, dtype: str, device: str) -> Any:
    """Build the inner decoder in eval mode with every adapter merged, in order, and probe its attention.

    ``attention="auto"`` takes sdpa where it passes the probe, else eager. Raises ModelError for weights that are
    missing, adapters that do not fit, and models that stay causal.
    """
    if attention not in ATTENTIONS:
        raise ModelError(f"attention {attention!r} is unknown; expected one of {', '.join(ATTENTIONS)}")
    problem = ""
    for kernel in ("sdpa", "eager") if attention == "auto" else (attention,):
        config = load_config(checkpoint.weights, bidirectional=bidirectional)
        try:
            model = _build(checkpoint.weights, config, kernel, _torch_dtype(dtype, device))
        except ValueError as error:  # transformers' way to say that a family lacks a kernel
            if "attention" not in str(error).lower():
                raise ModelError(f"{checkpoint.weights} cannot be loaded: {_first_line(error)}") from error
            problem = _first_line(error)
            continue
        for adapter in checkpoint.adapters:
            model = _merge(model, adapter)
        model = model.to(device).eval().requires_grad_(False)
        if not bidirectional:
            return model
        try:
            leak = find_leak(model, vocabulary=config.vocab_size, pad=config.pad_token_id or 0)
        except (AttributeError, TypeError, RuntimeError, ValueError) as error:
            leak = f"cannot be run with bidirectional attention ({_first_line(error)})"
        if leak is None:
            return model
        problem = f"{leak} on {kernel} attention"
    raise ModelError(
        f"{type(model).__name__ if 'model' in locals() else 'model'} ({config.model_type}, {checkpoint.name}) "
        f"cannot be made bidirectional here: it {problem}; choose another base model or attention"
    )


def _build(directory: Path, config: Any, kernel: str, dtype: Any) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging as reports

    if not any(directory.glob("*.safetensors")):
        refuse(directory, read_json(directory / "config.json"))
    level = reports.get_verbosity()
    reports.set_verbosity_error()  # its load report warns of an unused lm_head; what matters is checked below
    reports.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(
            directory,
            config=config,
            dtype=dtype,
            attn_implementation=kernel,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, KeyError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{directory} cannot be loaded: {_first_line(error)}") from error
    finally:
        reports.set_verbosity(level)
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{directory} lacks {len(missing)} of the weights its config.json asks for (first: {missing[0]}); "
            "the files belong to another model or are incomplete"
        )
    return model


def _merge(model: Any, directory: Path) -> Any:
    """Put one LoRA adapter on the inner decoder and fold it into the weights.

    Adapters saved from the model with its head carry one ``model.`` more in their keys; both are taken. A key that
    fits nothing is an error, never a warning: a half-applied adapter embeds, badly.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = directory / "adapter_model.safetensors"
    if not weights.exists():
        refuse(directory, {})
    try:
        config = PeftConfig.from_pretrained(str(directory))
    except (TypeError, ValueError, OSError) as error:
        raise ModelError(f"{directory}/adapter_config.json is not usable: {_first_line(error)}") from error
    config.task_type, config.inference_mode = None, True
    tensors = {key: value for key, value in load_file(weights).items() if ".lm_head." not in key}
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(f"adapter {directory} does not fit this base model: {_first_line(error)}") from error
    expected = {key.replace(".default", "") for key in wrapped.state_dict() if ".lora_" in key}
    if not set(tensors) & expected:
        tensors = {
            key.replace("base_model.model.model.", "base_model.model.", 1): value for key, value in tensors.items()
        }
    unused, unfilled = sorted(set(tensors) - expected), sorted(expected - set(tensors))
    if unused or unfilled:
        raise ModelError(
            f"adapter {directory} does not fit this base model: {len(unused)} of its tensors have no place and "
            f"{len(unfilled)} places stay empty (first: {(unused or unfilled)[0]}); check base_model_name_or_path"
        )
    try:
        set_peft_model_state_dict(wrapped, tensors)
    except RuntimeError as error:
        raise ModelError(f"adapter {directory} does not fit this base model: {_first_line(error)}") from error
    merged = wrapped.merge_and_unload()
    if hasattr(merged, "peft_config"):
        del merged.peft_config
    return merged


def load_tokenizer(directory: Path) -> Any:
    """Load the fast tokenizer; ModelError when there is only a slow one."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, use_fast=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"the tokenizer in {directory} cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer in {directory} is a slow one; save it as a fast tokenizer (tokenizer.json)")
    return tokenizer


def _torch_dtype(dtype: str, device: str) -> Any:
    import torch

    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is unknown; expected one of {', '.join(DTYPES)}")
    if dtype == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    return getattr(torch, dtype)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
