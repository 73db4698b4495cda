"""Vectors that come with their documents: what stands in the encoder's place where no model makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from searchapp.encoder import Settings
from searchapp.errors import IndexStoreError, ModelError
from searchapp.index.storage.manifest import Manifest

if TYPE_CHECKING:
    from searchapp.encoder import Encoder

GIVEN = "given"  # the name of the backend in such an index
MODEL = "vectors given with the documents"  # that of its model
REACH = 1 << 30  # tokens: no part of a text is beyond what a given vector stands for


class GivenVectors:
    """The encoder of an index of ``dim`` dimensions that has none: it counts nothing, cuts nothing and embeds nothing.

    It goes where an ``Encoder`` goes. Raises ModelError when it is to embed a text.
    """

    device, dtype, instruction_origin = "cpu", "float32", ""
    tokenizer_digest, document_reach = "", REACH
    settings = Settings(document_max_length=REACH, max_length=REACH)

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.backend = SimpleNamespace(name=GIVEN)
        self.reference: dict[str, Any] = {"model": MODEL, "adapters": []}
        digest = hashlib.sha256(f"{MODEL}: {dim}".encode()).hexdigest()
        self.fingerprint = {"sha256": digest, "weights": digest}

    @classmethod
    def encoder(cls, dim: int) -> Encoder:
        """One, as what it stands for."""
        return cast("Encoder", cls(dim))

    def document_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """No tokens, int64 (n,): there is no tokenizer."""
        return np.zeros(len(texts), dtype=np.int64)

    def encode_counted(self, texts: Sequence[str], *_: Any, **__: Any) -> Any:
        """Raise IndexStoreError: a document came without a vector."""
        raise IndexStoreError(
            f"{len(texts):,} documents came without a vector, and no model makes the vectors of this index; give "
            "`vectors=` with them"
        )

    def encode_queries(self, *_: Any, **__: Any) -> Any:
        """Raise ModelError: no model embeds a query."""
        raise ModelError(
            "the vectors of this index came with its documents, and no model embeds a query; give a vector"
        )


def has_given_vectors(manifest: Manifest) -> bool:
    """Whether no model makes the vectors of an index."""
    recorded: dict[str, Any] = getattr(manifest, "encoder", {})  # what a server says of its index has none
    return recorded.get("backend") == GIVEN
