"""Opens a checkpoint for the light path, or says why it is one for the full path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from searchapp.encoder.checkpoint import SHIPPED, Checkpoint, is_shipped, locate, raw_config, weight_files
from searchapp.encoder.devices import DTYPES
from searchapp.encoder.gguf import is_gguf
from searchapp.encoder.light.llama import Llama
from searchapp.encoder.light.refusal import NotLightError
from searchapp.encoder.light.shape import read_shape
from searchapp.encoder.light.tensors import read_tensors
from searchapp.encoder.light.tokenizer import LightTokenizer, read_tokenizer
from searchapp.encoder.options import LoadOptions, named
from searchapp.encoder.settings import read_settings
from searchapp.errors import ModelError

ADAPTERS = "it has adapters to merge"


@dataclass(frozen=True)
class LightParts:
    """Model and tokenizer of a checkpoint, for ``Encoder``."""

    model: Llama
    tokenizer: LightTokenizer


def light_parts(checkpoint: Checkpoint, options: LoadOptions) -> LightParts:
    """The parts of a checkpoint, read without torch and transformers.

    Raises NotLightError for a checkpoint or an option that is not known to be handled here, ModelError for files that
    the full path would refuse too.
    """
    _require_plain(checkpoint, options)
    shape = read_shape(raw_config(checkpoint.weights))
    tokenizer = read_tokenizer(checkpoint.tokenizer)
    files = weight_files(checkpoint.weights)
    if len(files) != 1:
        raise NotLightError(f"its weights are in {len(files)} files")
    return LightParts(Llama(shape, read_tensors(files[0])), tokenizer)


def light_refusal(model: str, options: LoadOptions) -> str | None:
    """Why ``backend="auto"`` takes torch for a model, as a phrase; "" where it takes NumPy.

    None where it is not known: the model is gone, or would have to be fetched.
    """
    try:
        place = SHIPPED / model if is_shipped(model) else Path(model).expanduser()
        if not place.exists():
            return None
        if options.get("adapters") or (place / "adapter_config.json").exists():
            raise NotLightError(ADAPTERS)  # before it is looked for what they adapt
        light_parts(locate(model), options)
    except NotLightError as error:
        return str(error)
    except (ModelError, OSError):
        return None
    return ""


def _require_plain(checkpoint: Checkpoint, options: LoadOptions) -> None:
    """Raise NotLightError for what needs another way to load a model or to run it."""
    if checkpoint.adapters:
        raise NotLightError(ADAPTERS)
    if is_gguf(checkpoint.weights) or is_gguf(checkpoint.tokenizer):
        raise NotLightError("it is a GGUF file")
    asked = {name: named(options, name, "auto") for name in ("attention", "device")}
    if asked["attention"] != "auto":
        raise NotLightError(f"attention {asked['attention']} was asked for")
    devices = options.get("devices") or asked["device"].split(",")
    if len(devices) != 1 or devices[0] not in ("auto", "cpu", "cpu:0"):
        raise NotLightError(f"device {','.join(devices)} was asked for")
    dtype = named(options, "dtype", "auto")
    if dtype not in DTYPES or (named(options, "backend", "auto") == "numpy" and dtype not in ("auto", "float32")):
        raise NotLightError(f"dtype {dtype} was asked for")
    if options.get("probe"):
        raise NotLightError("a probe was asked for")
    settings = read_settings(checkpoint.settings, list(checkpoint.adapters))
    bidirectional = options.get("bidirectional")
    if settings.native:
        raise NotLightError("it is run as sentence-transformers runs it")
    if not (settings.bidirectional if bidirectional is None else bidirectional):
        raise NotLightError("it is causal")
