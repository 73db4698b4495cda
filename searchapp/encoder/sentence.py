"""An encoder in the place of a sentence-transformers model: the same methods, the same shapes, no such package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from searchapp.errors import ModelError
from searchapp.progress import shown

if TYPE_CHECKING:
    from searchapp.encoder.backend import Backend
    from searchapp.encoder.settings import Settings

KINDS = ("query", "document")  # the names of prompts


class Embeds(Protocol):
    """What is used of an ``Encoder``."""

    settings: Settings
    backend: Backend
    tokenizer: Any

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def document_reach(self) -> int:
        """Tokens of a text that are read."""

    def encode_counted(
        self, texts: str | Sequence[str], instruction: Any = None, normalize: bool = True, *, progress: Any = None
    ) -> Any:
        """The vectors of texts."""


class _Card:
    """The model card that evaluators note their results in; it is not kept."""

    def set_evaluation_metrics(self, *_: Any, **__: Any) -> None:
        """Forget them."""


class SentenceEncoder:
    """What ``SentenceTransformer`` has of methods and names, over an ``Encoder``.

    Evaluators, retrievers and topic models that only call these take it. A single text gives (dim,), a list (n, dim);
    without ``normalize_embeddings`` vectors have the length that the model gives them.

    >>> from searchapp import Encoder
    >>> model = Encoder.load("bundled").sentence_transformer
    >>> model.encode("bees make honey").shape, model.encode(["bees", "ants"], normalize_embeddings=True).shape
    ((256,), (2, 256))
    """

    similarity_fn_name = "cosine"
    default_prompt_name = None

    def __init__(self, encoder: Embeds) -> None:
        self.encoder = encoder
        self._dim: int | None = None
        self.model_card_data = _Card()
        asked = encoder.settings
        said = {"query": asked.query_instruction, "document": asked.document_instruction}
        self.prompts = {name: text or "" for name, text in said.items()}

    @property
    def device(self) -> Any:
        """Where the model runs, as ``torch.device``."""
        import torch

        return torch.device(self.encoder.backend.device)

    @property
    def max_seq_length(self) -> int:
        """Tokens of a text that are read."""
        return self.encoder.document_reach

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the model."""
        return self.encoder.tokenizer

    def get_embedding_dimension(self) -> int:
        """The length of a vector."""
        return self._dim or self.encoder.dim

    get_sentence_embedding_dimension = get_embedding_dimension

    def encode(
        self,
        inputs: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        **_: Any,
    ) -> Any:
        """Embed texts: float32 (n, dim), or (dim,) of a single one; as a tensor, or a list of tensors, if asked.

        ``prompt`` goes before each text, or the one of ``prompt_name`` (query or document). ``device`` and
        ``batch_size`` decide nothing here. Raises ModelError for an output or a precision that there is not.
        """
        if output_value != "sentence_embedding":
            raise ModelError(f"output_value is {output_value!r}; expected sentence_embedding, or call encode_tokens")
        if precision not in ("float32", None):
            raise ModelError(f"precision is {precision!r}; expected float32")
        texts = [inputs] if isinstance(inputs, str) else [str(text) for text in inputs]
        before = self._prompt(prompt_name, prompt)
        with shown(bool(show_progress_bar)) as progress:
            progress.stage("encoding", len(texts), "text")
            found = self.encoder.encode_counted(texts, before, normalize=False, progress=progress).vectors
        vectors = found[:, : truncate_dim or self._dim]
        if normalize_embeddings:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(lengths > 0, lengths, 1)
        if isinstance(inputs, str):
            vectors = vectors[0]
        if convert_to_numpy and not convert_to_tensor:
            return np.ascontiguousarray(vectors)
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(vectors)).to(self.device)
        return tensor if convert_to_tensor or tensor.ndim == 1 else list(tensor)

    def encode_query(self, inputs: str | Sequence[str], prompt_name: str | None = None, **options: Any) -> Any:
        """``encode`` with the prompt of queries."""
        return self.encode(inputs, prompt_name or (None if options.get("prompt") else "query"), **options)

    def encode_document(self, inputs: str | Sequence[str], prompt_name: str | None = None, **options: Any) -> Any:
        """``encode`` with the prompt of documents."""
        return self.encode(inputs, prompt_name or (None if options.get("prompt") else "document"), **options)

    def _prompt(self, name: str | None, text: str | None) -> str | None:
        if text is not None or name is None:
            return text
        if name not in self.prompts:
            raise ModelError(f"there is no prompt {name!r}; expected one of {', '.join(self.prompts)}")
        return self.prompts[name] or None

    @property
    def similarity(self) -> Callable[[Any, Any], Any]:
        """The cosines of each of some vectors with each of others, as a tensor."""
        return _cosines

    @property
    def similarity_pairwise(self) -> Callable[[Any, Any], Any]:
        """The cosine of each vector with the one beside it, as a tensor."""
        return lambda one, other: (_unit(one) * _unit(other)).sum(dim=1)

    @contextmanager
    def truncate_sentence_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Give vectors cut to so many numbers within the block."""
        before, self._dim = self._dim, truncate_dim
        try:
            yield
        finally:
            self._dim = before


def _unit(vectors: Any) -> Any:
    import torch

    return torch.nn.functional.normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=-1)


def _cosines(one: Any, other: Any) -> Any:
    left, right = _unit(one), _unit(other)
    return left.reshape(-1, left.shape[-1]) @ right.reshape(-1, right.shape[-1]).T
