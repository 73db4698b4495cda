"""LoRA adapters, merged by peft itself into the module that they were trained on, and nothing of them lost on the way.

The names in an adapter's configuration (targets, patterns of rank and strength, layers, exclusions) are those of the
model that was trained: most often a causal language model, whose decoder is its ``model``. Matched against the bare
decoder, a pattern such as ``model.layers.0.self_attn.q_proj`` fits nothing, and peft then takes the default without a
word. So the decoder is put back into the shell of its causal model, without weights, where the file's names ask for it.
"""

from __future__ import annotations

import logging
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from searchapp.encoder.checkpoint import refuse
from searchapp.encoder.json_files import read_json, refuse_pointer
from searchapp.encoder.library import explain, quiet
from searchapp.errors import ModelError

log = logging.getLogger("searchapp")

PREFIX = "base_model.model."
# What peft keeps beside a base model's own names: a name ends before the first of them.
TUNED = re.compile(r"\.(lora_|token_adapter|trainable_tokens|modules_to_save|base_layer|original_module|weight$|bias$)")
# Variants of LoRA whose effect depends on the input or on a model of another shape: they cannot be folded into weights.
UNMERGEABLE = (
    "alora_invocation_tokens", "arrow_config", "layer_replication", "megatron_config", "monteclora_config",
    "use_bdlora", "use_qalora",
)  # fmt: skip


def merge(model: Any, directory: Path) -> Any:
    """Fold one adapter into a bare decoder, in place, as peft's ``merge_and_unload`` does; return the decoder.

    Modules that embedding does not use (a head, a classifier) are passed over, which is said where the adapter saved
    them whole. Raises ModelError for a field of the configuration that cannot be merged, and for a tensor without a
    place or a place without a tensor: a half-applied adapter embeds, badly.
    """
    config, tensors = _read(directory)
    config.task_type = None
    shell = _shell(model, tensors)
    target = model if shell is None else shell
    modules = {name for name, _ in target.named_modules()}
    merged = _fold(target, config, _without_absent(directory, config, tensors, modules), directory)
    decoder = merged if shell is None else getattr(merged, merged.base_model_prefix)
    for part in (merged, decoder):
        if hasattr(part, "peft_config"):
            del part.peft_config
    return decoder


def merge_headed(model: Any, directory: Path) -> Any:
    """Fold one adapter, with a head that was trained with it, into a model that has its head, in place; return it.

    Raises ModelError as ``merge`` does; here every tensor must have a place, those of heads too.
    """
    config, tensors = _read(directory)
    return _fold(model, config, tensors, directory)


def _fold(target: Any, config: Any, tensors: dict[str, Any], directory: Path) -> Any:
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    _require_vocabulary(target, tensors, directory)
    try:
        with quiet():
            wrapped = get_peft_model(target, config)
            places = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
            missing = sorted(places - set(tensors))
            stray = sorted(set(tensors) - places - _own_names(wrapped))
            if missing or stray:
                raise ModelError(
                    f"adapter {directory} does not fit this base model: {len(stray)} of its tensors have no place and "
                    f"{len(missing)} places stay empty (first: {(stray or missing)[0]}); check base_model_name_or_path"
                )
            result = set_peft_model_state_dict(wrapped, tensors)
            if result.unexpected_keys:
                raise ModelError(
                    f"adapter {directory} does not fit this base model: peft finds no place for "
                    f"{len(result.unexpected_keys)} of its tensors (first: {result.unexpected_keys[0]})"
                )
            return wrapped.merge_and_unload()
    except ModelError:
        raise
    except Exception as error:  # peft raises anything on an adapter of another model or with values of a wrong type
        raise ModelError(f"adapter {directory} does not fit this base model: {explain(error)}") from error


def _require_vocabulary(target: Any, tensors: dict[str, Any], directory: Path) -> None:
    """Raise ModelError for an embedding of more tokens than the base has: tokens that were added in training."""
    embedding = target.get_input_embeddings()
    name, rows = next((name for name, module in target.named_modules() if module is embedding), None), embedding.weight
    for key, value in tensors.items():
        whole = ".lora_" not in key and ".trainable_tokens" not in key and ".token_adapter" not in key
        if whole and _module(key) == name and value.dim() == 2 and value.shape[0] != rows.shape[0]:
            raise ModelError(
                f"adapter {directory} holds an embedding of {value.shape[0]} tokens, its base has {rows.shape[0]}: "
                "tokens were added in training; merge it there, and give the merged model"
            )


