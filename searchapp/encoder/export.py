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

Nothing of this is believed: before anything is put in place, token ids and pooled positions of many texts are compared
with the encoder's own through the tokenizer as written. What differs is refused, or said in ``Export.notices`` where
it touches only odd or long texts.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder.encoder import Encoder
from searchapp.encoder.settings import FILE, Settings
from searchapp.encoder.tokenisation import Tokenisation, Tokens
from searchapp.errors import ModelError

MODES = {
    "mean": "mean", "weighted_mean": "weightedmean", "eos_token": "lasttoken", "last_token": "lasttoken",
    "bos_token": "cls",
}  # fmt: skip
TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
WEIGHTS = "sentence_transformers.sentence_transformer.modules.word_weights.WordWeights"
POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"
DENSE = "sentence_transformers.base.modules.dense.Dense"
SINCE = "6.0.0"  # the first sentence-transformers with these class paths
WORDS = 300  # words of the vocabulary whose tokens are compared behind every prompt
USUAL = (
    "bees", "a", "How do bees fly?", "The quick brown fox jumps over the lazy dog.", "the naïve café, Straße",
    "bees 吾輩は猫である привет", "bee 🐝 + 🍯 = ?", "def f(x):\n    return x[0] * 2", "see https://a.b/c?d=e#f",
    "in 2024: 1,5 kg", "HELLO world", "one\n\ntwo\tthree  four",
)  # fmt: skip
FOREIGN = ("7", "42 bees", "2024-05-01", "吾輩は猫である", "привет мир", "🐝 + 🍯 = ?", "(1) x; y", "élan", "#tag")
LEADING, TRAILING = (" bees fly", "\nbees fly", "  x", "\t(x)"), ("bees fly ", "bees fly\n", "bees \n\n", "bees  ")
BEGINNINGS = (
    "that begin with a rare word, a digit or a sign",
    "that begin with white space",
)  # differ behind a prompt only
ODD = ("that are empty", "that spell out a special token")  # a closing template moved to the tokenizer sees them apart
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


