"""The model that is trained: a bidirectional decoder with its earlier adapters merged, and fresh LoRA on it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from searchapp.adapt.config import TrainingConfig
from searchapp.adapt.frozen import compute_in_float32
from searchapp.adapt.fused import fuse
from searchapp.adapt.memory import training_precision
from searchapp.adapt.packed import PackedBatch, Pooled, pack_texts
from searchapp.encoder.attention import NAME
from searchapp.encoder.batching import pad
from searchapp.encoder.checkpoint import Checkpoint, is_shipped, locate
from searchapp.encoder.devices import choose_device, cpu_has_bfloat16
from searchapp.encoder.loading import load_model, load_tokenizer, read_config, resolve_settings
from searchapp.encoder.pooling import pool
from searchapp.encoder.settings import FILE, Settings
from searchapp.encoder.tokenization import Tokens
from searchapp.errors import AdaptError
from searchapp.heap import keep_freed_memory

if TYPE_CHECKING:
    from peft import PeftModel

CONVENTIONS = (FILE, "llm2vec_config.json", "modules.json")  # what says how a checkpoint pools
DROPOUTS = ("attention_dropout", "attn_dropout")


class TrainableModel(nn.Module):
    """The decoder as training calls it; with several processes, what torch wraps."""

    def __init__(
        self,
        decoder: PeftModel | Any,
        tokenizer: Any,
        settings: Settings,
        checkpoint: Checkpoint,
        training: TrainingConfig,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.settings = settings
        self.checkpoint = checkpoint
        self.training_settings = training
        self.fused = 0  # layers that take packed batches in our own way

    @property
    def packs(self) -> bool:
        """Whether texts go through end to end: on a CPU, where the family's attention was proved to keep them apart."""
        return bool(self.config._attn_implementation == NAME) and self.device.type == "cpu"

    @property
    def rounds(self) -> bool:
        """Whether packed batches get a filler (see ``packed.filler``)."""
        return self.dtype != torch.float32 or self.training_settings.autocast

    @property
    def config(self) -> Any:
        """The decoder's own configuration."""
        return self.decoder.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        parameter: torch.Tensor = next(self.decoder.parameters())
        return parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the frozen weights."""
        weight: torch.Tensor = self.decoder.get_input_embeddings().weight
        return weight.dtype

    def forward(
        self,
        ids: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
        spans: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        packed: PackedBatch | None = None,
        pooled: Pooled | None = None,
    ) -> torch.Tensor:
        """Last hidden states (n, length, dim), or the pooled vectors (n, dim) when ``spans`` and ``lengths`` are given.

        Of ``ids`` (n, length); ``mask`` is (n, length), or additive (n, 1, length, length). Of a ``packed`` batch,
        which stands alone, the states that are read (k, dim), or the vectors that ``pooled`` makes of them (n, dim).
        """
        if packed is not None:
            states = self._packed(packed)
            return states if pooled is None else pooled(states)
        if ids is None:
            raise AdaptError("neither ids nor a packed batch was given")
        given = {} if positions is None else {"position_ids": positions}
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.training_settings.autocast):
            states = self.decoder(input_ids=ids, attention_mask=mask, use_cache=False, **given)
        hidden: torch.Tensor = states.last_hidden_state
        if spans is None or lengths is None:
            return hidden
        return pool(hidden, spans, lengths, self.settings.pooling)

    def _packed(self, batch: PackedBatch) -> torch.Tensor:
        rows = {"rows": batch.rows} if self.fused and batch.rows is not None else {}
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training_settings.autocast):
            states = self.decoder(
                input_ids=batch.ids,
                position_ids=batch.positions,
                packed_lengths=batch.lengths,
                use_cache=False,
                **rows,
            )
        hidden: torch.Tensor = states.last_hidden_state[0]
        return hidden if rows or batch.rows is None else hidden[batch.rows]

    def rows(self, batch: Sequence[Tokens]) -> dict[str, Any]:
        """Tokenized texts as what ``forward`` takes: end to end, or padded on the right; and what of them to pool."""
        if self.packs:
            packed, pooled = pack_texts(batch, self.settings.pooling, self.config.vocab_size, rounded=self.rounds)
            return {"packed": packed, "pooled": pooled}
        ids, mask = pad([item.ids for item in batch], self.tokenizer, self.config.vocab_size)
        made = {
            "ids": torch.from_numpy(ids),
            "mask": torch.from_numpy(mask.astype(np.int64)),
            "spans": torch.tensor([[item.start, item.end] for item in batch]),
            "lengths": torch.tensor([len(item.ids) for item in batch]),
        }
        return {name: value.to(self.device) for name, value in made.items()}

    def save(self, directory: Path) -> None:
        """Write what was trained: the adapter, or the whole decoder; with tokenizer and settings beside it."""
        directory.mkdir(parents=True, exist_ok=True)
        self.save_weights(directory)
        self.tokenizer.save_pretrained(directory)
        self.settings.save(directory)

    def save_weights(self, directory: Path) -> None:
        """Write the trained weights alone, as safetensors."""
        # No embedding is trained alone, and to find that out peft would ask the hub.
        options = {"save_embedding_layers": False} if self.training_settings.train == "lora" else {}
        self.decoder.save_pretrained(str(directory), **options)
        (directory / "README.md").unlink(missing_ok=True)  # peft's model card, unfilled
        config = directory / "adapter_config.json"
        if config.exists():  # peft writes sets in an order that changes from run to run
            content = json.loads(config.read_text(encoding="utf-8"))
            content["target_modules"] = sorted(content["target_modules"])
            config.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")

    def load_weights(self, directory: Path) -> None:
        """Read back what ``save_weights`` wrote."""
        from safetensors.torch import load_file

        if self.training_settings.train == "lora":
            from peft import set_peft_model_state_dict

            result = set_peft_model_state_dict(self.decoder, load_file(directory / "adapter_model.safetensors"))
            wrong = list(result.unexpected_keys) + [key for key in result.missing_keys if "lora_" in key]
        else:
            tensors: dict[str, torch.Tensor] = {}
            for path in sorted(directory.glob("model*.safetensors")):
                tensors |= load_file(path)
            result = self.decoder.load_state_dict(tensors, strict=False)
            wrong = list(result.unexpected_keys)
        if wrong:
            raise AdaptError(f"{directory} holds other weights than this run trains (first: {wrong[0]}); start again")


def load_trainable_model(
    model: str,
    training: TrainingConfig,
    *,
    adapters: Sequence[str] = (),
    pooling: str | None = None,
    attention_dropout: float | None = None,
) -> TrainableModel:
    """Load a base with its adapters merged, prove its attention, and put fresh trainable weights on it.

    The language model head is not among them: it stays frozen (the original trains it unintentionally and throws it
    away). Raises ModelError for a model that cannot be made bidirectional.
    """
    import os

    checkpoint = locate(model, list(adapters))
    reference = _reference(checkpoint) if training.train == "lora" else ""
    config = read_config(checkpoint.weights)
    tokenizer = load_tokenizer(checkpoint.tokenizer)
    settings = resolve_settings(checkpoint, config, tokenizer, bidirectional=training.bidirectional, pooling=pooling)
    if not any((checkpoint.settings / name).exists() for name in CONVENTIONS):
        settings = settings.with_options(span="offsets")  # exact; counting is for checkpoints trained by it
    device = choose_device(training.device)
    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
    dtype = training_precision(checkpoint, training, device)
    decoder = load_model(
        checkpoint, bidirectional=training.bidirectional, attention=training.attention, dtype=dtype, device=place
    )
    if device == "cpu" and training.train == "lora" and not cpu_has_bfloat16():
        compute_in_float32(decoder)
    if attention_dropout is not None:
        _set_dropout(decoder, attention_dropout)
    if training.gradient_checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # its new name is not in transformers 5.2
            decoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        decoder.enable_input_require_grads()
    if training.train == "all":
        decoder.requires_grad_(True)
        return TrainableModel(decoder, tokenizer, settings, checkpoint, training)
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=linear_layers(decoder),
        bias="none",
        task_type=None,
    )
    torch.manual_seed(training.seed)  # the same first weights in every process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of GPT-2's kind of linear layer; of a property that transformers renamed
        wrapped = get_peft_model(decoder, lora)
    wrapped.peft_config["default"].base_model_name_or_path = reference
    trainee = TrainableModel(wrapped, tokenizer, settings, checkpoint, training)
    if trainee.packs:
        keep_freed_memory()
        if not training.autocast and (trainee.dtype == torch.float32 or cpu_has_bfloat16()):
            trainee.fused = fuse(wrapped)
    return trainee


def linear_layers(decoder: Any) -> list[str]:
    """Names (their last parts) of all linear layers inside the decoder's blocks: the seven of Llama, and their like."""
    from transformers.pytorch_utils import Conv1D

    names = {
        name.rsplit(".", 1)[-1]
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and any(part.isdigit() for part in name.split("."))
    }
    if not names:
        raise AdaptError(
            f"{decoder.config.model_type} has no linear layers that LoRA can be put on; choose another model"
        )
    return sorted(names)


