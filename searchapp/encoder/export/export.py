"""Writes an encoder as one merged checkpoint that plain sentence-transformers (6 or later) and ``Encoder.load`` read.

Both give the vectors of the encoder itself. What its convention becomes in sentence-transformers:

- BOS, and whatever else the tokenizer adds on its own, is attended to but not pooled: a ``WordWeights`` module gives it
  weight 0, so that nobody has to write it into prompts. (A prompt of "<s>" alone is measured as 0 tokens there.)
- An instruction or template prefix becomes a named prompt with ``include_prompt=False``. A prompt is measured alone
  there, and "find: " has one token more alone than before a word: the tokenizer drops the space at the end of exactly
  these prompts when nothing follows.
- A closing template is appended by the tokenizer. Where prompts are left out of the pooling it has to be one special
  token: sentence-transformers counts it into the length of a prompt and takes off one.
- Weights in half precision are pooled in float32, as here; with a reduction they are computed in float32 altogether.

All of this is checked before the directory appears: many texts go through the tokenizer as written, and their token ids
and pooled positions are compared with the encoder's own. A difference is refused, or noted in ``Export.notices`` where
it touches only odd or long texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.atomic import atomic_directory
from searchapp.encoder.encoder import Encoder
from searchapp.encoder.export.check import compare_own, compare_theirs
from searchapp.encoder.export.plan import MODES, ExportPlan, plan_export, plan_merge
from searchapp.encoder.instructions import PUBLISHED
from searchapp.encoder.settings import FILE, Settings
from searchapp.errors import ModelError, reason_of

TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
WEIGHTS = "sentence_transformers.sentence_transformer.modules.word_weights.WordWeights"
POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"
DENSE = "sentence_transformers.base.modules.dense.Dense"
SINCE = "6.0.0"  # the first sentence-transformers with these class paths
OVERWRITABLE = (FILE, "config.json")  # what a directory holds that may be replaced


@dataclass(frozen=True)
class Export:
    """What was written: the directory, the length and precision of its vectors, its prompts by name.

    ``notices`` say, one a line, which texts sentence-transformers embeds differently; for all others it gives the
    encoder's vectors. ``prompts`` is None when no files for sentence-transformers were written.
    """

    path: Path
    dim: int
    dtype: str
    prompts: dict[str, str] | None
    notices: tuple[str, ...]


def export(
    model: Encoder | str,
    to: str | Path,
    *,
    adapters: Sequence[str] | None = None,
    reduction: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    instruction: str | None = None,
    sentence_transformers: bool = True,
    overwrite: bool = False,
    **options: Any,
) -> Export:
    """Merge an encoder and its adapters into the directory ``to``; float32 weights give equal vectors to 1e-5.

    ``model`` is an encoder, or a name that is loaded with ``adapters`` and the other options of ``Encoder.load``; the
    weights keep the precision it has in memory. ``instruction`` replaces its query instruction. ``reduction`` (dim, k),
    with ``bias`` (k,), projects the unit vectors in sentence-transformers, and rows get length 1 again; our
    ``Encoder.load`` gives the vectors before it, as an index keeps its projection itself. Without
    ``sentence_transformers`` only the merged checkpoint is written. ``overwrite`` replaces an earlier export.

    Raises ModelError for a directory in use and for a convention that sentence-transformers cannot express.
    """
    target = Path(to)
    check_target(target, overwrite=overwrite)
    if isinstance(model, Encoder):
        if adapters or options:
            raise ModelError("adapters and options were given with a loaded encoder; give them to Encoder.load")
        encoder = model
    else:
        encoder = Encoder.load(model, adapters=adapters, **options)
    _check_apart(target, encoder)
    if encoder.head.steps:
        raise ModelError(f"{encoder.checkpoint.name} has Dense layers behind its pooling: it is exported as it is")
    if reduction is not None and encoder.settings.truncate_dim is not None:
        raise ModelError(f"{encoder.checkpoint.name} has truncate_dim; export it without a reduction behind it")
    if instruction is not None:
        settings = encoder.settings.with_options(query_instruction=instruction)
        encoder = Encoder(encoder.model, encoder.tokenizer, settings, encoder.checkpoint, encoder.options)
    if reduction is not None:
        reduction, bias = _projection(reduction, bias, encoder.dim)
    if instruction is not None or not encoder.instruction_origin.startswith(PUBLISHED) or not sentence_transformers:
        return _write(target, encoder, reduction, bias, encoder.settings, sentence_transformers=sentence_transformers)
    try:
        return _write(target, encoder, reduction, bias, encoder.settings)
    except ModelError:  # an instruction that nobody asked for keeps no model from being exported
        bare = replace(encoder.settings, query_instruction=None, document_instruction=None)
        without = Encoder(encoder.model, encoder.tokenizer, bare, encoder.checkpoint, encoder.options)
        return _write(target, without, reduction, bias, encoder.settings)


def _write(
    target: Path,
    encoder: Encoder,
    reduction: np.ndarray | None,
    bias: np.ndarray | None,
    found: Settings,
    *,
    sentence_transformers: bool = True,
) -> Export:
    """Write and check everything; ``found`` has the instructions that ``Encoder.load`` of the export finds."""
    with _reporting(target), atomic_directory(target) as draft:
        plan = plan_export(encoder) if sentence_transformers else plan_merge(encoder)
        notices: tuple[str, ...] = ()
        _write_tokenizer(draft, encoder, plan)
        compare_own(draft, encoder, plan)
        if sentence_transformers:
            _write_modules(draft, encoder, plan, reduction, bias)
            notices = compare_theirs(draft, encoder, plan)
        settings = plan.settings
        if (found.query_instruction, found.document_instruction) != (
            encoder.settings.query_instruction,
            encoder.settings.document_instruction,
        ):
            settings = replace(
                settings,
                query_instruction=found.query_instruction,
                document_instruction=found.document_instruction,
            )
            notices = (
                *notices,
                f"queries get {found.query_instruction!r} by searchapp alone: sentence-transformers would not pool the "
                "same tokens behind it, and gets no prompt",
            )
        _write_model(draft, encoder)
        settings.save(draft)
        if sentence_transformers:
            card = _card(encoder, plan, notices, reduction)
            (draft / "README.md").write_text(card, encoding="utf-8")
    dim = encoder.dim if reduction is None or not sentence_transformers else reduction.shape[1]
    return Export(target, dim, encoder.dtype, plan.prompts if sentence_transformers else None, notices)


def check_target(target: Path, *, overwrite: bool = False) -> None:
    """Raise ModelError unless a directory can be written there: free, empty, or a model to be overwritten."""
    try:
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise ModelError(f"{target} is no directory; give a new directory to export to")
        used = target.is_dir() and any(target.iterdir())
        held = all((target / name).exists() for name in OVERWRITABLE)
    except OSError as error:
        raise ModelError(
            f"{target} cannot be written ({reason_of(error)}); give a new directory to export to"
        ) from error
    if used and not overwrite:
        raise ModelError(f"{target} is not empty; give a new directory, or --overwrite to replace an earlier export")
    if used and not held:
        raise ModelError(f"{target} is not empty and holds no earlier export, so it is not replaced; give another one")


def _check_apart(target: Path, encoder: Encoder) -> None:
    """Refuse to write over what the encoder is read from."""
    place, parts = target.resolve(), encoder.checkpoint
    for read in (parts.weights, parts.tokenizer, parts.settings, *parts.adapters):
        if read.resolve().is_relative_to(place):
            raise ModelError(f"{target} holds the model that is being exported; give another directory")


def _projection(reduction: np.ndarray, bias: np.ndarray | None, dim: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Both as float32. Raises ModelError when the shapes do not fit."""
    if reduction.ndim != 2 or reduction.shape[0] != dim or not reduction.shape[1]:
        raise ModelError(f"the reduction has shape {reduction.shape}, the model gives {dim} dimensions; they must fit")
    if bias is not None and bias.shape != reduction.shape[1:]:
        raise ModelError(f"the bias has shape {bias.shape}; expected {reduction.shape[1:]}")
    return reduction.astype(np.float32), None if bias is None else bias.astype(np.float32)


