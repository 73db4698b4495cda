"""The sizes of a checkpoint's decoder, from its config.json and the headers of its weights; no tensor is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp.encoder.json_files import read_json

HEADS = re.compile(
    r"(^|\.)(lm_head|embed_out|score|classifier|cls|pooler|rotary_emb|inv_freq|masked_bias|attn\.bias)\b"
)
OUTPUT = re.compile(r"(^|\.)(lm_head|embed_out)\.")  # what gives logits
LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
# a size → the names that families have for it
NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "groups": ("num_key_value_heads", "num_kv_heads"),
    "inner": ("moe_intermediate_size", "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "head_dim": ("head_dim",),
    "vocabulary": ("vocab_size",),
    "experts": ("num_experts_per_tok",),
}


@dataclass(frozen=True)
class Shape:
    """Sizes that decide how much memory a decoder takes.

    ``parameters`` are those that embedding loads, ``largest`` the numbers of its largest tensor, ``stored`` the bytes
    of a number in the files (the commonest). ``output`` are the parameters of a language model head of its own, 0 where
    it is the input embedding. ``heads`` x ``head_dim`` is the width of the queries, ``groups`` x ``head_dim`` of the
    keys and values; ``inner`` of the MLP, of all experts that a token goes through.
    """

    parameters: int
    largest: int
    stored: int
    output: int
    hidden: int
    layers: int
    heads: int
    groups: int
    head_dim: int
    inner: int
    vocabulary: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def linear(self) -> list[tuple[int, int]]:
        """Sides of the matrices inside the decoder's blocks: those that LoRA is put on."""
        return [
            (shape[0], shape[1])
            for name, shape in self.tensors
            if len(shape) == 2 and re.search(r"\.\d+\.", name) and "norm" not in name
        ]


def read_shape(directory: Path) -> Shape | None:
    """Read the sizes of a checkpoint; None where its files do not give them, and loading says what is wrong.

    Raises ModelError for a config.json that is not JSON.
    """
    if not (directory / "config.json").is_file():
        return None
    config = read_json(directory / "config.json")
    inner = config.get("text_config")
    sizes = _sizes(config | inner if isinstance(inner, dict) else config)
    files = sorted(path for path in directory.glob("*.safetensors") if not path.name.startswith("adapter_"))
    if sizes is None or not files or config.get("quantization_config"):
        return None
    try:
        found = [entry for path in files for entry in _entries(path)]
    except (OSError, ValueError, TypeError, KeyError, LookupError):
        return None
    kept = [(name, shape, size) for name, shape, size in found if not HEADS.search(name)]
    if not kept:
        return None
    counts = [math.prod(shape) for _, shape, _ in kept]
    weights: dict[int, int] = {}
    for count, (_, _, size) in zip(counts, kept, strict=True):
        weights[size] = weights.get(size, 0) + count
    tied = bool(config.get("tie_word_embeddings", False))
    return Shape(
        parameters=sum(counts),
        largest=max(counts),
        stored=max(weights, key=lambda size: weights[size]),
        output=0 if tied else sum(math.prod(shape) for name, shape, _ in found if OUTPUT.search(name)),
        tensors=tuple((name, shape) for name, shape, _ in kept),
        **sizes,
    )


def _sizes(config: Mapping[str, Any]) -> dict[str, int] | None:
    found = {size: _first(config, names) for size, names in NAMES.items()}
    hidden, layers, heads = found["hidden"], found["layers"], found["heads"]
    vocabulary = found["vocabulary"]
    if hidden is None or layers is None or heads is None or vocabulary is None:
        return None
    return {
        "hidden": hidden,
        "layers": layers,
        "heads": heads,
        "groups": found["groups"] or heads,
        "head_dim": found["head_dim"] or max(1, hidden // heads),
        "inner": (found["inner"] or 4 * hidden) * (found["experts"] or 1),
        "vocabulary": vocabulary,
    }


def _first(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _entries(path: Path) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Yield name, shape and bytes a number of each tensor, from the header of a safetensors file.

    Source of the layout: safetensors' README, section "Format". Raises ValueError for another kind of file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= LONGEST_HEADER:
            raise ValueError(f"{path} has no header of safetensors")
        header = json.loads(file.read(length))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape = tuple(int(side) for side in entry["shape"])
        begin, end = entry["data_offsets"]
        yield str(name), shape, max(1, (int(end) - int(begin)) // max(1, math.prod(shape)))