def _set_dropout(decoder: Any, rate: float) -> None:
    """Set the dropout on attention probabilities in every block, under whichever name the family has it."""
    changed = 0
    for module in decoder.modules():
        for name in DROPOUTS if not type(module).__name__.endswith("Attention") else (*DROPOUTS, "dropout"):
            found = getattr(module, name, None)
            if isinstance(found, int | float):
                setattr(module, name, rate)
            elif isinstance(found, nn.Dropout):
                found.p = rate
            else:
                continue
            changed += 1
    if not changed and rate:
        raise AdaptError(
            f"{decoder.config.model_type} has no attention dropout to set; give attention_dropout 0 and raise "
            "lora_dropout, from which the two views then differ"
        )


def _reference(checkpoint: Checkpoint) -> str:
    """The base as the new adapter names it: a hub id as it is, a directory by its absolute path.

    An adapter names one base. With adapters that were given beside the model it is the last of them, where that leads
    to the same weights. Raises AdaptError where it does not: loaded again, the result would lack what it was trained
    on.
    """
    name = checkpoint.name
    if checkpoint.extra_adapters:
        name = checkpoint.extra_adapters[-1]
        if _parts(locate(name)) != _parts(checkpoint):
            raise AdaptError(
                f"adapter {name} does not name {checkpoint.name} and the adapters before it as its base, so the result "
                f"could not be loaded again; merge them first: searchapp export {checkpoint.name} --adapter … --to DIR"
            )
    place = Path(name).expanduser()
    return str(place.resolve()) if not is_shipped(name) and place.exists() else name


def _parts(checkpoint: Checkpoint) -> list[Path]:
    return [place.resolve() for place in (checkpoint.weights, *checkpoint.adapters)]
