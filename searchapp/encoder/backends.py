"""Picks what runs a model, by the name that ``--backend`` has for it, and loads what it runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from searchapp.encoder.backend import Backend, TorchBackend
from searchapp.encoder.checkpoint import Checkpoint
from searchapp.encoder.devices import choose_devices, why
from searchapp.encoder.fingerprint import hash_beside
from searchapp.encoder.instructions import Instructed, instructed, recorded_template
from searchapp.encoder.light import LightParts, NotLightError, NumpyBackend, light_parts
from searchapp.encoder.loading import load_model, load_tokenizer, read_config, resolve_settings
from searchapp.encoder.memory import refuse_hopeless
from searchapp.encoder.options import LoadOptions, instruction_options, named, settings_options
from searchapp.encoder.settings import Settings
from searchapp.errors import ModelError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What an ``Encoder`` is made of beside its checkpoint. ``chosen`` says why it is run so, as a phrase or ""."""

    model: Any
    tokenizer: Any
    instructed: Instructed
    backend: Backend
    devices: tuple[str, ...]
    chosen: str


def choose_parts(checkpoint: Checkpoint, options: LoadOptions) -> Parts:
    """Load what runs a checkpoint. Raises ModelError for what cannot be loaded, or not in the way that is asked for."""
    backend = named(options, "backend", "torch")
    if backend in ("auto", "numpy"):
        try:
            return _light(checkpoint, options, light_parts(checkpoint, options))
        except NotLightError as error:
            if backend == "numpy":
                raise ModelError(f"backend numpy cannot run {checkpoint.name}: {error}; use --backend torch") from error
            log.debug("%s is loaded by torch, not by numpy: %s", checkpoint.name, error)
    return _full(checkpoint, options, "torch" if backend == "auto" else backend)


def make_backend(backend: str, model: Any, tokenizer: Any, settings: Settings, dtype: str) -> Backend:
    """The backend of that name, torch or openvino, over a loaded model."""
    if backend == "torch":
        return TorchBackend(model, tokenizer, settings.pooling)
    from searchapp.encoder.openvino import OpenVinoBackend

    return OpenVinoBackend(model, tokenizer, settings, dtype)


def _light(checkpoint: Checkpoint, options: LoadOptions, parts: LightParts) -> Parts:
    found = _settled(checkpoint, options, parts.model.config, parts.tokenizer)
    _hash(checkpoint, options)
    backend = NumpyBackend(parts.model, found.settings.pooling)
    return Parts(parts.model, parts.tokenizer, found, backend, ("cpu",), "")


def _full(checkpoint: Checkpoint, options: LoadOptions, backend: str) -> Parts:
    dtype, device = named(options, "dtype", "auto"), named(options, "device", "auto")
    refuse_hopeless(checkpoint.weights, checkpoint.name, dtype, device)
    config, tokenizer = read_config(checkpoint.weights), load_tokenizer(checkpoint.tokenizer)
    found = _settled(checkpoint, options, config, tokenizer)
    devices = choose_devices(options.get("devices") or device.split(","), backend)
    _hash(checkpoint, options)
    loaded = load_model(
        checkpoint,
        bidirectional=found.settings.bidirectional,
        windows=found.settings.native,
        attention=named(options, "attention", "auto"),
        dtype=dtype if backend == "torch" else "float32",  # another backend converts the weights itself
        device=devices[0],
        probe=bool(options.get("probe")),
    )
    runs = make_backend(backend, loaded, tokenizer, found.settings, dtype)
    return Parts(loaded, tokenizer, found, runs, devices, why(dtype, devices[0], str(loaded.dtype)))


def _hash(checkpoint: Checkpoint, options: LoadOptions) -> None:
    """Begin to hash weights whose hash will be asked for."""
    if options.get("fingerprint") or options.get("cache") is not None:
        hash_beside(checkpoint)


def _settled(checkpoint: Checkpoint, options: LoadOptions, config: Any, tokenizer: Any) -> Instructed:
    """The settings that hold, with what goes before queries and documents."""
    given, asked = settings_options(options), instruction_options(options)
    recorded = asked.get("recorded")
    settings = resolve_settings(checkpoint, config, tokenizer, recorded=recorded_template(recorded), **given)
    return instructed(settings, checkpoint, asked=asked.get("query_instruction"), recorded=recorded)
