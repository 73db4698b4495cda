"""Which models can be used here: the shipped one, those in the hub's cache, those in a folder. Reads headers only."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from searchapp.corpus.front_matter import front_matter
from searchapp.encoder.checkpoint import BUNDLED, PICKLES, SHIPPED, shipped_names
from searchapp.encoder.gguf_header import read_gguf_header
from searchapp.encoder.json_files import read_json
from searchapp.encoder.scripts import vocabulary_scripts
from searchapp.encoder.st_folder import body, modules
from searchapp.errors import ModelError, reason_of

DEEPEST = 4  # folders below a folder that is looked through
UNUSED = re.compile(r"(^|\.)(lm_head|embed_out|score|classifier)\.")  # tensors that an encoder does not load
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
CARD = 1 << 16  # bytes of a model card that are read


@dataclass(frozen=True)
class FoundModel:
    """A model as its files describe it; None, and no languages, where they do not say.

    ``name`` is what ``--model`` takes, ``place`` is shipped, hub or folder, ``kind`` is checkpoint, adapter or gguf.
    ``parameters`` are those that an encoder loads, ``dimension`` the length of a vector, ``bytes`` the weights on disk.
    ``base`` is what an adapter is put on, and is counted with it. ``problem`` says why a model cannot be used, "" where
    nothing is known against it. ``scripts`` are those that the vocabulary has words of, where no card says the
    languages.
    """

    name: str
    path: Path
    place: str
    kind: str
    family: str | None = None
    parameters: int | None = None
    dimension: int | None = None
    bytes: int = 0
    licence: str | None = None
    languages: tuple[str, ...] = ()
    base: str | None = None
    problem: str = ""
    scripts: tuple[str, ...] = ()

    @property
    def serves(self) -> str:
        """Which languages it was made for, and who says so; "" where nothing does."""
        if self.languages:
            return f"{', '.join(self.languages)} (by its model card)"
        if not self.scripts:
            return ""
        plural = "s" if len(self.scripts) > 1 else ""
        return f"{', '.join(self.scripts)} script{plural} (by its vocabulary)"

    @property
    def memory(self) -> int | None:
        """Bytes that its weights take in float32; half of that in bfloat16."""
        return None if self.parameters is None else 4 * self.parameters


def find_models(folders: Iterable[str | Path] = ()) -> list[FoundModel]:
    """The shipped models, then those in the hub's cache, then those in ``folders``, each by name.

    Raises ModelError for a folder that is not there.
    """
    found = [_folder(BUNDLED, "bundled", "shipped")]
    found += [_folder(SHIPPED / name, name, "shipped") for name in shipped_names() if name != "bundled"]
    found += sorted(_cached(hub_cache()), key=lambda model: model.name.lower())
    for folder in folders:
        place = Path(folder).expanduser()
        if not place.exists():
            raise ModelError(f"{folder} does not exist; give a folder of models, a model's own folder, or a GGUF file")
        found += _below(place, 0)
    return found


def find_model(name: str) -> FoundModel | None:
    """The model of a name that ``--model`` takes, where it is on this machine; nothing is downloaded."""
    if name in shipped_names():
        return _folder(BUNDLED if name == "bundled" else SHIPPED / name, name, "shipped")
    place = Path(name).expanduser()
    if place.is_file():
        return _gguf(place, "folder") if place.suffix == ".gguf" else None
    if place.is_dir():
        return _folder(place, name, "folder") if _is_model(place) else None
    return next(_snapshots(hub_cache() / f"models--{name.replace('/', '--')}"), None)


def hub_cache() -> Path:
    """Where the hub's files are kept on this machine, by the environment as huggingface_hub reads it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if place := os.environ.get(name):
            return Path(place).expanduser()
    home = os.environ.get("HF_HOME")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return (Path(home).expanduser() if home else base) / "hub"


def _cached(cache: Path) -> Iterator[FoundModel]:
    for repository in _listed(cache):
        if repository.name.startswith("models--"):
            yield from _snapshots(repository)


