"""The encoder: texts in, vectors out."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from searchapp.encoder.attention import NAME as PACKED
from searchapp.encoder.backend import Backend, TorchBackend
from searchapp.encoder.checkpoint import Checkpoint, absolute_name, locate
from searchapp.encoder.fingerprint import fingerprint, tokenizer_digest
from searchapp.encoder.head import read_head
from searchapp.encoder.inference import embed, embed_tokens
from searchapp.encoder.inputs import inputs_of, spread
from searchapp.encoder.instructions import Instructed
from searchapp.encoder.options import LoadOptions, instruction_options, refuse_unknown, settings_options
from searchapp.encoder.settings import FOLDER, Settings, settings_file
from searchapp.encoder.streaming import stream
from searchapp.encoder.token_vectors import TokenVectors
from searchapp.encoder.tokenization import Tokenization, Tokens
from searchapp.encoder.window import EncodeInput
from searchapp.errors import ModelError
from searchapp.progress import Progress, Silent

if TYPE_CHECKING:
    from searchapp.encoder.cache import VectorCache
    from searchapp.encoder.sentence import SentenceEncoder
    from searchapp.encoder.workers import EncoderPool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded:
    """``vectors`` (n, dim) and the number of tokens that went into them (repeated and cached texts count once)."""

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
        *,
        backend: Backend | None = None,
        devices: Sequence[str] = (),
        chosen: str = "",
        instructed: Instructed | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.options = options or {}  # what was asked for beyond the checkpoint's own settings
        self.settings = settings
        self.instruction_origin = instructed.origin if instructed else ""  # who says what goes before queries
        self.prompts = instructed.prompts if instructed else None  # what a published model has for each kind of task
        self.checkpoint = checkpoint
        if settings.template is None:
            raise ModelError("settings without a template; load the encoder with Encoder.load")
        if settings.pooling == "bos_token" and not settings.native and tokenizer.bos_token_id is None:
            raise ModelError(
                f"{checkpoint.name} has no BOS token to pool; use pooling mean, weighted_mean or eos_token"
            )
        positions = getattr(model.config, "max_position_embeddings", None)
        self._tokenize = Tokenization(
            tokenizer.backend_tokenizer, settings, settings.template, positions,
            from_left=getattr(tokenizer, "truncation_side", "right") == "left",
        )  # fmt: skip
        path = settings_file(checkpoint.settings, checkpoint.adapters)
        folder = path if path is not None and path.name == FOLDER else None
        self.head = read_head(folder, self.width, settings.truncate_dim)
        self.backend: Backend = backend or TorchBackend(model, tokenizer, settings.pooling)
        self.cache: VectorCache | None = None  # where vectors are looked up before they are computed, and kept
        self._chosen = chosen
        self._pool = _pool(self, devices) if len(devices) > 1 else None

    @classmethod
    def load(cls, model: str, **options: Unpack[LoadOptions]) -> Encoder:
        """Load a checkpoint directory, a hub id or ``bundled``, merge adapters, and prove its attention.

        ``options`` are the keywords of ``searchapp.encoder.options.LoadOptions``, such as ``pooling="mean"``,
        ``adapters=[…]`` or ``device="cuda"``. Raises ModelError for a model or an option that cannot be used, TypeError
        for a keyword that is not among them.
        """
        from searchapp.encoder.backends import choose_parts

        began = time.perf_counter()
        refuse_unknown(options, LoadOptions.__annotations__, "Encoder.load")
        base = options.get("base")
        checkpoint = locate(
            str(model), [str(adapter) for adapter in options.get("adapters") or []], None if base is None else str(base)
        )
        parts = choose_parts(checkpoint, options)
        encoder = cls(
            parts.model,
            parts.tokenizer,
            parts.instructed.settings,
            checkpoint,
            {**settings_options(options), **instruction_options(options)},
            instructed=parts.instructed,
            backend=parts.backend,
            devices=parts.devices,
            chosen=parts.chosen,
        )
        encoder.keep(options.get("cache"))
        log.info("loaded %s in %.1f s: %s", model, time.perf_counter() - began, encoder.description)
        if encoder.settings.query_instruction is not None:
            log.info("queries get %r (%s)", encoder.settings.query_instruction, encoder.instruction_origin)
        if parts.instructed.missing:
            log.warning("%s", parts.instructed.missing)
        log.debug("weights from %s, adapters from %s", checkpoint.weights, [str(path) for path in checkpoint.adapters])
        return encoder

    def keep(self, folder: str | Path | None) -> None:
        """Keep vectors in this directory, and take them from there; None: do not."""
        if folder is None:
            self.cache = None
            return
        from searchapp.encoder.cache import VectorCache

        self.cache = VectorCache(Path(folder))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.head.dim

    @property
    def width(self) -> int:
        """Length of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> str:
        """Where the model runs: ``cpu`` or ``cuda``."""
        return self.backend.device

    @property
    def dtype(self) -> str:
        """What it multiplies in, as torch spells it without its prefix."""
        return self.backend.dtype

    @property
    def attention(self) -> str:
        """The attention kernel, as ``--attention`` spells it."""
        kernel = str(self.model.config._attn_implementation)
        return "packed" if kernel == PACKED else kernel

    @property
    def description(self) -> str:
        """What was chosen for this machine, and why, as a phrase for people."""
        several = f" on {len(self._pool.devices)} devices" if self._pool else f" on {self.device}"
        batches = "padded batches" if self.backend.padded else "packed batches"
        by = "" if self.backend.name == "torch" else f" by {self.backend.name}"
        return f"{self.dim} dimensions, {self.dtype}{self._chosen}{several}{by}, {batches}"

    @property
    def reference(self) -> dict[str, Any]:
        """Arguments for ``Encoder.load`` that bring this encoder back, local paths made absolute."""
        adapters = [absolute_name(adapter) for adapter in self.checkpoint.extra_adapters]
        base = {} if self.checkpoint.base is None else {"base": absolute_name(self.checkpoint.base)}
        return {"model": absolute_name(self.checkpoint.name), "adapters": adapters, **base, **self.options}

    @property
    def document_reach(self) -> int:
        """The most tokens of a document that its vector is made of; ``document_tokens`` counts on this scale."""
        return self._tokenize.reach

    def document_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each document, int64 (n,), as ``encode_documents`` would read it if it cut nothing.

        A document of more than ``document_reach`` is not read whole. Of the two limits that an encoder has, for the
        text and for the whole sequence with prompt, template and special tokens, the nearer one counts. Raises
        ModelError for a text that is not valid Unicode.
        """
        asked = spread(self.settings.document_instruction, 1, keep_blank=self.settings.native)[0]
        inputs = inputs_of(texts, itertools.repeat(asked))
        return self._tokenize.lengths([item.text for item in inputs], asked)

    @cached_property
    def tokenizer_digest(self) -> str:
        """The sha256 of what defines the tokenizer: its file, its special tokens, lower case."""
        return tokenizer_digest(self.checkpoint, self.settings, self.tokenizer)

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """sha256 digests of everything that decides a document's vector; see ``searchapp.encoder.fingerprint``."""
        return fingerprint(self.checkpoint, self.settings, self.tokenizer, self.head.files)

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

    def task_instruction(self, task: str) -> str | None:
        """What goes before texts in a kind of task: retrieval, reranking, sts, classification or clustering.

        None where nothing goes before them, or nothing is known of the model: then its query instruction alone is what
        it says. Raises ModelError for another kind.
        """
        if self.prompts is None:
            return self.settings.query_instruction if task in ("retrieval", "reranking") else None
        return self.prompts.of(task)

    def encode_documents(self, texts: str | Sequence[str]) -> np.ndarray:
        """Embed documents; they get no instruction unless the checkpoint itself has one for them. Unit rows."""
        return self.encode(texts, self.settings.document_instruction)

    @property
    def sentence_transformer(self) -> SentenceEncoder:
        """The encoder with the methods of sentence-transformers' class, for what expects one of these."""
        from searchapp.encoder.sentence import SentenceEncoder

        return SentenceEncoder(self)

    def encode_tokens(
        self,
        texts: str | Sequence[str],
        instruction: str | None | Sequence[str | None] = None,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> list[TokenVectors]:
        """A vector for each token of each text, with the characters it covers, from the pass that ``encode`` makes.

        Vectors are last hidden states, float32 (tokens, dim), without unit length. ``instruction`` stands before the
        text and has no vector itself, as template and special tokens have none. What is cut off a long text has none
        either; a text without a token has (0, dim). Raises ModelError where layers behind the pooling make the vectors,
        since no token goes through these.
        """
        if self.head.steps:
            raise ModelError(
                f"{self.checkpoint.name} makes its vectors by layers behind the pooling (Dense, LayerNorm or "
                "Normalize), which no token goes through; token vectors need a model without them"
            )
        if batch_size is not None and batch_size < 1:
            raise ModelError(f"batch_size is {batch_size}; expected a number of texts above 0")
        texts = [texts] if isinstance(texts, str) else list(texts)
        inputs = self.inputs(texts, instruction)
        items = self._tokenize.locate([item.text for item in inputs], [item.instruction for item in inputs])
        tokens, places = [item.tokens for item in items], [item.places for item in items]
        found = embed_tokens(self.backend, tokens, places, most=batch_size, progress=progress)
        none = np.zeros((0, self.dim), dtype=np.float32)
        return [
            TokenVectors(none if rows is None else rows[:, : self.dim], item.spans, text)
            for text, item, rows in zip(texts, items, found, strict=True)
        ]

    def encode_counted(
        self,
        texts: str | Sequence[str],
        instruction: str | None | Sequence[str | None] = None,
        normalize: bool = True,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        dtype: Any = np.float32,
    ) -> Encoded:
        """``encode`` that also counts tokens; ``progress`` advances by the texts of each batch, with ``tokens``.

        ``dtype`` is that of the vectors: float16 is made window by window, without a float32 copy of them all.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        inputs = self.inputs(texts, instruction)
        unique = {item: number for number, item in enumerate(dict.fromkeys(inputs))}
        vectors = np.zeros((len(unique), self.dim), dtype=dtype)
        done = tokens = 0
        for part, count in stream(self, self._pool, unique, normalize, batch_size, progress or Silent()):
            vectors[done : done + len(part)] = part
            done, tokens = done + len(part), tokens + count
        if len(unique) < len(inputs):
            vectors = vectors[[unique[item] for item in inputs]]
        return Encoded(vectors, tokens)

    def encode_stream(
        self,
        texts: Iterable[str],
        instruction: str | None = None,
        normalize: bool = True,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        dtype: Any = np.float16,
    ) -> Iterator[np.ndarray]:
        """Embed texts as they come, in bounded memory: arrays (texts, dim) of some thousand rows each, in order.

        Options as in ``encode``. When ``texts`` raises, the vectors of all it gave before come first.
        """
        [before] = spread(instruction, 1, keep_blank=self.settings.native)
        inputs = inputs_of([texts] if isinstance(texts, str) else texts, itertools.repeat(before))
        for part, _ in stream(self, self._pool, inputs, normalize, batch_size, progress or Silent()):
            yield part.astype(dtype, copy=False)

    def inputs(self, texts: Sequence[str], instruction: str | None | Sequence[str | None] = None) -> list[EncodeInput]:
        """Each text with its instruction, as ``encode`` puts them together. Raises ModelError for what is no text."""
        return list(inputs_of(texts, spread(instruction, len(texts), keep_blank=self.settings.native)))

    def tokenize(self, inputs: Sequence[EncodeInput]) -> list[Tokens]:
        """The tokens of each text behind its instruction, as the model reads them: what is too long is cut."""
        return self._tokenize([item.text for item in inputs], [item.instruction for item in inputs])

    def embed(self, items: Sequence[Tokens], most: int | None = None) -> np.ndarray:
        """Float32 vectors (n, dim) of tokenized texts, not normalised, computed on this encoder's own device."""
        return self.head(embed(self.backend, items, self.width, most=most))

    def compute(self, inputs: Sequence[EncodeInput], most: int | None = None) -> tuple[np.ndarray, int]:
        """Float32 vectors (n, dim), not normalised, computed on this encoder's own device; and how many tokens."""
        items = self.tokenize(inputs)
        return self.embed(items, most), sum(len(item.ids) for item in items)

    @property
    def cache_scope(self) -> str:
        """What decides a vector beside text and instruction: names the encoder in a cache of vectors."""
        return f"{self.fingerprint['sha256']}/{self.backend.name}/{self.dtype}"


def _pool(encoder: Encoder, devices: Sequence[str]) -> EncoderPool:
    from searchapp.encoder.workers import EncoderPool

    return EncoderPool(encoder, devices)
