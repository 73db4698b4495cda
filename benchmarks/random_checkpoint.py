"""Make a checkpoint of random weights in the shape of a published model, in shards, one shard in memory at a time.

    python -m benchmarks.random_checkpoint 8B --to DIR [--dtype bfloat16] [--shard-gb 1]

For measuring memory and speed where the published weights are not at hand: the sizes are theirs, the vectors mean
nothing. The tokenizer is a small one of bytes, so that any text can be encoded.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from benchmarks.gpu.shapes import FULL, TINY, Model

SHAPES = {model.name: model for model in FULL.models} | {"tiny": TINY.models[0]}
SPREAD = 0.02  # of the weights, as Llama is initialised
DTYPES = ("bfloat16", "float32")


def configuration(model: Model) -> LlamaConfig:
    """The configuration of a Llama of this shape."""
    return LlamaConfig(
        hidden_size=model.hidden,
        intermediate_size=model.inner,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.groups,
        vocab_size=model.vocabulary,
        rope_theta=model.theta,
        max_position_embeddings=4_096,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
    )


def shards(shapes: dict[str, torch.Size], size: int, limit: int) -> Iterator[dict[str, torch.Size]]:
    """Tensors of ``size`` bytes a number, in parts of at most ``limit`` bytes, or of one tensor that is larger."""
    part: dict[str, torch.Size] = {}
    for name, shape in shapes.items():
        if part and sum(item.numel() for item in part.values()) * size + shape.numel() * size > limit:
            yield part
            part = {}
        part[name] = shape
    yield part


def fill(shape: torch.Size, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """Random numbers; ones for the scale of a norm."""
    tensor = torch.empty(shape, dtype=dtype)
    return tensor.fill_(1) if len(shape) == 1 else tensor.normal_(0, SPREAD, generator=generator)


def small_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and the two ends of a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    begin, end = "<s>", "</s>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=begin, eos_token=end)


def write(model: Model, to: Path, *, dtype: torch.dtype, limit: int, seed: int = 0) -> dict[str, Any]:
    """Write the checkpoint; return its parameters, files and bytes."""
    to.mkdir(parents=True, exist_ok=True)
    config = configuration(model)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    shapes = {name: parameter.shape for name, parameter in skeleton.named_parameters()}
    parts = list(shards(shapes, dtype.itemsize, limit))
    generator = torch.Generator().manual_seed(seed)
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        name = f"model-{number:05}-of-{len(parts):05}.safetensors"
        tensors = {key: fill(shape, dtype, generator) for key, shape in part.items()}
        save_file(tensors, to / name, metadata={"format": "pt"})
        places |= dict.fromkeys(part, name)
    count = sum(shape.numel() for shape in shapes.values())
    index = {"metadata": {"total_size": count * dtype.itemsize}, "weight_map": places}
    (to / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    config.architectures, config.dtype = ["LlamaForCausalLM"], dtype
    config.save_pretrained(to)
    small_tokenizer().save_pretrained(to)
    return {"parameters": count, "files": len(parts), "bytes": count * dtype.itemsize}


def main() -> None:
    """Write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--shard-gb", type=float, default=1.0)
    options = parser.parse_args()
    began = time.perf_counter()
    made = write(
        SHAPES[options.shape], options.to, dtype=getattr(torch, options.dtype), limit=int(options.shard_gb * 1e9)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{made['parameters']:,} parameters, {made['bytes'] / 1e9:.1f} GB in {made['files']} files")
    print(f"{time.perf_counter() - began:.0f} s, peak memory {peak:.1f} GB")


if __name__ == "__main__":
    main()