def _snapshots(repository: Path, depth: int = 0) -> Iterator[FoundModel]:
    """The model of a repository in the hub's cache, at its main revision or else the newest, and its GGUF files."""
    snapshots = repository / "snapshots"
    try:
        place = snapshots / (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        place = max(_listed(snapshots), key=lambda path: path.stat().st_mtime, default=snapshots)
    name = repository.name.removeprefix("models--").replace("--", "/")
    if _is_model(place):
        yield _folder(place, name, "hub", depth)
    yield from (_gguf(file, "hub") for file in _listed(place) if file.suffix == ".gguf")


def _below(place: Path, depth: int) -> Iterator[FoundModel]:
    if place.is_file():
        if place.suffix == ".gguf":
            yield _gguf(place, "folder")
        return
    if _is_model(place):
        yield _folder(place, str(place), "folder")
    for path in _listed(place):
        if path.suffix == ".gguf" and path.is_file():
            yield _gguf(path, "folder")
        elif path.is_dir() and depth < DEEPEST and not _is_model(place) and not path.name.startswith("."):
            yield from _below(path, depth + 1)


def _is_model(place: Path) -> bool:
    names = ("config.json", "adapter_config.json")
    return any((place / name).is_file() for name in names) or (place / "modules.json").is_file()


def _listed(place: Path) -> list[Path]:
    try:
        return sorted(place.iterdir())
    except OSError:
        return []


def _folder(place: Path, name: str, where: str, depth: int = 0) -> FoundModel:
    """A checkpoint folder. What is wrong with one becomes its ``problem``."""
    inner = body(place)
    licence, languages = _card(place)
    found = FoundModel(name, place, where, "checkpoint", licence=licence, languages=languages)
    try:
        weights = sorted(inner.glob("*.safetensors"))
        if (inner / "adapter_config.json").is_file() and [path.name for path in weights] == [
            "adapter_model.safetensors"
        ]:
            return _adapter(found, inner, depth)
        config = read_json(inner / "config.json")
        family = config.get("model_type")
        family = family if isinstance(family, str) else None
        found = replace(found, family=family, dimension=_dimension(place, config))
        if not weights:
            pickles = sorted(path.name for pattern in PICKLES for path in inner.glob(pattern))
            gguf = any(inner.glob("*.gguf"))
            why = f"weights as pickles only ({pickles[0]})" if pickles else "no *.safetensors"
            return replace(found, problem="weights as GGUF: name the file" if gguf and not pickles else why)
        size = sum(path.stat().st_size for path in weights)
        found = replace(found, parameters=sum(map(_parameters, weights)), bytes=size)
        if not any(
            (part / name).is_file() for part in (inner, place) for name in ("tokenizer.json", "tokenizer.model")
        ):
            return replace(found, problem="no tokenizer.json")
        return found if languages else replace(found, scripts=_scripts(inner, place))
    except (ModelError, OSError) as error:
        return replace(found, problem=reason_of(error))


def _adapter(found: FoundModel, place: Path, depth: int) -> FoundModel:
    """An adapter is as large as what it is put on, if that is here."""
    base = str(read_json(place / "adapter_config.json").get("base_model_name_or_path"))
    repository = hub_cache() / f"models--{base.replace('/', '--')}"
    beside = place.absolute().parent
    places = [Path(base).expanduser(), beside / base, beside.parent / base, beside / Path(base).name]
    here = next((path for path in places if path.is_dir() and _is_model(path) and path != place), None)
    if depth > DEEPEST:
        return replace(found, kind="adapter", base=base, problem="adapters refer to each other in a circle")
    if here is not None:
        below: FoundModel | None = _folder(here, base, "folder", depth + 1)
    else:
        below = next(_snapshots(repository, depth + 1), None)
    if below is None:
        return replace(found, kind="adapter", base=base, problem=f"its base {base} is not here")
    return replace(
        found,
        kind="adapter",
        base=base,
        family=below.family,
        parameters=below.parameters,
        dimension=below.dimension,
        bytes=below.bytes + sum(path.stat().st_size for path in place.glob("*.safetensors")),
        problem=below.problem and f"its base {base}: {below.problem}",
        languages=found.languages or below.languages,
        scripts=() if found.languages else below.scripts,
    )


def _scripts(*places: Path) -> tuple[str, ...]:
    """The scripts that a vocabulary in the first of these folders that has one serves."""
    file = next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)
    return () if file is None else vocabulary_scripts(file)


def _dimension(place: Path, config: dict[str, Any]) -> int | None:
    """The length of a vector: the width of the model, what Dense layers make of it, and what is kept of that."""
    inner = config.get("text_config")
    sources = [config, *([inner] if isinstance(inner, dict) else [])]
    widths = (source.get(name) for source in sources for name in WIDTHS)
    width = next((value for value in widths if isinstance(value, int)), None)
    if (place / "modules.json").is_file():
        for kind, part in modules(place / "modules.json"):
            if kind == "Dense" and isinstance(size := read_json(part / "config.json").get("out_features"), int):
                width = size
    for name in ("encoder.json", "config_sentence_transformers.json"):
        if (place / name).is_file():
            kept = read_json(place / name).get("truncate_dim")
            return min(width, kept) if isinstance(kept, int) and width is not None else width
    return width


def _parameters(weights: Path) -> int:
    """The numbers in the tensors of a safetensors file that an encoder loads, from its header."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(weights.stat().st_size, 1 << 27):
            raise ModelError(f"{weights.name} is no safetensors file, or a damaged one")
        try:
            header = json.loads(file.read(length))
            return sum(
                math.prod(tensor["shape"])
                for name, tensor in header.items()
                if name != "__metadata__" and not UNUSED.search(name)
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{weights.name} is no safetensors file, or a damaged one") from error


def _gguf(path: Path, where: str) -> FoundModel:
    found = FoundModel(str(path), path, where, "gguf", bytes=path.stat().st_size)
    try:
        header = read_gguf_header(path)
    except ModelError as error:
        return replace(found, problem=reason_of(error))
    family = header.fields.get("general.architecture")
    licence, languages = _card(path.parent)
    return replace(
        found,
        family=family,
        parameters=header.parameters,
        dimension=header.fields.get(f"{family}.embedding_length"),
        licence=header.fields.get("general.license") or licence,
        languages=tuple(header.fields.get("general.languages") or languages),
    )


def _card(place: Path) -> tuple[str | None, tuple[str, ...]]:
    """Licence and languages from the front matter of a model card; what a card does not say stays unsaid."""
    try:
        with (place / "README.md").open("rb") as file:
            text = file.read(CARD).decode("utf-8", "replace")
    except OSError:
        return None, ()
    found = front_matter(text.splitlines(keepends=True))
    fields = (found.fields if found is not None else None) or {}
    licence, spoken = fields.get("license"), fields.get("language")
    named = fields.get("license_name") if licence == "other" else None
    languages = [spoken] if isinstance(spoken, str) else spoken if isinstance(spoken, list) else []
    said = named or licence
    return str(said) if isinstance(said, str) else None, tuple(map(str, languages))
