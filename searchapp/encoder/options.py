"""What ``Encoder.load`` can be asked for: the one place of its keywords."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict


class LoadOptions(TypedDict, total=False):
    """Keywords of ``Encoder.load``; one that is None counts as not given.

    - ``adapters``: LoRA adapters (directories or hub ids) that are merged into the model, in order.
    - ``base``: what the model is put on, where it is an adapter: a directory, a GGUF file or a hub id, in place of the
      one that it names itself.
    - ``pooling``, ``max_length``, ``document_max_length`` (tokens), ``pool_instruction``, ``bidirectional``: in place
      of what the checkpoint's own settings say (``encoder.json``, ``llm2vec_config.json`` or a sentence-transformers
      folder), else mean, 512, 400, false and true; see ``searchapp.encoder.settings.Settings``.
    - ``query_instruction``: what goes before each query, in place of the model's own; "" is nothing.
    - ``recorded``: settings as an index keeps them. Its query instruction holds, and its template and document
      instruction where the checkpoint's own files say nothing of theirs.
    - ``attention``: auto, packed, sdpa or eager. ``dtype``: auto, float32, bfloat16 or float16.
    - ``device``: auto, cpu, cuda or cuda:N, or several with commas between. ``devices``: the same as a list. Several
      devices work at once, with a process for each beyond the first.
    - ``backend``: torch, openvino, numpy (small Llama models, float32, without importing torch; for a few texts at a
      time), or auto: numpy in place of torch where a model is known to give the same vectors there, whatever ``dtype``.
    - ``cache``: a directory in which vectors are kept between runs.
    - ``probe``: test the attention again, though what it does on this machine is known from before.
    - ``fingerprint``: it will be asked for, so that weights are hashed, once a file, while they are read.
    """

    adapters: Sequence[str] | None
    base: str | Path | None
    pooling: str | None
    max_length: int | None
    document_max_length: int | None
    pool_instruction: bool | None
    bidirectional: bool | None
    query_instruction: str | None
    recorded: Mapping[str, Any] | None
    attention: str | None
    dtype: str | None
    device: str | None
    devices: Sequence[str] | None
    backend: str | None
    cache: str | Path | None
    probe: bool | None
    fingerprint: bool | None


OF_SETTINGS = ("pooling", "max_length", "document_max_length", "pool_instruction", "bidirectional")


OF_INSTRUCTIONS = ("query_instruction", "recorded")


def settings_options(options: LoadOptions) -> dict[str, Any]:
    """Those options that take the place of a checkpoint's settings, and were given."""
    found: Mapping[str, Any] = options
    return {name: found[name] for name in OF_SETTINGS if found.get(name) is not None}


def instruction_options(options: LoadOptions) -> dict[str, Any]:
    """Those options that say what goes before texts, and were given."""
    found: Mapping[str, Any] = options
    return {name: found[name] for name in OF_INSTRUCTIONS if found.get(name) is not None}


def named(options: LoadOptions, option: str, default: str) -> str:
    """An option that is a name, or its default where it is None or not given."""
    found: Any = options.get(option)
    return default if found is None else str(found)


def refuse_unknown(options: Mapping[str, Any], known: Iterable[str], whose: str) -> None:
    """Raise TypeError for a keyword that is none of ``known``, with the nearest one that is."""
    names = list(known)
    for name in options:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"its keywords: {', '.join(names)}"
            raise TypeError(f"{whose} has no keyword {name!r}; {hint}")
