"""How an encoder turns text into one vector: pooling, lengths, template, prompts; and where a checkpoint says so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from searchapp.encoder.json_files import is_text, read_json
from searchapp.encoder.template import Template
from searchapp.errors import ModelError

FILE, FOLDER = "encoder.json", "modules.json"
FILES = (FILE, "llm2vec_config.json", FOLDER)
FORMAT = 1
POOLINGS = (
    "mean", "weighted_mean", "eos_token", "last_token", "bos_token", "max", "mean_sqrt_len_tokens", "first_token",
    "last_of_span", "weighted_by_position",
)  # fmt: skip
SPANS = ("count", "offsets", "prompt")
LATER = ("native", "lower_case", "truncate_dim")  # fields that encoder.json has only where they say something
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
    ``span`` finds where the pooled text begins: by character ``offsets``, by LLM2Vec's ``count`` of
    tokens, or by as many tokens as the ``prompt`` has alone (sentence-transformers).
    ``pool_bos`` pools BOS too where no instruction stands before the text (sentence-transformers' way).
    ``native`` runs a model as sentence-transformers does: attention windows as config.json has them, and sequences cut
    to ``max_length``, instructions and templates too. ``lower_case`` lowers texts before they are tokenized.
    ``truncate_dim`` keeps the first dimensions of a vector, before its length is made 1.
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
    native: bool = False
    lower_case: bool = False
    truncate_dim: int | None = None

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ModelError(f"pooling {self.pooling!r} is unknown; expected one of {', '.join(POOLINGS)}")
        if self.span not in SPANS:
            raise ModelError(f"span {self.span!r} is unknown; expected one of {', '.join(SPANS)}")
        for name in ("max_length", "document_max_length", "truncate_dim"):
            value = getattr(self, name)
            if value is None and name == "truncate_dim":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelError(f"{name} is {value!r}; expected a whole number above 0")
        for name in ("pool_instruction", "pool_bos", "bidirectional", "native", "lower_case"):
            if not isinstance(value := getattr(self, name), bool):
                raise ModelError(f"{name} is {value!r}; expected true or false")
        for name in ("query_instruction", "document_instruction"):
            value = getattr(self, name)
            if value is not None and not is_text(value):
                raise ModelError(f"{name} is {value!a}; expected a text")

    def with_options(self, **options: Any) -> Settings:
        """Return a copy in which every option that is not None replaces what the checkpoint says."""
        given = {key: value for key, value in options.items() if value is not None}
        if isinstance(given.get("pooling"), str):
            given["pooling"] = ALIASES.get(given["pooling"], given["pooling"])
        return replace(self, **given)

    def save(self, directory: Path) -> None:
        """Write ``encoder.json``, which outranks every other settings file of a checkpoint."""
        content = {key: value for key, value in asdict(self).items() if key not in LATER or value}
        text = json.dumps({"format": FORMAT, **content}, indent=2, ensure_ascii=False)
        (directory / FILE).write_text(text + "\n", encoding="utf-8")


def read_settings(directory: Path, adapters: list[Path]) -> Settings:
    """Read what a checkpoint says of itself; the last adapter that says anything speaks for all.

    Looks, in this order, for ``encoder.json`` (ours), ``llm2vec_config.json`` (the original's) and
    ``modules.json`` (sentence-transformers'); without any of them the defaults hold. Raises ModelError, with the
    file's path, for a value of the wrong type.
    """
    readers = {FILE: _own, "llm2vec_config.json": _llm2vec, FOLDER: _sentence_transformers}
    path = settings_file(directory, adapters)
    return Settings() if path is None else readers[path.name](path)


def settings_file(directory: Path, adapters: Sequence[Path]) -> Path | None:
    """The file that speaks for a checkpoint; None where none does."""
    places = [place / name for place in [*reversed(adapters), directory] for name in FILES]
    return next((path for path in places if path.exists()), None)


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
        if key != "raw" and not is_text(value):
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
    """A sentence-transformers folder, as that library runs it."""
    from searchapp.encoder.st_folder import read_folder

    content = read_folder(path)
    with _naming(path.parent):
        return Settings(**content, template=Template(raw=True))
