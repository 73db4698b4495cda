"""All that the parts take from inside searchapp, in one place: what is moved there is renamed here alone."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.shapes import Model
from searchapp.bench.texts import lengths, read_prose
from searchapp.bench.vectors import index_of
from searchapp.encoder import Encoder, Settings, Template
from searchapp.encoder.attention import NAME as PACKED
from searchapp.encoder.attention import attend, packed_lengths, register
from searchapp.encoder.checkpoint import BUNDLED, locate
from searchapp.encoder.probes import bidirectional_fault, make_bidirectional, packing_fault
from searchapp.index import VectorIndex, build, reindex
from searchapp.index.ann.gpu import ExactSearch, devices, faiss_gpus, kmeans
from searchapp.index.ann.pca import leading_axes, moments
from searchapp.progress import Progress, Silent

__all__ = [
    "Encoder",
    "ExactSearch",
    "Silent",
    "VectorIndex",
    "attend",
    "build",
    "chosen_type",
    "compiled",
    "configuration",
    "decoder",
    "devices",
    "encoder",
    "faiss_gpus",
    "flops",
    "index_of",
    "kmeans",
    "leading_axes",
    "lengths",
    "linear_layers",
    "moments",
    "packed_lengths",
    "read_prose",
    "reindex",
    "rival_folder",
    "stage_trainer",
    "token_counts",
    "tokenizer",
    "tokens_in",
    "write_model",
]


def configuration(model: Model, longest: int = 512) -> Any:
    """The Llama configuration of a shape, bidirectional; its head is its embedding, so that no file has to hold one."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=model.hidden, num_hidden_layers=model.layers, num_attention_heads=model.heads,
        num_key_value_heads=model.groups, intermediate_size=model.inner, vocab_size=model.vocabulary,
        max_position_embeddings=max(512, longest), rope_parameters={"rope_type": "default", "rope_theta": model.theta},
        bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    make_bidirectional(config)
    return config


def decoder(model: Model, device: str, dtype: torch.dtype = torch.bfloat16, *, head: bool = False) -> Any:
    """A decoder with random weights, drawn on the device; with its language model's head if asked for."""
    from transformers import AutoModel, AutoModelForCausalLM

    torch.manual_seed(0)
    kind = AutoModelForCausalLM if head else AutoModel
    with torch.device(device):
        made = kind.from_config(configuration(model), dtype=dtype, attn_implementation="sdpa")
    return made.eval().requires_grad_(False)


def tokenizer() -> Any:
    """The bundled model's tokenizer; its ids are below every shape's vocabulary."""
    from searchapp.encoder.loading import load_tokenizer

    return load_tokenizer(BUNDLED)


def tokens_in(text: str) -> int:
    """Tokens of a text by the bundled tokenizer, without transformers, which takes seconds to import."""
    from tokenizers import Tokenizer

    return len(Tokenizer.from_file(str(BUNDLED / "tokenizer.json")).encode(text, add_special_tokens=False).ids)


def flops(made: Any, counts: np.ndarray) -> float:
    """Floating-point operations for texts of these token counts, padding not counted."""
    from searchapp.bench.encode import flops as counted

    return counted(made, counts)


def linear_layers(made: Any) -> list[str]:
    """Names of the layers that LoRA is put on."""
    from searchapp.adapt.model import linear_layers as found

    return found(made)


def encoder(made: Any, kernel: str) -> Encoder:
    """An encoder over a decoder in memory, on the attention kernel of this name: packed, or one of transformers'.

    Raises RuntimeError when the kernel stays causal or mixes texts, as the probes of a loaded model do.
    """
    made.set_attn_implementation(register() if kernel == "packed" else kernel)
    vocabulary = made.config.vocab_size
    problem = bidirectional_fault(made, vocabulary=vocabulary, pad=0)
    if problem is None and kernel == "packed":
        problem = packing_fault(made, vocabulary=vocabulary)
    if problem is not None:
        raise RuntimeError(f"{kernel} attention {problem}")
    settings = Settings(span="offsets", template=Template(), document_max_length=512)
    return Encoder(made, tokenizer(), settings, locate("bundled"))


def compiled(made: Any, kind: str) -> Callable[[], None]:
    """Compile the blocks of a decoder in place, for texts of any length, and return what undoes it.

    ``kind`` is torch.compile's backend. The attention kernel stays as it is: the graph ends before it and begins again.
    """
    from transformers import AttentionInterface

    outside: Any = torch.compiler
    AttentionInterface.register(PACKED, outside.disable(attend))
    for layer in made.layers:
        layer.compile(dynamic=True, backend=kind)

    def undo() -> None:
        AttentionInterface.register(PACKED, attend)
        for layer in made.layers:
            layer._compiled_call_impl = None

    return undo


def rival_folder(folder: Path) -> Path:
    """The bundled model as sentence-transformers reads it; its decoder is then put in another's place."""
    from searchapp.encoder.export.export import export

    place = folder / "exported"
    if not place.exists():
        export(Encoder.load("bundled", device="cpu", dtype="float32", document_max_length=512), place)
    return place


def write_model(model: Model, device: str, folder: Path) -> Path:
    """Write a decoder of a shape as a checkpoint directory that searchapp loads."""
    decoder(model, device).save_pretrained(folder)
    for file in BUNDLED.glob("tokenizer*"):
        shutil.copy(file, folder / file.name)
    Settings(span="offsets", template=Template()).save(folder)
    return folder


def trainee(model: Model, device: str, stage: Any) -> Any:
    """What ``load_trainee`` makes of a checkpoint, of a decoder that is on no disk: LoRA on random bfloat16 weights."""
    from peft import LoraConfig, get_peft_model

    from searchapp.adapt.model import TrainableModel

    training = stage.training
    made = decoder(model, device)
    if training.gradient_checkpointing:
        made.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        made.enable_input_require_grads()
    lora = LoraConfig(
        r=training.lora_r, lora_alpha=training.lora_alpha, lora_dropout=training.lora_dropout,
        target_modules=linear_layers(made), bias="none", task_type=None,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(made, lora)
    settings = Settings(span="offsets", template=Template())
    return TrainableModel(wrapped, tokenizer(), settings, locate("bundled"), training)


def stage_trainer(
    kind: str, options: dict[str, Any], model: Model, device: str, data: Path, work: Path, progress: Progress
) -> Any:
    """The trainer of a stage (mntp or supervised) over a random decoder; ``progress`` has a stage of its steps."""
    from searchapp.adapt.config import make_stage
    from searchapp.adapt.data import PairFile
    from searchapp.adapt.objectives.mntp import MntpObjective
    from searchapp.adapt.objectives.supervised import SupervisedObjective
    from searchapp.adapt.trainer import StageTrainer, trainer_arguments

    stage: Any = make_stage(kind, options)
    arguments = trainer_arguments(stage.training, work / "checkpoints", work / "tensorboard")
    if kind == "mntp":
        task: Any = MntpObjective(trainee(model, device, stage), stage, [data], work)
    else:
        task = SupervisedObjective(trainee(model, device, stage), stage, [PairFile(data)], work)
    return StageTrainer(task, arguments, progress)


def chosen_type(manifest: Any) -> str:
    """The reduction and the FAISS type of an index, as one factory string."""
    reduced = f"PCA{manifest.reduction.dim}," if manifest.reduction else ""
    return f"{reduced}{manifest.ann.factory}"


def token_counts(made: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text as the encoder sees it."""
    return np.array([len(item.ids) for item in made._tokenize(texts, [None] * len(texts))])