def _own_names(wrapped: Any) -> set[str]:
    """Names under which the file may hold a weight of the base whole: an embedding that was saved, also a tuned one."""
    names = set()
    for layer in (wrapped.get_input_embeddings(), wrapped.get_output_embeddings()):
        name = next((name for name, module in wrapped.named_modules() if module is layer), None)
        if name is not None:
            names |= {f"{name}.{key}" for key in layer.state_dict()}
    return names


def _read(directory: Path) -> tuple[Any, dict[str, Any]]:
    """Return the configuration of a LoRA adapter, all of whose fields are understood, and its tensors."""
    from peft import LoraConfig, PeftConfig
    from safetensors.torch import load_file

    weights, path = directory / "adapter_model.safetensors", directory / "adapter_config.json"
    if not weights.exists():
        refuse(directory, {})
    refuse_pointer(weights)
    content = read_json(path)
    if (kind := content.get("peft_type")) != "LORA":
        raise ModelError(f"{path} has peft_type {kind!r}; expected LORA, the one kind that can be merged here")
    known = {item.name for item in fields(LoraConfig)}
    for name, value in content.items():
        if name not in known and _says_something(value) and name not in ("peft_version", "auto_mapping"):
            raise ModelError(
                f"{path} sets {name} to {value!r}, which this peft does not know; install a newer peft, or merge the "
                "adapter where it was trained"
            )
        if name in UNMERGEABLE and _says_something(value):
            raise ModelError(f"{path} sets {name}, and such an adapter cannot be folded into the weights of its base")
    try:
        with quiet():
            config = PeftConfig.from_pretrained(str(directory))
    except Exception as error:  # values of the wrong type raise anything
        raise ModelError(f"{path} is not usable: {explain(error)}") from error
    for name in ("r", "lora_alpha"):
        value = getattr(config, name)
        if not isinstance(value, int | float) or value <= 0:
            raise ModelError(f"{path}: {name} is {value!r}; expected a number above 0")
    config.inference_mode = True
    try:
        return config, load_file(weights)
    except Exception as error:  # as above
        raise ModelError(f"{weights} cannot be read: {explain(error)}; restore the adapter's file") from error


def _says_something(value: Any) -> bool:
    """Whether a field is more than absent, off or empty."""
    return value is not None and value is not False and value not in ("", [], {})


def _module(key: str) -> str:
    """The module of the base model that a tensor of an adapter belongs to."""
    return TUNED.split(key.removeprefix(PREFIX), maxsplit=1)[0]


def _shell(model: Any, tensors: dict[str, Any]) -> Any:
    """The causal model round a decoder, where the tensors bear its names; None where they bear the decoder's own.

    Its head has no weights, unless it is the decoder's own embedding.
    """
    import torch
    from transformers import AutoModelForCausalLM

    named = {_module(key) for key in tensors}
    inner = {name for name, _ in model.named_modules()}
    if len(named & inner) == len(named):
        return None
    try:
        with quiet(), torch.device("meta"):
            shell = AutoModelForCausalLM.from_config(
                model.config, attn_implementation=model.config._attn_implementation
            )
    except Exception:  # a family without a causal model: the names are judged against the decoder
        return None
    prefix = shell.base_model_prefix
    if not hasattr(shell, prefix):
        return None
    outer = {name for name, _ in shell.named_modules()}
    if len(named & outer) <= len(named & inner):
        return None
    setattr(shell, prefix, model)
    if getattr(model.config, "tie_word_embeddings", False) and shell.get_output_embeddings() is not None:
        shell.get_output_embeddings().weight = model.get_input_embeddings().weight
    return shell.eval().requires_grad_(False)


def _without_absent(directory: Path, config: Any, tensors: dict[str, Any], modules: set[str]) -> dict[str, Any]:
    """The tensors without those of whole modules that the adapter saved and this model does not have: heads."""
    saved = tuple(config.modules_to_save or ())
    kept, passed = {}, set()
    for key, value in tensors.items():
        module = _module(key)
        if module not in modules and any(part in saved for part in module.split(".")):
            passed.add(module)
        else:
            kept[key] = value
    heads = {name for name in saved if name.split(".")[-1] in ("lm_head", "embed_out", "output")}
    if unused := sorted(passed | heads):
        log.warning("adapter %s saves %s, which embedding does not use", directory, ", ".join(unused))
    return kept
