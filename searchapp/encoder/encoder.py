"""The encoder: texts in, float32 vectors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder.batching import pad, plan
from searchapp.encoder.checkpoint import Checkpoint, locate
from searchapp.encoder.fingerprint import fingerprint
from searchapp.encoder.settings import Settings, read_settings
from searchapp.encoder.template import choose
from searchapp.encoder.tokenisation import Tokenisation, Tokens
from searchapp.errors import ModelError

BUDGET = {"cpu": 2_048, "cuda": 16_384}  # computed positions in a batch
WINDOW = 8_192  # texts that are tokenised, sorted and held together


@dataclass(frozen=True)
class Encoded:
    """``vectors`` float32 (n, dim) and the number of tokens that went into them (repeated texts count once)."""

    vectors: np.ndarray
    tokens: int


class Encoder:
    """A decoder language model used as a text embedder. Make one with ``Encoder.load``."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: Settings,
        checkpoint: Checkpoint,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.options = options or {}  # what was asked for beyond the checkpoint's own settings
        self.settings = settings
        self.checkpoint = checkpoint
        if settings.template is None:
            raise ModelError("settings without a template; load the encoder with Encoder.load")
        if settings.pooling == "bos_token" and tokenizer.bos_token_id is None:
            raise ModelError(
                f"{checkpoint.name} has no BOS token to pool; use pooling mean, weighted_mean or eos_token"
            )
        positions = getattr(model.config, "max_position_embeddings", None)
        self._tokenise = Tokenisation(tokenizer.backend_tokenizer, settings, settings.template, positions)

    @classmethod
    def load(
        cls,
        model: str,
        *,
        adapters: Sequence[str] | None = None,
        pooling: str | None = None,
        max_length: int | None = None,
        document_max_length: int | None = None,
        pool_instruction: bool | None = None,
        bidirectional: bool | None = None,
        attention: str = "auto",
        dtype: str = "auto",
        device: str = "auto",
    ) -> Encoder:
        """Load a checkpoint directory, a hub id or ``bundled``, merge ``adapters`` in order, and probe it.

        Options left at None are what the checkpoint's own settings say (``encoder.json``, ``llm2vec_config.json`` or
        a sentence-transformers folder), else mean pooling, 512 and 400 tokens, bidirectional. Raises ModelError.
        """
        from searchapp.encoder.loading import choose_device, load_model, load_tokenizer

        checkpoint = locate(str(model), [str(adapter) for adapter in adapters or []])
        given = {
            "pooling": pooling,
            "max_length": max_length,
            "document_max_length": document_max_length,
            "pool_instruction": pool_instruction,
            "bidirectional": bidirectional,
        }
        options = {name: value for name, value in given.items() if value is not None}
        settings = read_settings(checkpoint.settings, list(checkpoint.adapters)).with_options(**options)
        place = choose_device(device)
        loaded = load_model(
            checkpoint, bidirectional=settings.bidirectional, attention=attention, dtype=dtype, device=place
        )
        tokenizer = load_tokenizer(checkpoint.tokenizer)
        if settings.template is None:
            template = choose(checkpoint.base_name, loaded.config.model_type, tokenizer.eos_token)
            settings = settings.with_options(template=template)
        return cls(loaded, tokenizer, settings, checkpoint, options)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> str:
        """Where the model runs: ``cpu`` or ``cuda``."""
        return str(next(self.model.parameters()).device.type)

    @property
    def dtype(self) -> str:
        """Precision of the weights, as torch spells it without its prefix."""
        return str(next(self.model.parameters()).dtype).removeprefix("torch.")

    @property
    def reference(self) -> dict[str, Any]:
        """Arguments for ``Encoder.load`` that bring this encoder back, local paths made absolute."""
        adapters = [_absolute(adapter) for adapter in self.checkpoint.extra_adapters]
        return {"model": _absolute(self.checkpoint.name), "adapters": adapters, **self.options}

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """sha256 digests of everything that decides a document's vector; see ``searchapp.encoder.fingerprint``."""
        return fingerprint(self.checkpoint, self.settings, self.tokenizer)

    def encode(
        self,
        texts: str | Sequence[str],
        instruction: str | None | Sequence[str | None] = None,
        normalize: bool = True,
        *,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Embed texts, in their order, as float32 (n, dim); one string counts as a list of one.

        ``instruction`` is put before every text, or one before each when it is a sequence. With ``normalize`` rows
        have length 1. A text without any token to pool (an empty one, where the template adds nothing) gets the zero
        vector, whose cosine with everything is 0. ``batch_size`` bounds the texts in a batch; no vector depends on it.
        """
        return self.encode_counted(texts, instruction, normalize, batch_size=batch_size).vectors

    def encode_queries(self, texts: str | Sequence[str], instruction: str | None = None) -> np.ndarray:
        """Embed queries, behind ``instruction`` or else the checkpoint's own query instruction; unit rows."""
        return self.encode(texts, self.settings.query_instruction if instruction is None else instruction)

    def encode_documents(self, texts: str | Sequence[str]) -> np.ndarray:
        """Embed documents; they get no instruction unless the checkpoint itself has one for them. Unit rows."""
        return self.encode(texts, self.settings.document_instruction)

    def encode_counted(
        self,
        texts: str | Sequence[str],
        instruction: str | None | Sequence[str | None] = None,
        normalize: bool = True,
        *,
        batch_size: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Encoded:
        """``encode`` that also counts tokens, and calls ``progress(texts, tokens)`` after each batch."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        instructions = _spread(instruction, len(texts))
        if batch_size is not None and batch_size < 1:
            raise ModelError(f"batch_size is {batch_size}; expected a number of texts above 0")
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ModelError(f"encode was given a {type(text).__name__}; expected a string or a list of strings")
            _refuse_surrogates(text, f"text {number} (counted from 0)")
        for asked in dict.fromkeys(instructions):
            _refuse_surrogates(asked or "", "an instruction")
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        tokens = 0
        for begin in range(0, len(texts), WINDOW):
            window = slice(begin, begin + WINDOW)
            pairs = list(zip(texts[window], instructions[window], strict=True))
            unique = {pair: None for pair in pairs}
            index = {pair: number for number, pair in enumerate(unique)}
            tokenised = self._tokenise([text for text, _ in unique], [asked for _, asked in unique])
            tokens += sum(len(item.ids) for item in tokenised)
            vectors[window] = self._embed(tokenised, batch_size, progress)[[index[pair] for pair in pairs]]
        if normalize:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            np.divide(vectors, norms, out=vectors, where=norms > 0)
        return Encoded(vectors, tokens)

    def _embed(
        self, tokenised: Sequence[Tokens], batch_size: int | None, progress: Callable[[int, int], None] | None
    ) -> np.ndarray:
        """Run the model over tokenised texts; float32 (n, dim) in their order."""
        vectors = np.zeros((len(tokenised), self.dim), dtype=np.float32)
        lengths = [len(item.ids) for item in tokenised]
        for chosen in plan(lengths, BUDGET[self.device], batch_size):
            batch = [tokenised[i] for i in chosen if lengths[i]]
            if batch:
                vectors[[i for i in chosen if lengths[i]]] = self._forward(batch)
            if progress is not None:
                progress(len(chosen), sum(lengths[i] for i in chosen))
        return vectors

    def _forward(self, batch: Sequence[Tokens]) -> np.ndarray:
        import torch

        from searchapp.encoder.pooling import pool

        lengths = np.array([len(item.ids) for item in batch])
        ids, mask = pad([item.ids for item in batch], self.tokenizer, self.model.config.vocab_size)
        place = next(self.model.parameters()).device
        with torch.inference_mode():
            hidden = self.model(
                input_ids=torch.from_numpy(ids).to(place),
                attention_mask=None if mask.all() else torch.from_numpy(mask.astype(np.int64)).to(place),
                use_cache=False,
            ).last_hidden_state
            spans = torch.tensor([[item.start, item.end] for item in batch], device=place)
            pooled = pool(hidden, spans, torch.from_numpy(lengths).to(place), self.settings.pooling).cpu().numpy()
        if not np.isfinite(pooled).all():
            raise ModelError(f"{self.checkpoint.name} gives values that are not finite in {self.dtype}; use float32")
        return pooled


def _absolute(name: str) -> str:
    """A local directory as an absolute path; a hub id and ``bundled`` as they are."""
    place = Path(name).expanduser()
    return str(place.resolve()) if name != "bundled" and place.exists() else name


def _refuse_surrogates(text: str, what: str) -> None:
    """Raise ModelError for half of a surrogate pair: it stands for no character, and no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ModelError(
            f"{what} is not valid Unicode: a lone surrogate {text[error.start]!a} at character {error.start}; "
            "remove it, or decode the source with errors='replace'"
        ) from error


def _spread(instruction: str | None | Sequence[str | None], count: int) -> list[str | None]:
    """One instruction for each text; blank ones become None."""
    if instruction is None or isinstance(instruction, str):
        return [instruction if instruction and instruction.strip() else None] * count
    if len(instruction) != count:
        raise ModelError(f"{len(instruction)} instructions for {count} texts; give one string, or one for each text")
    return [item if item and item.strip() else None for item in instruction]