@dataclass(frozen=True)
class _Plan:
    """An encoder's convention in the terms of both readers."""

    settings: Settings  # for encoder.json, which belongs to the tokenizer as written
    tokenizer: dict[str, Any]  # tokenizer.json
    processor: dict[str, Any]  # options with which sentence-transformers alone loads the tokenizer
    instructions: dict[str, str | None]  # by the name of their prompt
    prompts: dict[str, str]
    include_prompt: bool
    unpooled: frozenset[int]  # token ids of weight 0
    length: int  # max_seq_length


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
    if instruction is not None:
        settings = encoder.settings.with_options(query_instruction=instruction)
        encoder = Encoder(encoder.model, encoder.tokenizer, settings, encoder.checkpoint, encoder.options)
    if reduction is not None:
        reduction, bias = _projection(reduction, bias, encoder.dim)
    with _placing(target) as draft:
        plan = _plan(encoder) if sentence_transformers else _plain(encoder)
        notices: tuple[str, ...] = ()
        _write_tokenizer(draft, encoder, plan)
        _compare_own(draft, encoder, plan)
        if sentence_transformers:
            _write_modules(draft, encoder, plan, reduction, bias)
            notices = _compare(draft, encoder, plan)
        _write_model(draft, encoder)
        plan.settings.save(draft)
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
        raise ModelError(f"{target} cannot be written ({error.strerror}); give a new directory to export to") from error
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
def _placing(target: Path) -> Iterator[Path]:
    """Yield a directory beside the target that takes its place at the end, or vanishes."""
    name = f".{target.name}.{uuid.uuid4().hex}"
    draft, old = target.absolute().with_name(name), target.absolute().with_name(f"{name}.old")
    try:
        draft.mkdir(parents=True)
        yield draft
        if target.exists():
            target.rename(old)
        draft.rename(target)
    except OSError as error:
        raise ModelError(
            f"{target} cannot be written ({error.strerror or error}); check the path and its room"
        ) from error
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for leftover in (draft, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _own_tokenizer(encoder: Encoder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(encoder.tokenizer.backend_tokenizer.to_str())
    return {**content, "truncation": None, "padding": None}


def _plain(encoder: Encoder) -> _Plan:
    """The encoder as it is, for ``Encoder.load``."""
    settings = encoder.settings
    return _Plan(settings, _own_tokenizer(encoder), {}, {}, {}, True, frozenset(), settings.max_length)


def _plan(encoder: Encoder) -> _Plan:
    """Find the convention's terms; whether they are right is for ``_compare`` to say."""
    settings, template = encoder.settings, encoder.settings.template
    assert template is not None  # noqa: S101 - Encoder refuses settings without one
    backend, content = encoder.tokenizer.backend_tokenizer, _own_tokenizer(encoder)
    given = {"query": settings.query_instruction, "document": settings.document_instruction}
    asked = {name: text if text and text.strip() else None for name, text in given.items()}
    prompts = {}
    for name, text in asked.items():
        whole, start, _ = template.wrap(text, "", close=False)
        prompts[name] = whole[:start]
    added = backend.encode("").ids
    averaged = settings.pooling in ("mean", "weighted_mean")
    everything = settings.pool_instruction or not averaged
    closing = template.suffix + (template.end if settings.pooling == "eos_token" else "")
    tail = _closing_ids(backend, closing)
    processor: dict[str, Any] = {}
    if tail and everything:  # pooled or passed over whatever it is, by both readers
        content["post_processor"] = _appending(content["post_processor"], backend, tail)
        _normalize_first(content, {"type": "Strip", "strip_left": False, "strip_right": True})  # as a suffix does here
        settings = replace(settings, template=replace(template, suffix="", end=""))
    elif tail:
        token = backend.id_to_token(tail[0])
        special = {item["content"] for item in content["added_tokens"] if item["special"]}
        if len(tail) > 1 or token not in special:
            raise ModelError(
                f"{encoder.checkpoint.name} pools its closing template {closing!a} ({len(tail)} tokens) but not its "
                "prompt; sentence-transformers can append a single special token there; export with --merge-only, "
                "for searchapp alone"
            )
        processor = {"add_bos_token": bool(added), "add_eos_token": True, "eos_token": token}
    for prompt in prompts.values():
        if prompt and not everything:
            _drop_last_space(content, backend, prompt)
    fixed = max(len(backend.encode(prompt + closing).ids) for prompt in prompts.values())
    positions = getattr(encoder.model.config, "max_position_embeddings", None) or settings.max_length
    return _Plan(
        settings=settings,
        tokenizer=content,
        processor=processor,
        instructions=asked,
        prompts=prompts,
        include_prompt=everything,
        unpooled=frozenset() if everything or settings.pool_bos else frozenset(added),
        length=min(settings.max_length, settings.document_max_length + fixed, positions),
    )


def _closing_ids(backend: Any, closing: str) -> list[int]:
    """The tokens that a closing template has behind a text."""
    if not closing:
        return []
    alone, closed = (backend.encode(text, add_special_tokens=False).ids for text in ("bees", "bees" + closing))
    return list(closed[len(alone) :])


def _appending(post_processor: dict[str, Any] | None, backend: Any, tail: list[int]) -> dict[str, Any]:
    """A post-processor that puts what the tokenizer adds before a text, and ``tail`` behind it."""
    [marker] = backend.encode("a", add_special_tokens=False).ids[:1]
    whole = backend.encode("a").ids
    before = whole[: whole.index(marker)]
    tokens = {
        name: {"id": name, "ids": ids, "tokens": [backend.id_to_token(i) for i in ids]}
        for name, ids in (("opening", before), ("closing", tail))
        if ids
    }

    def piece(kind: str, name: str, number: int) -> dict[str, Any]:
        return {kind: {"id": name, "type_id": number}}

    def sides(name: str, number: int) -> list[dict[str, Any]]:
        opening = [piece("SpecialToken", "opening", number)] if before else []
        return [*opening, piece("Sequence", name, number), piece("SpecialToken", "closing", number)]

    single = sides("A", 0)
    ours = {
        "type": "TemplateProcessing", "single": single, "pair": [*single, *sides("B", 1)], "special_tokens": tokens,
    }  # fmt: skip
    kept = (post_processor or {}).get("processors", [post_processor] if post_processor else [])
    return {"type": "Sequence", "processors": [*(item for item in kept if item["type"] == "ByteLevel"), ours]}


def _drop_last_space(content: dict[str, Any], backend: Any, prompt: str) -> None:
    """Let a prompt with white space at its end have as many tokens alone as it has before a word.

    A normaliser sees the pieces between special tokens one by one: the rule names the prompt's last piece.
    """
    alone = len(backend.encode(prompt).ids)
    before = sum(end <= len(prompt) for _, end in backend.encode(prompt + "bees").offsets)
    after = max((prompt.rfind(item["content"]) + len(item["content"]) for item in content["added_tokens"]
                 if item["content"] in prompt), default=0)  # fmt: skip
    piece = prompt[after:]
    if alone == before or not piece.rstrip() or piece == piece.rstrip():
        return
    pattern = {"Regex": rf"\A{re.escape(piece)}\z"}
    _normalize_first(content, {"type": "Replace", "pattern": pattern, "content": piece.rstrip()})


def _normalize_first(content: dict[str, Any], rule: dict[str, Any]) -> None:
    """Put a rule before the normalisers of a tokenizer."""
    present = content["normalizer"]
    rest = present["normalizers"] if present and present["type"] == "Sequence" else [present] if present else []
    if rule not in rest:
        content["normalizer"] = {"type": "Sequence", "normalizers": [rule, *rest]}


def _write_tokenizer(draft: Path, encoder: Encoder, plan: _Plan) -> None:
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
    draft: Path, encoder: Encoder, plan: _Plan, reduction: np.ndarray | None, bias: np.ndarray | None
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
    folder("Pooling", POOLING, embedding_dimension=encoder.dim, pooling_mode=mode, include_prompt=plan.include_prompt)
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
        },
    )


