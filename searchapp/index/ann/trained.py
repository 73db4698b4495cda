"""What training comes to: a projection and an index that is empty, for all indexes whose vectors are of one kind."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.faiss_lib import import_faiss, last_line
from searchapp.index.ann.files import read_whole
from searchapp.index.ann.pca import Pca


@dataclass(frozen=True, eq=False)
class Trained:
    """A type by its factory string, its reduction, and a trained index without vectors as FAISS writes it.

    ``index`` is empty bytes for exact search, which needs no training.
    """

    factory: str
    pca: Pca | None = None
    index: bytes = b""

    @classmethod
    def of(cls, factory: str, pca: Pca | None, path: Path) -> Trained:
        """What a FAISS file with vectors was trained to. Raises IndexStoreError for a type that cannot be emptied."""
        if factory == "Flat":
            return cls(factory, pca)
        faiss = import_faiss()
        index = read_whole(path)
        try:
            index.reset()
        except RuntimeError as error:
            raise IndexStoreError(
                f"FAISS type {factory} (--factory) cannot be shared by shards ({last_line(error)}); give another"
            ) from error
        return cls(factory, pca, faiss.serialize_index(index).tobytes())

    @property
    def id(self) -> str:
        """32 hexadecimal digits: scores by codes of two indexes compare where it is the same."""
        digest = hashlib.blake2b(self.factory.encode() + b"\0" + self.index, digest_size=16)
        if self.pca is not None:
            digest.update(np.ascontiguousarray(self.pca.components).tobytes())
        return digest.hexdigest()

    def empty(self) -> Any:
        """A trained index without vectors, of its own. Raises IndexStoreError where the bytes are none."""
        faiss = import_faiss()
        try:
            return faiss.deserialize_index(np.frombuffer(self.index, dtype=np.uint8))
        except RuntimeError as error:
            raise IndexStoreError(f"the trained index cannot be read ({last_line(error)}); build it again") from error
