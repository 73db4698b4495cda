"""A sentence-transformers folder, read as sentence-transformers 6.2 runs it.

Read here: ``modules.json``, the settings of Transformer and Pooling, prompts, lengths. What lies behind the pooling
(Dense, LayerNorm, Normalize) is ``head``. What that library would do and this one does not is refused by its name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from searchapp.encoder.json_files import is_text, parse, read_json
from searchapp.errors import ModelError

log = logging.getLogger("searchapp")

PACKAGE = "sentence_transformers."
BEFORE, AFTER = ("Transformer", "Pooling"), ("Normalize", "Dense", "LayerNorm", "Dropout")
UNLIMITED = 1_000_000  # tokens; tokenizers without a limit name a length of 1e30
BERT_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
MODES = {  # its pooling → ours; with the prompt left out, the first token and the weights are counted otherwise
    "mean": "mean",
    "lasttoken": "last_token",
    "cls": "bos_token",
    "weightedmean": "weighted_mean",
    "max": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}
WITHOUT_PROMPT = {"bos_token": "first_token", "last_token": "last_of_span", "weighted_mean": "weighted_by_position"}
OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Options that Transformer passes on: these change no vector here and are ignored, all others are refused.
HARMLESS = {
    "model": {"attn_implementation", "dtype", "torch_dtype", "trust_remote_code", "device_map", "use_safetensors",
              "low_cpu_mem_usage", "add_pooling_layer", "use_cache"},
    "processor": {"padding_side", "trust_remote_code", "use_fast", "model_max_length", "truncation_side"},
    "config": {"is_causal", "use_bidirectional_attention", "trust_remote_code", "use_cache", "add_pooling_layer"},
}  # fmt: skip
SPELLINGS = {
    "model": ("model_kwargs", "model_args"),
    "processor": ("processor_kwargs", "tokenizer_args", "tokenizer_kwargs"),
    "config": ("config_kwargs", "config_args"),
}


def read_folder(path: Path) -> dict[str, Any]:
    """The settings that a folder's ``modules.json`` and its neighbours ask for, as fields of ``Settings``.

    ``max_length`` is ``UNLIMITED`` where the folder names none: the tokenizer's and the model's own then hold.
    """
    found: dict[str, Any] = {"native": True, "pool_bos": True, "span": "offsets"}
    kinds = list(modules(path))
    _require_order(path, [kind for kind, _ in kinds])
    for kind, place in kinds:
        if kind == "Pooling":
            found |= _pooling(place)
    asked = transformer_options(path)
    found["lower_case"] = asked.get("do_lower_case", False)
    found["max_length"] = found["document_max_length"] = _length(body(path.parent), asked)
    unit = kinds[-1][0] in ("Normalize", "Dropout") and "Normalize" in [kind for kind, _ in kinds]
    return {**found, **_top(path.parent / "config_sentence_transformers.json", unit=unit)}


def body(directory: Path) -> Path:
    """The folder of a model's weights, settings and tokenizer: older folders name one below, such as 0_Transformer.

    Raises nothing: what is wrong with modules.json shows where its settings are read.
    """
    try:
        listed = list(modules(directory / "modules.json")) if (directory / "modules.json").exists() else []
    except ModelError:
        return directory
    return next((place for kind, place in listed if kind == "Transformer"), directory)


def modules(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield kind and folder of each module that modules.json lists. Raises ModelError for a module with own code."""
    listed = parse(path)
    if not isinstance(listed, list):
        raise ModelError(f"{path} holds a {type(listed).__name__}; expected a JSON list of modules")
    for number, module in enumerate(listed):
        named = module if isinstance(module, dict) else {}
        kind, place = named.get("type"), named.get("path")
        if not is_text(kind) or not is_text(place):
            raise ModelError(f"{path}: module {number} has no type and path; expected an object with both as texts")
        if not str(kind).startswith(PACKAGE):
            raise ModelError(
                f"{path}: module {number} is {kind!a}, code of its own, which is never run; expected modules of "
                "sentence-transformers itself"
            )
        if Path(str(place)).is_absolute() or ".." in Path(str(place)).parts:
            raise ModelError(f"{path}: module {number} lies at {place!a}; expected a folder below this one")
        yield str(kind).rsplit(".", 1)[-1], path.parent / str(place)


def _require_order(path: Path, kinds: list[str]) -> None:
    for kind in kinds:
        if kind not in (*BEFORE, *AFTER):
            raise ModelError(
                f"{path.parent} has a sentence-transformers module {kind!a}; only {', '.join((*BEFORE, *AFTER))} can "
                "be loaded: export the model without it"
            )
    if kinds[:2] != list(BEFORE) or set(kinds[2:]) - set(AFTER):
        raise ModelError(
            f"{path} lists the modules {', '.join(kinds) or 'none'}; expected Transformer and Pooling, one of each, "
            f"and behind them {', '.join(AFTER)}"
        )


