"""A teacher: another embedder whose similarities a model is trained towards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from searchapp.errors import AdaptError, ModelError

if TYPE_CHECKING:
    import torch


class Teacher(Protocol):
    """Scores every document against every query."""

    def __call__(self, queries: Sequence[str], documents: Sequence[str], instruction: str) -> torch.Tensor:
        """Cosines float32 (queries, documents)."""
        ...


def load_teacher(name: str) -> Teacher:
    """Load a teacher: anything ``Encoder.load`` takes, else a sentence-transformers folder (BERT and its like).

    Raises AdaptError when it is neither.
    """
    import torch

    from searchapp.encoder import Encoder

    try:
        encoder = Encoder.load(name)
    except ModelError as error:
        return _sentence_transformer(name, error)

    def scores(queries: Sequence[str], documents: Sequence[str], instruction: str) -> torch.Tensor:
        asked = encoder.encode_queries(list(queries), instruction or None)
        return torch.from_numpy(asked @ encoder.encode_documents(list(documents)).T)

    return scores


def _sentence_transformer(name: str, reason: ModelError) -> Teacher:
    import torch

    if not (Path(name) / "modules.json").exists():
        raise AdaptError(f"teacher {name}: {reason}") from reason
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise AdaptError(
            f"teacher {name} is a sentence-transformers encoder; pip install sentence-transformers to use it"
        ) from error
    model = SentenceTransformer(name, local_files_only=True)

    def scores(queries: Sequence[str], documents: Sequence[str], instruction: str) -> torch.Tensor:
        asked = model.encode_query(list(queries), normalize_embeddings=True, show_progress_bar=False)
        found = model.encode_document(list(documents), normalize_embeddings=True, show_progress_bar=False)
        return torch.from_numpy(np.asarray(asked, np.float32) @ np.asarray(found, np.float32).T)

    return scores
