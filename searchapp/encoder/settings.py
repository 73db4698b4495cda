"""How an encoder turns text into one vector: pooling, lengths, template, prompts; and where a checkpoint says so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from searchapp.encoder.template import Template
from searchapp.errors import ModelError

FILE = "encoder.json"
FORMAT = 1
POOLINGS = ("mean", "weighted_mean", "eos_token", "last_token", "bos_token")
SPANS = ("count", "offsets")
# other spellings: sentence-transformers' and the short ones
ALIASES = {
    "eos": "eos_token",
    "last": "last_token",
    "bos": "bos_token",
    "weightedmean": "weighted_mean",
    "lasttoken": "last_token",
    "cls": "bos_token",
}


@dataclass(frozen=True)
class Settings:
    """Everything beside the weights that decides a vector.

    ``pooling`` is one of ``POOLINGS``. ``max_length`` bounds the whole sequence and ``document_max_length`` the text,
    both in tokens. ``pool_instruction`` pools over every token instead of the text and closing template only.
    ``span`` finds where the pooled text begins: by character ``offsets``, or by LLM2Vec's ``count`` of tokens.
    ``pool_bos`` pools BOS too where no instruction stands before the text (sentence-transformers' way).
    """

    pooling: str = "mean"
    max_length: int = 512
    document_max_length: int = 400
    pool_instruction: bool = False
    pool_bos: bool = False
    span: str = "count"
    bidirectional: bool = True
    query_instruction: str | None = None
    document_instruction: str | None = None
    template: Template | None = field(default=None)

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ModelError(f"pooling {self.pooling!r} is unknown; expected one of {', '.join(POOLINGS)}")
        if self.span not in SPANS:
            raise ModelError(f"span {self.span!r} is unknown; expected one of {', '.join(SPANS)}")
        for name in ("max_length", "document_max_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ModelError(f"{name} is {value!r}; expected a whole number of tokens above 0")

    def with_options(self, **options: Any) -> Settings:
        """Return a copy in which every option that is not None replaces what the checkpoint says."""
        given = {key: value for key, value in options.items() if value is not None}
        if "pooling" in given:
            given["pooling"] = ALIASES.get(given["pooling"], given["pooling"])
        return replace(self, **given)

    def save(self, directory: Path) -> None:
        """Write ``encoder.json``, which outranks every other settings file of a checkpoint."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False)
        (directory / FILE).write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ModelError names the file when it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}); restore the checkpoint's file") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content


def read_settings(directory: Path, adapters: list[Path]) -> Settings:
    """Read what a checkpoint says of itself; the last adapter that says anything speaks for all.

    Looks, in this order, for ``encoder.json`` (ours), ``llm2vec_config.json`` (the original's) and
    ``modules.json`` (sentence-transformers'); without any of them the defaults hold.
    """
    for place in [*reversed(adapters), directory]:
        if (place / FILE).exists():
            return _own(place / FILE)
        if (place / "llm2vec_config.json").exists():
            return _llm2vec(place / "llm2vec_config.json")
        if (place / "modules.json").exists():
            return _sentence_transformers(place)
    return Settings()


def _own(path: Path) -> Settings:
    content = read_json(path)
    if content.pop("format", FORMAT) != FORMAT:
        raise ModelError(f"{path} is of another format than {FORMAT}; use the searchapp version that wrote it")
    template = content.pop("template", None)
    known = {item.name for item in fields(Settings)}
    if unknown := sorted(set(content) - known):
        raise ModelError(f"{path} has unknown keys {', '.join(unknown)}; expected {', '.join(sorted(known))}")
    return Settings(**content, template=Template(**template) if template else None)


def _llm2vec(path: Path) -> Settings:
    content = read_json(path)
    names = {"pooling_mode": "pooling", "max_length": "max_length", "doc_max_length": "document_max_length"}
    options = {ours: content[theirs] for theirs, ours in names.items() if theirs in content}
    if "skip_instruction" in content:
        options["pool_instruction"] = not content["skip_instruction"]
    return Settings().with_options(**options)


def _sentence_transformers(directory: Path) -> Settings:
    """Pooling, prompts and lengths of a sentence-transformers folder: Transformer, Pooling and Normalize only."""
    modules = json.loads((directory / "modules.json").read_text(encoding="utf-8"))
    settings = Settings(pool_bos=True, span="offsets", template=Template(raw=True))
    for module in modules:
        kind = module["type"].rsplit(".", 1)[-1]
        place = directory / module["path"]
        if kind == "Pooling":
            content = read_json(place / "config.json")
            settings = settings.with_options(
                pooling=_pooling_mode(content, place), pool_instruction=bool(content.get("include_prompt", True))
            )
        elif kind not in ("Transformer", "Normalize"):
            raise ModelError(
                f"{directory} has a sentence-transformers module {kind}; "
                "only Transformer, Pooling and Normalize can be loaded: export the model without it"
            )
    body = directory / "sentence_bert_config.json"
    length = read_json(body).get("max_seq_length") if body.exists() else None
    if length is None and (directory / "tokenizer_config.json").exists():
        length = read_json(directory / "tokenizer_config.json").get("model_max_length")
    if isinstance(length, int) and length < 1_000_000:
        settings = settings.with_options(max_length=length, document_max_length=length)
    top = directory / "config_sentence_transformers.json"
    prompts = (read_json(top).get("prompts") or {}) if top.exists() else {}
    return settings.with_options(
        query_instruction=prompts.get("query") or None,
        document_instruction=prompts.get("document") or prompts.get("passage") or None,
    )


def _pooling_mode(content: dict[str, Any], place: Path) -> str:
    """Read both spellings: ``pooling_mode: mean`` and the older ``pooling_mode_mean_tokens: true``."""
    mode = content.get("pooling_mode")
    if mode is None:
        old = {
            "pooling_mode_mean_tokens": "mean",
            "pooling_mode_lasttoken": "lasttoken",
            "pooling_mode_cls_token": "cls",
            "pooling_mode_weightedmean_tokens": "weightedmean",
        }
        chosen = [name for key, name in old.items() if content.get(key)]
        mode = chosen[0] if len(chosen) == 1 else None
    if mode is None or ALIASES.get(mode, mode) not in POOLINGS:
        raise ModelError(f"{place} pools by {mode or 'several modes at once'}; expected one of {', '.join(POOLINGS)}")
    return ALIASES.get(mode, mode)
