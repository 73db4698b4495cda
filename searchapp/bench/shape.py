"""A decoder of a given shape with random weights, to measure speed where no checkpoint is at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

from searchapp.encoder.checkpoint import BUNDLED
from searchapp.encoder.settings import Settings
from searchapp.encoder.template import Template
from searchapp.errors import SearchAppError

HEAD = 64  # size of an attention head where the shape names no heads


def write_shape(shape: str, folder: Path, longest: int) -> str:
    """Write a random Llama of the shape ``hidden,layers[,heads[,kv heads[,mlp]]]`` to a folder; return its name.

    Tokenizer and vocabulary are the bundled model's. Raises SearchAppError for a shape that is none.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    try:
        numbers = [int(part) for part in shape.split(",")]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 5 or min(numbers) < 1:
        raise SearchAppError(
            f"--shape {shape!r} is no shape; expected hidden,layers[,heads[,kv heads[,mlp]]], e.g. 384,6"
        )
    hidden, layers = numbers[:2]
    heads = numbers[2] if len(numbers) > 2 else max(1, hidden // HEAD)
    grouped = numbers[3] if len(numbers) > 3 else heads
    inner = numbers[4] if len(numbers) > 4 else max(HEAD, round(hidden * 8 / 3 / HEAD) * HEAD)
    if hidden % heads or heads % grouped:
        raise SearchAppError(
            f"--shape {shape}: {heads} heads do not divide {hidden}, or {grouped} do not divide {heads}"
        )
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    config = LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=grouped,
        intermediate_size=inner, vocab_size=len(tokenizer), max_position_embeddings=max(512, longest),
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    config.is_causal = False
    torch.manual_seed(0)
    model = LlamaModel(config)
    model.save_pretrained(folder)
    for file in BUNDLED.glob("tokenizer*"):
        shutil.copy(file, folder / file.name)
    Settings(span="offsets", template=Template()).save(folder)
    million = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return f"{million:.0f}M random (hidden {hidden}, {layers} layers, {heads}/{grouped} heads, MLP {inner})"
