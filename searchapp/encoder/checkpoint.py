"""What lies in a checkpoint directory: base weights, ordered adapters, tokenizer, the base's published name.

Local paths and hub ids end in the same place, a local directory: a hub repository is fetched without its code and
without pickles. Published LLM2Vec checkpoints come in pieces, which are followed here: ``…-mntp`` holds a
configuration and an adapter but no base weights, ``…-supervised`` an adapter alone.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from searchapp.encoder.gguf import find_gguf, is_gguf
from searchapp.encoder.json_files import read_json, refuse_pointer
from searchapp.encoder.st_folder import body
from searchapp.errors import ModelError, reason_of

SHIPPED = Path(__file__).resolve().parent.parent / "models"  # folders that `--model` takes by their names
BUNDLED = SHIPPED / "bundled"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
FETCHED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class Checkpoint:
    """Where each part of a model is read from.

    ``weights`` holds config.json and safetensors, or is a GGUF file; ``adapters`` are merged in order; ``tokenizer``
    holds the tokenizer, or is that file. ``settings`` is the directory the user named, or that of the file;
    ``base_name`` is the name the base model was published under, "" when nothing records it. ``extra_adapters`` are the
    adapters, and ``base`` what they are put on, as the user named them.
    """

    name: str
    weights: Path
    adapters: tuple[Path, ...]
    tokenizer: Path
    settings: Path
    base_name: str
    extra_adapters: tuple[str, ...] = ()
    base: str | None = None


def shipped_names() -> tuple[str, ...]:
    """The names of the models that come with searchapp; ``bundled`` is whole, the others are adapters."""
    return tuple(sorted(path.name for path in SHIPPED.iterdir() if path.is_dir() and not path.name.startswith("_")))


def is_shipped(name: str) -> bool:
    """Whether a name means a model that comes with searchapp, whatever lies in the working directory."""
    return name in shipped_names()


def absolute_name(name: str) -> str:
    """A local directory as an absolute path; a hub id and a shipped name as they are."""
    place = Path(name).expanduser()
    return str(place.resolve()) if not is_shipped(name) and place.exists() else name


def resolve(name: str, near: Path | None = None) -> tuple[Path, str]:
    """Find the local directory of a path, a shipped name or a hub id; return it with its hub id ("" if local).

    A GGUF file stands for itself.

    ``near`` is the directory whose configuration gave the name: names that do not exist from the working directory
    are looked for beside it and beside its parent, so that a set of checkpoints can be moved as one tree; of an
    absolute path that is gone, the last name beside it.
    """
    if is_shipped(name):
        return SHIPPED / name, ""
    places = [Path(name).expanduser()]
    if near is not None:
        beside, given = near.absolute().parent, Path(name)
        places += [beside / given.name] if given.is_absolute() else [beside / given, beside.parent / given]
    for place in places:
        try:
            directory, file = place.is_dir(), place.is_file()
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            raise ModelError(
                f"model {name[:80]!r} cannot be looked up ({reason_of(error)}); expected a directory"
            ) from error
        if directory or is_gguf(place):
            return place, ""
        if file:
            raise ModelError(f"model {name} is a file; expected a directory with config.json, a GGUF file, or a hub id")
    if name.count("/") > 1 or name.startswith((".", "~", "/")) or not name.strip():
        raise ModelError(f"model {name!r} does not exist; expected a directory with config.json, or a hub id")
    return _fetch(name), name


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=FETCHED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"model {name!r} is no local directory and could not be fetched from the hub ({reason_of(error)}); "
            "give a directory with config.json and *.safetensors, or a hub id that can be reached"
        ) from error


def locate(name: str, adapters: list[str] | None = None, base: str | None = None) -> Checkpoint:
    """Follow a model name and the adapters to put on it to the directories that hold their parts.

    ``base`` takes the place of the model that the lowest adapter names as its own. Raises ModelError, also for a base
    that is given for a model which is no adapter.
    """
    directory, hub_id = resolve(name)
    inner = body(directory)
    weights, chain, base_name = _follow(inner, hub_id, base)
    if base is not None and not chain:
        raise ModelError(f"--base {base} is what an adapter is put on, and {name} has weights of its own; leave it out")
    extra = [resolve(adapter)[0] for adapter in adapters or []]
    for adapter in extra:
        if not (adapter / "adapter_config.json").exists():
            raise ModelError(f"adapter {adapter} has no adapter_config.json; give a directory that PEFT has saved")
    own = [] if is_gguf(weights) and inner not in chain else [inner]  # a file's own tokenizer goes with its weights
    tokenizer = next((place for place in [*own, *reversed(chain), weights] if _has_tokenizer(place)), None)
    if tokenizer is None:
        raise ModelError(f"{directory} has no tokenizer.json; save the model's fast tokenizer into it")
    for place in {directory, weights, tokenizer, *chain, *extra}:
        _require_whole(place)
    settings = directory.parent if is_gguf(directory) else directory
    return Checkpoint(name, weights, (*chain, *extra), tokenizer, settings, base_name, tuple(adapters or ()), base)


def _follow(directory: Path, hub_id: str, instead: str | None = None, depth: int = 0) -> tuple[Path, list[Path], str]:
    """Return (directory of base weights, adapters from the base up, published name of the base)."""
    if depth > 8:
        raise ModelError(f"{directory}: adapters refer to each other in a circle; set base_model_name_or_path")
    for name in ("config.json", "adapter_config.json"):
        refuse_pointer(directory / name)
    config = read_json(directory / "config.json") if (directory / "config.json").exists() else {}
    name = str(config.get("_name_or_path") or hub_id)
    if any(directory.glob("*.safetensors")) and config and not _is_adapter_only(directory):
        return directory, [], name
    if (directory / "adapter_config.json").exists():
        base = read_json(directory / "adapter_config.json").get("base_model_name_or_path")
        if not base:
            raise ModelError(f"{directory}/adapter_config.json names no base_model_name_or_path; add it")
        place, base_id = _base(directory, str(base), instead)
        weights, chain, base_name = _follow(place, base_id, instead, depth + 1)
        return weights, [*chain, directory], str(config.get("_name_or_path") or base_name or base)
    if (file := find_gguf(directory)) is not None:
        return file, [], name
    refuse(directory, config)


def _base(adapter: Path, named: str, instead: str | None) -> tuple[Path, str]:
    """What an adapter is put on, as ``resolve`` gives it: ``instead``, unless the adapter names another adapter."""
    if instead is not None:
        with contextlib.suppress(ModelError):
            place, hub_id = resolve(named, near=adapter)
            if (place / "adapter_config.json").exists():
                return place, hub_id
        return resolve(instead)
    try:
        return resolve(named, near=adapter)
    except ModelError as error:
        if adapter.parent == SHIPPED:
            raise ModelError(
                f"{adapter.name} is an adapter of {named}, which is not here: fetch it with `hf download {named}`, or "
                "give its folder or its GGUF file with --base"
            ) from error
        raise ModelError(
            f"adapter {adapter} needs its base, which its adapter_config.json names as base_model_name_or_path "
            f"{named!r}: {error}; or give one with --base"
        ) from error


def _is_adapter_only(directory: Path) -> bool:
    weights = [path.name for path in directory.glob("*.safetensors")]
    return (directory / "adapter_config.json").exists() and weights == ["adapter_model.safetensors"]


def refuse(directory: Path, config: dict[str, Any]) -> NoReturn:
    """Raise the ModelError that says why a directory without usable weights is no model."""
    pickles = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
    if pickles:
        raise ModelError(
            f"{directory} has its weights as pickles only ({pickles[0]}), and a pickle can run code; "
            "convert it to safetensors"
        )
    if news := _unfinished(directory):
        raise ModelError(news)
    if config:
        raise ModelError(f"{directory} has config.json but no *.safetensors weights; copy the model's weights into it")
    raise ModelError(
        f"{directory} is not a model: no config.json and no adapter_config.json in it; expected a transformers "
        "checkpoint directory, a PEFT adapter, or `bundled`"
    )


def _unfinished(directory: Path) -> str:
    """What to do with the directory of a training that has not come to its end, "" for any other."""
    record = read_json(directory / "run.json") if (directory / "run.json").is_file() else {}
    if record.get("state") != "running":
        return ""
    saved = {
        int(path.parent.name.rpartition("-")[2]): path.parent for path in directory.glob("*/checkpoint-*/complete")
    }
    steps = (record.get("settings") or {}).get("steps")
    found = f"{directory} is a run of `searchapp adapt {record.get('stage')}` that is not finished"
    resume = f"give its command again, with --to {directory}, to go on"
    if not saved:
        return f"{found} and has no checkpoint yet; {resume}"
    last = max(saved)
    return f"{found} (step {last} of {steps}); {resume}, or take what it has as --model {saved[last]}"


def _require_whole(directory: Path) -> None:
    """Raise ModelError for pointers among a checkpoint's files, and for shards that its index names in vain."""
    for pattern in ("*.json", "*.safetensors", "*.model"):
        for path in sorted(directory.glob(pattern)):
            refuse_pointer(path)
    index = directory / "model.safetensors.index.json"
    if not index.exists() or (directory / "model.safetensors").exists():
        return
    shards = read_json(index).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    if absent := [name for name in names if not (directory / name).exists()]:
        raise ModelError(
            f"{directory} lacks {len(absent)} of the {len(names)} files of weights that {index.name} names (first: "
            f"{absent[0]}); fetch the model again"
        )


def _has_tokenizer(directory: Path) -> bool:
    return is_gguf(directory) or (directory / "tokenizer.json").exists() or (directory / "tokenizer.model").exists()


def weight_files(weights: Path) -> list[Path]:
    """The files that a checkpoint's weights are read from."""
    return [weights] if is_gguf(weights) else sorted(weights.glob("*.safetensors"))


def raw_config(weights: Path) -> dict[str, Any]:
    """What config.json says, or what it would say of a GGUF file."""
    if is_gguf(weights):
        from searchapp.encoder.gguf.model import raw_config as of_file

        return of_file(weights)
    return read_json(weights / "config.json")