def _write_model(draft: Path, encoder: Encoder) -> None:
    """Write safetensors, and a config.json that keeps the attention the model has."""
    from searchapp.encoder.loading import _quiet, _reason
    from searchapp.encoder.settings import read_json

    try:
        with _quiet():
            encoder.model.save_pretrained(draft)
    except Exception as error:  # safetensors has an error of its own for a full disk
        raise ModelError(f"the merged weights cannot be written: {_reason(error)}; check the room on disk") from error
    found = read_json(draft / "config.json")
    if encoder.settings.bidirectional and found.get("is_causal") is not False:
        _write_json(draft / "config.json", {**found, "is_causal": False})


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


Pooled = tuple[list[int], dict[int, int]]  # token ids, and the weight of each pooled position


def _same(one: Pooled, other: Pooled) -> bool:
    """Whether two ways of reading a text give one vector; where nothing is pooled it is zero."""
    return one == other or not (one[1] or other[1])


def _ours(item: Tokens, pooling: str) -> Pooled:
    ids = item.ids.tolist()
    if MODES[pooling] in ("lasttoken", "cls"):
        return ids, {len(ids) - 1 if MODES[pooling] == "lasttoken" else 0: 1}
    ramp = pooling == "weighted_mean"
    return ids, {i: i - item.start + 1 if ramp else 1 for i in range(item.start, item.end)}


def _theirs(tokenizer: Any, plan: _Plan, mode: str, prompt: str, texts: Sequence[str]) -> list[Pooled]:
    """What sentence-transformers 6 makes of texts (its Transformer.preprocess and Pooling), without running it."""

    def ids(strings: list[str]) -> list[list[int]]:
        return list(tokenizer(strings, truncation=True, max_length=plan.length)["input_ids"])

    skip = 0
    if prompt and not plan.include_prompt:
        [alone] = ids([prompt])
        skip = len(alone) - (alone[-1] in tokenizer.all_special_ids)
    rows: list[Pooled] = []
    for row in ids([prompt + text for text in texts]):
        if mode in ("lasttoken", "cls"):
            rows.append((row, {len(row) - 1 if mode == "lasttoken" else 0: 1}))
        else:
            chosen = (i for i in range(skip, len(row)) if row[i] not in plan.unpooled)
            rows.append((row, {i: i + 1 if mode == "weightedmean" else 1 for i in chosen}))
    return rows