def transformer_options(path: Path) -> dict[str, Any]:
    """What the Transformer module is made with. Raises ModelError for an option that would have to be obeyed."""
    place = body(path.parent)
    file = next((place / name for name in BERT_FILES if (place / name).exists()), None)
    content = read_json(file) if file is not None else {}
    asked: dict[str, Any] = {"do_lower_case": False, "max_seq_length": content.get("max_seq_length"), "file": file}
    if not isinstance(lower := content.get("do_lower_case") or False, bool):
        raise ModelError(f"{file}: do_lower_case is {lower!a}; expected true or false")
    asked["do_lower_case"] = lower
    for kind, names in SPELLINGS.items():
        given: Any = next((content[name] for name in names if content.get(name)), {})
        if not isinstance(given, dict):
            raise ModelError(f"{file}: {names[0]} is a {type(given).__name__}; expected an object")
        if strange := sorted(key for key in given if key not in HARMLESS[kind] and given[key] is not None):
            raise ModelError(f"{file} sets {strange[0]} in {names[0]}, which is not obeyed here; export without it")
        asked[kind] = given
    task = content.get("transformer_task") or "feature-extraction"
    if task != "feature-extraction":
        raise ModelError(f"{file} has transformer_task {task!a}; expected feature-extraction")
    modalities = content.get("modality_config")
    if isinstance(modalities, dict) and "message" in modalities:
        raise ModelError(f"{file} has message in modality_config: texts go through a chat template, which is not done")
    for name in ("query_length", "document_length", "query_expansion", "processing_kwargs", "tokenizer_name_or_path"):
        if content.get(name):
            raise ModelError(f"{file} sets {name}, which is not obeyed here; export the model without it")
    return asked


def _pooling(place: Path) -> dict[str, Any]:
    """Read both spellings: ``pooling_mode: mean`` and the older ``pooling_mode_mean_tokens: true``."""
    file = place / "config.json"
    content = read_json(file)
    if not content:
        raise ModelError(f"{file} is empty; expected the pooling_mode of the module")
    mode = content.get("pooling_mode")
    if mode is None:
        chosen = [name for key, name in OLD_MODES.items() if content.get(key)] or ["mean"]
        mode = chosen if len(chosen) > 1 else chosen[0]
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if isinstance(mode, list):
        raise ModelError(
            f"{file} concatenates {len(mode)} poolings ({', '.join(map(str, mode))}): several modes at once; "
            "expected one of them"
        )
    if not isinstance(mode, str) or mode not in MODES:
        raise ModelError(f"{file}: pooling_mode is {mode!a}; expected one of {', '.join(MODES)}")
    included = content.get("include_prompt", True)
    if not isinstance(included, bool):
        raise ModelError(f"{file}: include_prompt is {included!a}; expected true or false")
    pooling = MODES[mode]
    if included:
        return {"pooling": pooling, "pool_instruction": True}
    return {"pooling": WITHOUT_PROMPT.get(pooling, pooling), "pool_instruction": False, "span": "prompt"}


def _length(directory: Path, asked: dict[str, Any]) -> int:
    """The longest sequence in tokens that a folder names itself; ``UNLIMITED`` where it names none."""
    named = (
        (asked["file"], "max_seq_length", asked["max_seq_length"]),
        (asked["file"], "model_max_length", asked["processor"].get("model_max_length")),
    )
    path = directory / "tokenizer_config.json"
    own = (path, "model_max_length", read_json(path).get("model_max_length") if path.exists() else None)
    for file, key, length in (*named, own):
        if length is None or (isinstance(length, int | float) and length >= UNLIMITED):
            continue
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise ModelError(f"{file}: {key} is {length!a}; expected a whole number of tokens above 0")
        if file is not path or (file, key, length) in named:
            return length
    return UNLIMITED


def _top(path: Path, *, unit: bool) -> dict[str, Any]:
    """Prompts and the dimensions that are kept, of config_sentence_transformers.json."""
    content = read_json(path) if path.exists() else {}
    prompts, dim = content.get("prompts") or {}, content.get("truncate_dim")
    if not isinstance(prompts, dict):
        raise ModelError(f"{path}: prompts is a {type(prompts).__name__}; expected an object of texts by name")
    for name in ("query", "document"):
        if prompts.get(name) is not None and not is_text(prompts[name]):
            raise ModelError(f"{path}: the prompt {name!r} is {prompts[name]!a}; expected a text")
    if dim is not None and (not isinstance(dim, int) or isinstance(dim, bool) or dim < 1):
        raise ModelError(f"{path}: truncate_dim is {dim!a}; expected a whole number of dimensions above 0")
    similarity = content.get("similarity_fn_name")
    if similarity == "manhattan" or (similarity in ("dot", "euclidean") and not (unit and dim is None)):
        log.warning(
            "%s has similarity_fn_name %s; here vectors get unit length, and scores are cosines: documents may be "
            "ranked otherwise than by sentence-transformers", path, similarity,
        )  # fmt: skip
    if not prompts.get("document") and (prompts.get("passage") or prompts.get("corpus")):
        log.warning(
            "%s has a prompt for passages and none for documents: sentence-transformers 6.2 puts none before a "
            "document, and so it is here; name it `document` in prompts if documents are to have it", path,
        )  # fmt: skip
    return {
        "query_instruction": prompts.get("query") or None,
        "document_instruction": prompts.get("document") or None,
        "truncate_dim": dim,
    }