@contextmanager
def _reporting(target: Path) -> Iterator[None]:
    """Raise ModelError where the directory cannot be written."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{target} cannot be written ({reason_of(error)}); check the path and its room") from error


def _write_tokenizer(draft: Path, encoder: Encoder, plan: ExportPlan) -> None:
    """Write tokenizer.json as it is run here, under the one class that takes it as it is."""
    tokenizer = encoder.tokenizer
    named = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    padding = named.get("pad_token") or named.get("eos_token") or named.get("unk_token")
    if padding is None:
        raise ModelError(f"{encoder.checkpoint.name} has no pad, eos or unk token; add a pad_token to its tokenizer")
    config = {
        **named,
        "pad_token": padding,
        "tokenizer_class": "TokenizersBackend",
        "model_max_length": plan.length,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
    }
    _write_json(draft / "tokenizer_config.json", config)
    _write_json(draft / "tokenizer.json", plan.tokenizer)


def _write_modules(
    draft: Path, encoder: Encoder, plan: ExportPlan, reduction: np.ndarray | None, bias: np.ndarray | None
) -> None:
    """Write everything that sentence-transformers reads beside model and tokenizer."""
    from safetensors.numpy import save_file
    from transformers import __version__ as transformers

    modules: list[tuple[str, str]] = []

    def folder(name: str, kind: str, **content: Any) -> Path:
        place = draft / f"{len(modules)}_{name}"
        place.mkdir()
        _write_json(place / "config.json", content)
        modules.append((place.name, kind))
        return place

    modules.append(("", TRANSFORMER))
    weighted = bool(plan.unpooled) or encoder.dtype != "float32"  # its product is float32: so is what is pooled then
    if weighted:
        size = max(int(encoder.model.config.vocab_size), encoder.tokenizer.backend_tokenizer.get_vocab_size())
        vocabulary = [encoder.tokenizer.backend_tokenizer.id_to_token(i) or f"unused {i}" for i in range(size)]
        zeros = {vocabulary[i]: 0.0 for i in sorted(plan.unpooled)}
        place = folder("WordWeights", WEIGHTS, vocab=vocabulary, word_weights=zeros, unknown_word_weight=1.0)
        weights = np.array([[float(i not in plan.unpooled)] for i in range(size)], dtype=np.float32)
        save_file({"emb_layer.weight": weights}, place / "model.safetensors")
    mode = MODES[encoder.settings.pooling]
    folder("Pooling", POOLING, embedding_dimension=encoder.width, pooling_mode=mode, include_prompt=plan.include_prompt)
    folder("Normalize", NORMALIZE)
    if reduction is not None:
        identity = "torch.nn.modules.linear.Identity"
        place = folder(
            "Dense", DENSE, in_features=encoder.dim, out_features=reduction.shape[1], bias=bias is not None,
            activation_function=identity, module_input_name="sentence_embedding",
            module_output_name="sentence_embedding",
        )  # fmt: skip
        tensors = {"linear.weight": np.ascontiguousarray(reduction.T)}
        save_file(tensors if bias is None else {**tensors, "linear.bias": bias}, place / "model.safetensors")
        folder("Normalize", NORMALIZE)
    rows = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)]
    _write_json(draft / "modules.json", rows)
    top: dict[str, Any] = {"max_seq_length": plan.length, "do_lower_case": False}
    if weighted:
        top["unpad_inputs"] = False  # WordWeights needs the attention mask, which unpadded batches go without
    if encoder.model.config._attn_implementation == "eager":  # where another kernel may stay causal
        top["model_kwargs"] = {"attn_implementation": "eager"}
    if reduction is not None and encoder.dtype != "float32":  # it has one precision for all modules
        top.setdefault("model_kwargs", {})["dtype"] = "float32"
    if plan.processor:
        top["processor_kwargs"] = plan.processor
    _write_json(draft / "sentence_bert_config.json", top)
    _write_json(
        draft / "config_sentence_transformers.json",
        {
            "model_type": "SentenceTransformer",
            "__version__": {"sentence_transformers": SINCE, "transformers": transformers},
            "prompts": plan.prompts,
            "default_prompt_name": "document" if plan.prompts["document"] else None,
            "similarity_fn_name": "cosine",
            **({} if encoder.settings.truncate_dim is None else {"truncate_dim": encoder.settings.truncate_dim}),
        },
    )


def _write_model(draft: Path, encoder: Encoder) -> None:
    """Write safetensors, and a config.json that keeps the attention the model has."""
    from searchapp.encoder.json_files import read_json
    from searchapp.encoder.library import explain, quiet

    try:
        with quiet():
            encoder.model.save_pretrained(draft)
    except Exception as error:  # safetensors has an error of its own, which says only in words that the disk is full
        raise ModelError(
            f"the merged weights cannot be written: {explain(error)}; check the directory and the room on its disk"
        ) from error
    found = read_json(draft / "config.json")
    if encoder.settings.bidirectional and found.get("is_causal") is not False:
        _write_json(draft / "config.json", {**found, "is_causal": False})


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _card(encoder: Encoder, plan: ExportPlan, notices: Sequence[str], reduction: np.ndarray | None) -> str:
    """The README of an export: how to load it and what is the same."""
    name = encoder.checkpoint.name if encoder.checkpoint.base_name == encoder.checkpoint.name else ""
    title = name or Path(encoder.checkpoint.name).name or "model"
    width = f"{encoder.dim}" if reduction is None else f"{reduction.shape[1]} (reduced from {encoder.dim})"
    lines = [
        f"# {title}, merged by searchapp",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer  # 6 or later, with transformers 5.2 or later",
        'model = SentenceTransformer("path/to/this/folder")',
        'queries, documents = model.encode_query(["…"]), model.encode_document(["…"])',
        "```",
        "",
        f"Vectors have {width} dimensions and length 1; weights are {encoder.dtype}. "
        '`searchapp.Encoder.load("path/to/this/folder")` reads the same folder'
        + ("." if reduction is None else f" and gives the {encoder.dim} dimensions before the reduction."),
        "",
        *(f"- prompt `{name}`: {json.dumps(text, ensure_ascii=False)}" for name, text in plan.prompts.items()),
        "- an instruction of your own belongs into an export of its own: one that ends in a blank is measured wrongly",
        *(f"- {notice}" for notice in notices),
    ]
    return "\n".join(lines) + "\n"
