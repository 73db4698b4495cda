"""Turns a located checkpoint into a model ready to embed: weights, merged adapters, attention, probe."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.encoder import attention as packing
from searchapp.encoder.checkpoint import Checkpoint, refuse
from searchapp.encoder.probes import find_leak, find_mixing, make_bidirectional
from searchapp.encoder.settings import Settings, read_json, read_settings
from searchapp.encoder.template import choose
from searchapp.errors import ModelError

if TYPE_CHECKING:
    from searchapp.encoder.backend import Backend

ATTENTIONS = ("auto", "packed", "sdpa", "eager")
LONGEST = 300  # characters of a library's message that are passed on
BACKENDS = ("torch", "openvino")
DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE = re.compile(r"auto|cpu(:0)?|cuda(:[0-9]{1,3})?")


class _NoKernelError(Exception):
    """transformers does not offer this attention kernel for this family."""


def choose_device(device: str) -> str:
    """Resolve ``auto`` to cuda where there is one; ModelError when the GPU that is asked for is absent."""
    import torch

    if not DEVICE.fullmatch(device):
        raise ModelError(f"device {device!r} is unknown; expected auto, cpu, cuda or cuda:N (N the number of a GPU)")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for, but torch finds no GPU here; use --device cpu or auto")
    if ":" in device and int(device.split(":")[1]) >= max(1, count := torch.cuda.device_count()):
        raise ModelError(f"device {device} was asked for, but torch finds {count} GPUs here, numbered from 0")
    return device


def choose_devices(devices: Sequence[str], backend: str = "torch") -> tuple[str, ...]:
    """Resolve names as ``choose_device`` does; ``auto`` alone is every GPU of the machine, or the CPU."""
    import torch

    if backend not in BACKENDS:
        raise ModelError(f"backend {backend!r} is unknown; expected one of {', '.join(BACKENDS)}")
    names = list(devices)
    if backend != "torch":
        if set(names) - {"auto", "cpu"} or len(names) > 1:
            raise ModelError(f"backend {backend} runs on the CPU; leave out --device {','.join(names)}")
        return ("cpu",)
    if names == ["auto"] and torch.cuda.device_count() > 1:
        return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    return tuple(choose_device(name) for name in names)


def load_backend(backend: str, model: Any, tokenizer: Any, settings: Settings, dtype: str) -> Backend:
    """The backend of that name over a loaded model."""
    from searchapp.encoder.backend import TorchBackend

    if backend == "torch":
        return TorchBackend(model, tokenizer, settings.pooling)
    from searchapp.encoder.openvino import OpenVinoBackend

    return OpenVinoBackend(model, tokenizer, settings, dtype)


def load_config(directory: Path, *, bidirectional: bool) -> Any:
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
        with _quiet():
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        config.use_cache = False
        if bidirectional:
            make_bidirectional(config)
        elif getattr(config, "is_causal", None) is False:  # saved that way; a window that was cleared stays so
            config.is_causal = True
    except Exception as error:  # a damaged configuration raises anything, down to ZeroDivisionError
        raise ModelError(f"{directory}/config.json is not usable: {_reason(error)}; restore the model's own") from error
    for name in ("hidden_size", "vocab_size"):
        value = getattr(config, name, None)
        if not isinstance(value, int) or value < 1:
            raise ModelError(f"{directory}/config.json gives {value!r} as {name}; expected a text decoder's number")
    return config


def load_model(checkpoint: Checkpoint, *, bidirectional: bool, attention: str, dtype: str, device: str) -> Any:
    """Build the inner decoder in eval mode with every adapter merged, in order, and probe its attention.

    ``attention="auto"`` takes packed attention where it passes the probes, else sdpa, else eager. Raises ModelError for
    weights that are missing, adapters that do not fit, and models that stay causal.
    """
    if attention not in ATTENTIONS:
        raise ModelError(f"attention {attention!r} is unknown; expected one of {', '.join(ATTENTIONS)}")
    if attention == "packed" and not bidirectional:
        raise ModelError("attention packed is for bidirectional encoders only; use auto, sdpa or eager")
    problem, precision = "", choose_dtype(dtype, device)
    for kernel in {"auto": ("sdpa", "eager"), "packed": ("sdpa",)}.get(attention, (attention,)):
        config = load_config(checkpoint.weights, bidirectional=bidirectional)
        try:
            model = _build(checkpoint.weights, config, kernel, precision)
        except _NoKernelError:
            problem = f"has no {kernel} attention in transformers"
            continue
        for adapter in checkpoint.adapters:
            model = _merge(model, adapter)
        try:
            model = model.to(device).eval().requires_grad_(False)
        except RuntimeError as error:  # out of memory, for one
            raise ModelError(f"{checkpoint.name} cannot be put on {device}: {_reason(error)}") from error
        if not bidirectional:
            return model
        try:
            leak = find_leak(model, vocabulary=config.vocab_size, pad=config.pad_token_id or 0)
        except Exception as error:  # a model with odd sizes fails anywhere in its forward pass
            leak = f"cannot be run with bidirectional attention ({_reason(error)})"
        if leak is None and (attention == "packed" or (attention, kernel) == ("auto", "sdpa")):
            leak = _pack(model)
            if leak is not None and attention == "auto":
                leak = None  # the model is sound: it only has to be padded
        if leak is None:
            return model
        problem = f"{leak} on {attention if attention == 'packed' else kernel} attention"
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
        with _quiet():
            model.set_attn_implementation(packing.register())
        problem = find_mixing(model, vocabulary=model.config.vocab_size)
    except Exception as error:  # a family that does not pass keywords on to its attention, for one
        problem = f"cannot be packed ({_reason(error)})"
    if problem is not None:
        with _quiet():
            model.set_attn_implementation(before)
    return problem


def _build(directory: Path, config: Any, kernel: str, dtype: Any) -> Any:
    """Load the weights. Raises _NoKernelError when the family lacks the attention kernel, else ModelError."""
    from transformers import AutoModel

    if not any(directory.glob("*.safetensors")):
        refuse(directory, read_json(directory / "config.json"))
    quantised = _quantised(config)
    try:
        with _quiet():
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
        raise ModelError(f"{directory} cannot be loaded{quantised}: {_reason(error)}") from error
    if quantised and getattr(model, "hf_quantizer", None) is None:  # it has read packed weights as if they were plain
        raise ModelError(f"{directory} cannot be loaded{quantised}: transformers does not know the method")
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


def _read_adapter(directory: Path) -> tuple[Any, dict[str, Any]]:
    """Return the configuration of a LoRA adapter and its tensors, without those of the language model head."""
    from peft import PeftConfig
    from safetensors.torch import load_file

    weights, path = directory / "adapter_model.safetensors", directory / "adapter_config.json"
    if not weights.exists():
        refuse(directory, {})
    kind = read_json(path).get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{path} has peft_type {kind!r}; expected LORA, the one kind that can be merged here")
    try:
        with _quiet():
            config = PeftConfig.from_pretrained(str(directory))
    except Exception as error:  # values of the wrong type raise anything
        raise ModelError(f"{path} is not usable: {_reason(error)}") from error
    for name in ("r", "lora_alpha"):
        value = getattr(config, name)
        if not isinstance(value, int | float) or value <= 0:
            raise ModelError(f"{path}: {name} is {value!r}; expected a number above 0")
    config.task_type, config.inference_mode = None, True
    try:
        tensors = load_file(weights)
    except Exception as error:  # as above
        raise ModelError(f"{weights} cannot be read: {_reason(error)}; restore the adapter's file") from error
    return config, {key: value for key, value in tensors.items() if ".lm_head." not in key}


def _merge(model: Any, directory: Path) -> Any:
    """Put one LoRA adapter on the inner decoder and fold it into the weights.

    Adapters saved from the model with its head carry one ``model.`` more in their keys; both are taken. A key that
    fits nothing is an error, never a warning: a half-applied adapter embeds, badly.
    """
    from peft import get_peft_model, set_peft_model_state_dict

    config, tensors = _read_adapter(directory)
    try:
        with _quiet():
            wrapped = get_peft_model(model, config)
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
        with _quiet():
            set_peft_model_state_dict(wrapped, tensors)
            merged = wrapped.merge_and_unload()
    except ModelError:
        raise
    except Exception as error:  # peft raises anything on an adapter of another model or with values of a wrong type
        raise ModelError(f"adapter {directory} does not fit this base model: {_reason(error)}") from error
    if hasattr(merged, "peft_config"):
        del merged.peft_config
    return merged


def load_tokenizer(directory: Path) -> Any:
    """Load the fast tokenizer; ModelError when there is only a slow one."""
    from transformers import AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, use_fast=True)
    except Exception as error:  # tokenizers itself raises nothing more precise
        raise ModelError(f"the tokenizer in {directory} cannot be loaded: {_reason(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer in {directory} is a slow one; save it as a fast tokenizer (tokenizer.json)")
    return tokenizer


def resolve_settings(checkpoint: Checkpoint, **options: Any) -> Settings:
    """Read what a checkpoint and its adapters say of themselves; options that are not None replace it.

    The template may still be None: ``resolve_template`` finds it once the model is loaded, for which these settings
    are needed. Raises ModelError for settings that cannot be read.
    """
    return read_settings(checkpoint.settings, list(checkpoint.adapters)).with_options(**options)


def resolve_template(settings: Settings, checkpoint: Checkpoint, config: Any, tokenizer: Any) -> Settings:
    """Fill in the template, where the checkpoint says none, by its published name or its family."""
    if settings.template is not None:
        return settings
    return settings.with_options(template=choose(checkpoint.base_name, config.model_type, tokenizer.eos_token))


def choose_dtype(dtype: str, device: str) -> Any:
    """Resolve ``auto`` to bfloat16 where the device multiplies it natively, else float32; ModelError if unknown.

    Natively: every CUDA device that is bought today, and CPUs with AMX or AVX512-BF16. Elsewhere bfloat16 is emulated,
    and slower than float32.
    """
    import torch

    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is unknown; expected one of {', '.join(DTYPES)}")
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32


def why(dtype: str, device: str) -> str:
    """Why ``auto`` took the precision it took, as a phrase in brackets; "" where it was asked for."""
    if dtype != "auto":
        return ""
    native = choose_dtype(dtype, device).itemsize == 2
    what = "GPU" if device.startswith("cuda") else "CPU"
    return f" (auto: this {what} {'multiplies' if native else 'does not multiply'} bfloat16 natively)"


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself."""
    import torch

    return native_bfloat16(torch.cpu)


def native_bfloat16(cpu: Any) -> bool:
    """Ask ``torch.cpu`` for AMX or AVX512-BF16. They are private there: one that is absent counts as no."""
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(cpu, name, lambda: False)()) for name in asked)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what transformers and peft print while they load; what matters in it is checked and raised here."""
    from transformers.utils import logging as reports

    level = reports.get_verbosity()
    reports.set_verbosity(reports.CRITICAL)
    reports.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        reports.set_verbosity(level)


def _reason(error: BaseException) -> str:
    """The first useful line of a library's error, with its type where the words alone say little."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    if "above report" in text:  # transformers' log, which is silenced
        text = "its tensors cannot be converted to the layout of this model"
    if not text or isinstance(error, TypeError | LookupError | ArithmeticError | AttributeError):
        text = f"{type(error).__name__}: {text}".rstrip(": ")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
