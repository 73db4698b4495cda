"""The encoder that an index records: loads it again, and refuses any other with the parts that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from searchapp.corpus.document import JOINER
from searchapp.encoder import Encoder
from searchapp.encoder.fingerprint import differing, renewal
from searchapp.errors import ModelError
from searchapp.index.given import GivenVectors, has_given_vectors
from searchapp.index.storage.manifest import Manifest

ANOTHER_MODEL = "to give it another model: `searchapp reembed {root} --model …`"


def described(encoder: Encoder) -> dict[str, Any]:
    """What an index records of the encoder that its vectors are made by."""
    return {
        "reference": encoder.reference,
        "fingerprint": encoder.fingerprint,
        "settings": asdict(encoder.settings),
        "instruction_origin": encoder.instruction_origin,
        "dtype": encoder.dtype,
        "backend": encoder.backend.name,
        "joiner": JOINER,
    }


def makes_the_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two such records are of encoders that make the same vectors, in the same precision."""
    alike = all(one.get(name, "torch") == other.get(name, "torch") for name in ("dtype", "backend", "joiner"))
    return alike and not differing(one["fingerprint"], other["fingerprint"])


def recorded_encoder(manifest: Manifest, root: Path, device: str = "auto", *, backend: str = "torch") -> Encoder:
    """Load the encoder recorded in an index. Raises ModelError when it is gone or no longer the same.

    An index whose vectors came with its documents has one that embeds nothing.

    Its query instruction is the one the index was made with, nothing included. Any ``backend`` may ask an index;
    documents are encoded by ``recorded_backend``, so that all of them are alike.
    """
    if has_given_vectors(manifest):
        return GivenVectors.encoder(manifest.dim)
    reference = dict(manifest.encoder["reference"])
    reference.pop("query_instruction", None)  # the settings have it too
    model, dtype = reference.pop("model"), manifest.encoder["dtype"]
    recorded = manifest.encoder["settings"]
    try:
        encoder = Encoder.load(
            model, device=device, dtype=dtype, backend=backend, fingerprint=True, recorded=recorded, **reference
        )
    except ModelError as error:
        raise ModelError(f"the model of {root} cannot be loaded: {error}; {ANOTHER_MODEL.format(root=root)}") from error
    require_match(manifest, root, encoder)
    return encoder


def recorded_backend(manifest: Manifest) -> str:
    """What ran the model when the documents of an index were encoded."""
    return str(manifest.encoder.get("backend", "torch"))


def document_encoder(
    manifest: Manifest,
    root: Path,
    device: str = "auto",
    *,
    model: str | None = None,
    adapters: Sequence[str] | None = None,
) -> Encoder:
    """Load what encodes further documents of an index as it did those before.

    ``model`` and ``adapters`` are where they lie now, where that is elsewhere. Raises ModelError.
    """
    backend = recorded_backend(manifest)
    if model is None and adapters is None:
        return recorded_encoder(manifest, root, device, backend=backend)
    recorded = dict(manifest.encoder["reference"])
    recorded |= {"model": model or recorded["model"], "adapters": adapters or recorded["adapters"]}
    dtype = manifest.encoder["dtype"]
    return Encoder.load(
        recorded.pop("model"), device=device, dtype=dtype, backend=backend, fingerprint=True, **recorded
    )


def require_match(manifest: Manifest, root: Path, encoder: Encoder) -> None:
    """Raise ModelError unless an encoder makes the vectors that an index holds."""
    parts = differing(manifest.encoder["fingerprint"], encoder.fingerprint)
    if parts:
        raise ModelError(
            f"{root} was made by another encoder than {encoder.reference['model']}: "
            f"{', '.join(parts)} {'differs' if len(parts) == 1 else 'differ'}; "
            f"use the model it was built with; {ANOTHER_MODEL.format(root=root)}{renewal(encoder.settings)}"
        )
