"""How an encoder turns text into one vector: pooling, lengths, template, prompts; and where a checkpoint says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from searchapp.encoder.template import Template
from searchapp.errors import ModelError

FILE = "encoder.json"
FORMAT = 1
POOLINGS = ("mean", "weighted_mean", "eos_token", "last_token", "bos_token")
SPANS = ("count", "offsets")
UNLIMITED = 1_000_000  # tokenizers without a limit name a length of 1e30
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
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelError(f"{name} is {value!r}; expected a whole number of tokens above 0")
        for name in ("pool_instruction", "pool_bos", "bidirectional"):
            if not isinstance(value := getattr(self, name), bool):
                raise ModelError(f"{name} is {value!r}; expected true or false")
        for name in ("query_instruction", "document_instruction"):
            value = getattr(self, name)
            if value is not None and not _is_text(value):
                raise ModelError(f"{name} is {value!a}; expected a text")

    def with_options(self, **options: Any) -> Settings:
        """Return a copy in which every option that is not None replaces what the checkpoint says."""
        given = {key: value for key, value in options.items() if value is not None}
        if isinstance(given.get("pooling"), str):
            given["pooling"] = ALIASES.get(given["pooling"], given["pooling"])
        return replace(self, **given)

    def save(self, directory: Path) -> None:
        """Write ``encoder.json``, which outranks every other settings file of a checkpoint."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False)
        (directory / FILE).write_text(text + "\n", encoding="utf-8")


def _is_text(value: Any) -> bool:
    """Whether a value is a string that a tokenizer takes; JSON can spell half of a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}); restore the checkpoint's file") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ModelError names the file when it is not one."""
    content = _parse(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content


def read_settings(directory: Path, adapters: list[Path]) -> Settings:
    """Read what a checkpoint says of itself; the last adapter that says anything speaks for all.

    Looks, in this order, for ``encoder.json`` (ours), ``llm2vec_config.json`` (the original's) and
    ``modules.json`` (sentence-transformers'); without any of them the defaults hold. Raises ModelError, with the
    file's path, for a value of the wrong type.
    """
    readers = {FILE: _own, "llm2vec_config.json": _llm2vec, "modules.json": _sentence_transformers}
    for place in [*reversed(adapters), directory]:
        for name, read in readers.items():
            if (place / name).exists():
                return read(place / name)
    return Settings()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file in front of what Settings finds wrong with its values."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _own(path: Path) -> Settings:
    content = read_json(path)
    if content.pop("format", FORMAT) != FORMAT:
        raise ModelError(f"{path} is of another format than {FORMAT}; use the searchapp version that wrote it")
    template = content.pop("template", None)
    _refuse_unknown(path, content, Settings)
    with _naming(path):
        return Settings(**content, template=None if template is None else _template(path, template))


def _template(path: Path, content: Any) -> Template:
    if not isinstance(content, dict):
        raise ModelError(f"template is {content!a}; expected an object with prefix, suffix, end and raw")
    _refuse_unknown(path, content, Template, "template ")
    for key, value in content.items():
        if key == "raw" and not isinstance(value, bool):
            raise ModelError(f"template raw is {value!a}; expected true or false")
        if key != "raw" and not _is_text(value):
            raise ModelError(f"template {key} is {value!a}; expected a text")
    return Template(**content)


def _refuse_unknown(path: Path, content: dict[str, Any], kind: type[Settings] | type[Template], what: str = "") -> None:
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(content) - known):
        names = ", ".join(map(ascii, unknown))
        raise ModelError(f"{path} has unknown {what}keys {names}; expected {', '.join(sorted(known))}")


def _llm2vec(path: Path) -> Settings:
    content = read_json(path)
    names = {"pooling_mode": "pooling", "max_length": "max_length", "doc_max_length": "document_max_length"}
    options = {ours: content[theirs] for theirs, ours in names.items() if theirs in content}
    if (skip := content.get("skip_instruction")) is not None:
        if not isinstance(skip, bool):
            raise ModelError(f"{path}: skip_instruction is {skip!a}; expected true or false")
        options["pool_instruction"] = not skip
    with _naming(path):
        return Settings().with_options(**options)


def _sentence_transformers(path: Path) -> Settings:
    """Pooling, prompts and lengths of a sentence-transformers folder: Transformer, Pooling and Normalize only."""
    directory = path.parent
    settings = Settings(pool_bos=True, span="offsets", template=Template(raw=True))
    for kind, place in _modules(path):
        if kind == "Pooling":
            content = read_json(place / "config.json")
            settings = settings.with_options(
                pooling=_pooling_mode(content, place), pool_instruction=bool(content.get("include_prompt", True))
            )
        elif kind not in ("Transformer", "Normalize"):
            raise ModelError(
                f"{directory} has a sentence-transformers module {kind!a}; "
                "only Transformer, Pooling and Normalize can be loaded: export the model without it"
            )
    if (length := _length(directory)) is not None:
        settings = settings.with_options(max_length=length, document_max_length=length)
    top = directory / "config_sentence_transformers.json"
    prompts = (read_json(top).get("prompts") or {}) if top.exists() else {}
    if not isinstance(prompts, dict):
        raise ModelError(f"{top}: prompts is a {type(prompts).__name__}; expected an object of texts by name")
    with _naming(top):
        return settings.with_options(
            query_instruction=prompts.get("query") or None,
            document_instruction=prompts.get("document") or prompts.get("passage") or None,
        )


def _modules(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield kind and folder of each module that modules.json lists."""
    modules = _parse(path)
    if not isinstance(modules, list):
        raise ModelError(f"{path} holds a {type(modules).__name__}; expected a JSON list of modules")
    for number, module in enumerate(modules):
        named = module if isinstance(module, dict) else {}
        kind, place = named.get("type"), named.get("path")
        if not _is_text(kind) or not _is_text(place):
            raise ModelError(f"{path}: module {number} has no type and path; expected an object with both as texts")
        yield str(kind).rsplit(".", 1)[-1], path.parent / str(place)


def _length(directory: Path) -> int | None:
    """The longest sequence in tokens that a sentence-transformers folder names; None when it names none."""
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        path = directory / name
        length = read_json(path).get(key) if path.exists() else None
        if length is None:
            continue
        if isinstance(length, int | float) and length >= UNLIMITED:
            return None
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise ModelError(f"{path}: {key} is {length!a}; expected a whole number of tokens above 0")
        return length
    return None


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
        mode = chosen[0] if len(chosen) == 1 else "several modes at once"
    known = ALIASES.get(mode, mode) if isinstance(mode, str) else None
    if known not in POOLINGS:
        raise ModelError(f"{place} pools by {mode!a}; expected one of {', '.join(POOLINGS)}")
    return str(known)
