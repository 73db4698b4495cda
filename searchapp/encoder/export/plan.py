"""An encoder's convention in the terms of those who will read its export: tokenizer, prompts, what is pooled.

``plan_export`` finds the terms of sentence-transformers, ``plan_merge`` keeps the encoder's own for ``Encoder.load``.
``export`` explains those terms, ``check`` compares them with the encoder.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from searchapp.encoder.encoder import Encoder
from searchapp.encoder.settings import Settings
from searchapp.errors import ModelError

MODES = {
    "mean": "mean", "weighted_mean": "weightedmean", "eos_token": "lasttoken", "last_token": "lasttoken",
    "bos_token": "cls", "max": "max", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "first_token": "cls",
    "last_of_span": "lasttoken",
    "weighted_by_position": "weightedmean",
}  # fmt: skip


@dataclass(frozen=True)
class ExportPlan:
    """An encoder's convention in the terms of both readers."""

    settings: Settings  # for encoder.json, which belongs to the tokenizer as written
    tokenizer: dict[str, Any]  # tokenizer.json
    processor: dict[str, Any]  # options with which sentence-transformers alone loads the tokenizer
    instructions: dict[str, str | None]  # by the name of their prompt
    prompts: dict[str, str]
    include_prompt: bool
    unpooled: frozenset[int]  # token ids of weight 0
    length: int  # max_seq_length


def _own_tokenizer(encoder: Encoder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(encoder.tokenizer.backend_tokenizer.to_str())
    return {**content, "truncation": None, "padding": None}


def plan_merge(encoder: Encoder) -> ExportPlan:
    """The encoder as it is, for ``Encoder.load``."""
    settings = encoder.settings
    return ExportPlan(settings, _own_tokenizer(encoder), {}, {}, {}, True, frozenset(), settings.max_length)


def plan_export(encoder: Encoder) -> ExportPlan:
    """The convention in the terms of sentence-transformers, not checked yet. Raises ModelError where it has none."""
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
    averaged = settings.pooling not in ("eos_token", "last_token", "bos_token")
    everything = settings.pool_instruction or not averaged
    closing = template.suffix + (template.end if settings.pooling == "eos_token" else "")
    tail = _closing_ids(backend, closing)
    processor: dict[str, Any] = {}
    if tail and everything:  # both readers pool it, or both leave it out
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
    return ExportPlan(
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