def _words(encoder: Encoder) -> tuple[list[str], list[str]]:
    """Words spread over the vocabulary that are one token behind a blank, and pieces of words, which are not."""
    found: tuple[list[str], list[str]] = ([], [])
    for token in sorted(encoder.tokenizer.get_vocab()):
        word = token.lstrip("Ġ▁")
        if word.isascii() and word.isalpha() and len(word) > 1:
            found[word == token].append(word)
    common, pieces = ([*group[:: max(1, len(group) // WORDS)]] for group in found)
    return common, pieces


def _probes(encoder: Encoder) -> dict[str, list[str]]:
    """Texts by kind; "" are those on which any difference is refused."""
    limit, whole = encoder.settings.document_max_length, encoder.settings.max_length
    beyond = f"of more than {limit} tokens (cut at tokens, not between words)"
    common, pieces = _words(encoder)
    head = " ".join(USUAL[2:7])
    size = len(encoder.tokenizer.backend_tokenizer.encode(head, add_special_tokens=False).ids) + 1
    long = [" ".join([head] * (3 * max(limit, whole) // size + 2)), "bees " * (2 * max(limit, whole))]
    usual = [*USUAL, *common, *(f"{one} {other}" for one, other in zip(common, reversed(common), strict=True))]
    usual += [" ".join([head] * (int(share * limit) // size)) for share in (0.5, 0.95)]
    cut = limit < whole - 1  # texts are cut between words, which a tokenizer does not do
    special = [f"bees {token} fly" for token in encoder.tokenizer.all_special_tokens]
    kinds = {
        "": [*usual, *([] if cut else long)],
        beyond: long if cut else [],
        BEGINNINGS[0]: [*FOREIGN, *pieces],
        BEGINNINGS[1]: list(LEADING),
        "that end with white space": list(TRAILING),
        ODD[0]: [""],
        ODD[1]: special,
    }
    if not cut:
        return kinds
    within = {text for group in kinds.values() for text in group if encoder._tokenise.shorten(text) == text}
    return {
        kind: group if group is kinds[beyond] else [t for t in group if t in within] for kind, group in kinds.items()
    }


def _compare_own(draft: Path, encoder: Encoder, plan: _Plan) -> None:
    """Raise ModelError unless ``Encoder.load`` of the draft will tokenise and pool as the encoder does."""
    from searchapp.encoder.loading import load_tokenizer

    template = plan.settings.template
    assert template is not None  # noqa: S101 - as above
    positions = getattr(encoder.model.config, "max_position_embeddings", None)
    again = Tokenisation(load_tokenizer(draft).backend_tokenizer, plan.settings, template, positions)
    passed = ODD if plan.settings != encoder.settings else ()
    texts = [text for kind, group in _probes(encoder).items() for text in group if kind not in passed]
    for instruction in dict.fromkeys([plan.settings.query_instruction, plan.settings.document_instruction]):
        instructions = [instruction] * len(texts)
        pairs = zip(encoder._tokenise(texts, instructions), again(texts, instructions), texts, strict=True)
        for before, after, text in pairs:
            if not _same(_ours(before, encoder.settings.pooling), _ours(after, encoder.settings.pooling)):
                raise ModelError(
                    f"the tokenizer of {encoder.checkpoint.name} does not survive saving: {text[:40]!a} gives "
                    f"{len(after.ids)} tokens where it gave {len(before.ids)}; save it anew with this transformers"
                )


def _compare(draft: Path, encoder: Encoder, plan: _Plan) -> tuple[str, ...]:
    """Compare ids and pooled positions through the tokenizer as sentence-transformers will load it.

    Returns a line for each kind of odd text that differs; raises ModelError where a usual one does.
    """
    from transformers import AutoTokenizer

    from searchapp.encoder.loading import _quiet

    with _quiet():
        tokenizer = AutoTokenizer.from_pretrained(draft, model_max_length=plan.length, **plan.processor)
    pooling, notices = encoder.settings.pooling, []
    for kind, texts in _probes(encoder).items():
        wrong: list[tuple[str, str, Pooled, Pooled]] = []
        if not texts:
            continue
        for name, prompt in plan.prompts.items():
            ours = encoder._tokenise(texts, [plan.instructions[name]] * len(texts))
            theirs = _theirs(tokenizer, plan, MODES[pooling], prompt, texts)
            pairs = [(_ours(item, pooling), their, text) for item, their, text in zip(ours, theirs, texts, strict=True)]
            wrong += [(prompt, text, own, their) for own, their, text in pairs if not _same(own, their)]
        bare = [item for item in wrong if not item[0]]
        if bare and kind in BEGINNINGS:
            _refuse(encoder, *bare[0])
        if wrong and kind:
            names = sorted({name for name, prompt in plan.prompts.items() if prompt in {item[0] for item in wrong}})
            behind = "" if len(names) == len(plan.prompts) else f" behind the {names[0]} prompt"
            notices.append(f"texts {kind} get other vectors{behind} in sentence-transformers than here")
        elif wrong:
            _refuse(encoder, *wrong[0])
    return tuple(notices)


def _refuse(encoder: Encoder, prompt: str, text: str, own: Pooled, their: Pooled) -> None:
    behind = f" behind the prompt {prompt!a}" if prompt else ""
    if own[0] != their[0]:
        what = f"reads {text[:40]!a}{behind} as other tokens"
    elif own[1].keys() == their[1].keys():
        what = f"weights the tokens of {text[:40]!a}{behind} from the beginning of the sequence, not of the text"
    else:
        what = f"pools {len(their[1])} tokens of {text[:40]!a}{behind}, searchapp {len(own[1])}"
    rule = ", by its span rule 'count'" if encoder.settings.span == "count" and prompt and own[0] == their[0] else ""
    raise ModelError(
        f"{encoder.checkpoint.name} cannot be expressed in sentence-transformers: it {what}{rule}; "
        "export with --merge-only, for searchapp alone, or without an instruction"
    )


def _card(encoder: Encoder, plan: _Plan, notices: Sequence[str], reduction: np.ndarray | None) -> str:
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
