"""From the name of a model to a reranker: which kind it is stands in its own files."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from searchapp.encoder import Encoder
from searchapp.encoder.checkpoint import locate, resolve
from searchapp.encoder.devices import choose_device
from searchapp.encoder.json_files import read_json
from searchapp.encoder.loading import load_tokenizer
from searchapp.errors import ModelError
from searchapp.rerank import head, listwise, yesno
from searchapp.rerank.biencoder import BiEncoder
from searchapp.rerank.cache import Cached
from searchapp.rerank.reranker import Reranker

log = logging.getLogger(__name__)

HEADED: dict[str, tuple[Callable[..., Reranker], int]] = {
    "head": (head.CrossEncoder, head.LENGTH),
    "yes-no": (yesno.YesNo, yesno.LENGTH),
    "listwise": (listwise.Listwise, listwise.LENGTH),
}
KINDS = ("bi-encoder", *HEADED)


def load_reranker(
    name: str,
    *,
    kind: str = "auto",
    instruction: str | None = None,
    max_length: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    cache: bool = True,
) -> Reranker:
    """Load a reranker from a checkpoint directory, a LoRA adapter's, a hub id, or ``bundled``.

    ``kind`` is one of ``KINDS``, or ``auto`` for what ``find_kind`` finds. ``instruction`` takes the place of the
    checkpoint's own; ``max_length`` bounds the tokens of a prompt. With ``cache`` scores are kept on disk. Raises
    ModelError for a model that is no reranker of this kind; weights must be safetensors, and its code is never run.
    """
    if kind not in ("auto", *KINDS):
        raise ModelError(f"reranker kind {kind!r} is unknown; expected auto, {', '.join(KINDS)}")
    if max_length is not None and max_length < 8:
        raise ModelError(f"max_length is {max_length}; expected at least 8 tokens")
    began = time.perf_counter()
    found = find_kind(name) if kind == "auto" else kind
    if found == "bi-encoder":
        encoder = Encoder.load(name, device=device, dtype=dtype, max_length=max_length, fingerprint=True)
        reranker: Reranker = BiEncoder(encoder, instruction)
    else:
        checkpoint = locate(name)
        make, length = HEADED[found]
        reranker = make(
            checkpoint,
            load_tokenizer(checkpoint.tokenizer),
            instruction=instruction,
            length=max_length or length,
            device=choose_device(device),
            dtype=dtype,
        )
    log.info("loaded the reranker %s (%s) in %.1f s", name, found, time.perf_counter() - began)
    return Cached(reranker) if cache else reranker


def find_kind(name: str) -> str:
    """Which kind of reranker a model is, by the files in its directory.

    A sentence-transformers folder says it in modules.json, an adapter by its task, a checkpoint by its architecture: a
    causal language model is asked yes-no, unless it was saved as an embedder. Only listwise has to be asked for.
    """
    if name == "bundled":
        return "bi-encoder"
    directory, _ = resolve(name)
    modules = _modules(directory)
    if any("LogitScore" in kind for kind in modules):
        return "yes-no"
    config = _json(directory / "config.json")
    if any("Pooling" in kind for kind in modules) or config.get("is_causal") is False and not _has_head(config):
        return "bi-encoder"
    if any((directory / file).exists() for file in ("encoder.json", "llm2vec_config.json")):
        return "bi-encoder"
    adapter = _json(directory / "adapter_config.json")
    if adapter:
        return {"SEQ_CLS": "head", "CAUSAL_LM": "yes-no"}.get(str(adapter.get("task_type")), "bi-encoder")
    if _has_head(config):
        return "head"
    names = [str(item) for item in config.get("architectures") or ()]
    return "yes-no" if any(item.endswith(("ForCausalLM", "LMHeadModel")) for item in names) else "bi-encoder"


def _has_head(config: dict[str, Any]) -> bool:
    return any(str(item).endswith("ForSequenceClassification") for item in config.get("architectures") or ())


def _modules(directory: Path) -> list[str]:
    """The classes of a sentence-transformers folder; none where it is no such folder."""
    try:
        content = json.loads((directory / "modules.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(item.get("type")) for item in content if isinstance(item, dict)] if isinstance(content, list) else []


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}
