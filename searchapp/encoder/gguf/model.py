"""The model of a GGUF file: its configuration, and its weights turned into numbers, as transformers names them.

transformers has a reader too (``gguf_file=``). It is not used: it takes the vocabulary apart in Python for
configuration, tokenizer and weights each, which takes many times as long as all of this, and it drops what a file says
of how RoPE is scaled, heads are sized and text is split (docs/log.md).
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.encoder.gguf.header import Header, Tensor, read_header
from searchapp.errors import ModelError

if TYPE_CHECKING:
    import torch

FAMILIES = {"llama": "LlamaModel", "qwen2": "Qwen2Model", "qwen3": "Qwen3Model"}  # by general.architecture
SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding"}  # tokens, by our names and the file's
PLAIN = {"F32": "<f4", "F16": "<f2"}  # tensor types that are numbers, not blocks
CHUNK = 1 << 22  # numbers turned into float32 at once
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER = {"token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight"}
HEAD, SCALES = "output.weight", "rope_freqs.weight"  # read apart: the decoder has no place for them
# Llama 3.1 and 3.2 scale RoPE by one formula with two factors; the file holds what it gives, one number a frequency.
LLAMA_3 = tuple(
    {"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    for factor in (8.0, 32.0)
)


def raw_config(path: Path) -> dict[str, Any]:
    """What config.json would hold. Raises ModelError for a family, or a way to place tokens, that is not known."""
    header = read_header(path)
    family = header.family
    if family not in FAMILIES:
        raise ModelError(
            f"{path} holds a {family!r} model; of GGUF, {', '.join(FAMILIES)} are read: give the model's safetensors"
        )
    if header.get("expert_count", 0):
        raise ModelError(f"{path} holds a mixture of experts, which is not read from GGUF: give its safetensors")
    heads, hidden = header.need("attention.head_count"), header.need("embedding_length")
    size = header.get("attention.key_length") or hidden // heads
    if header.get("attention.value_length", size) != size:
        raise ModelError(f"{path} has keys of {size} numbers and values of others; give the model's safetensors")
    rotated = header.get("rope.dimension_count", size)
    if rotated != size:
        raise ModelError(f"{path} turns {rotated} of {size} numbers of a head by RoPE; expected all: give safetensors")
    embedding = header.tensors.get("token_embd.weight")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if embedding is None or not tokens:
        raise ModelError(f"{path} has no {'token_embd.weight' if embedding is None else 'tokens'}; give a whole model")
    if len(tokens) > embedding.shape[0]:
        raise ModelError(f"{path} has {len(tokens):,} tokens and an embedding of {embedding.shape[0]:,}; convert again")
    special = {name: header.metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in SPECIAL.items()}
    config = {
        "model_type": family,
        "hidden_size": hidden,
        "num_hidden_layers": header.need("block_count"),
        "intermediate_size": header.need("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": header.get("attention.head_count_kv", heads),
        "head_dim": size,
        "max_position_embeddings": header.need("context_length"),
        "rms_norm_eps": header.need("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rope(header, size),
        "vocab_size": embedding.shape[0],
        "tie_word_embeddings": HEAD not in header.tensors,
        **{f"{name}_token_id": value for name, value in special.items()},
    }
    if family == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in header.tensors
        config["mlp_bias"] = "blk.0.ffn_up.bias" in header.tensors
    return config


def _rope(header: Header, size: int) -> dict[str, Any]:
    """The parameters of RoPE. Raises ModelError for a scaling that cannot be told from the file."""
    base = float(header.get("rope.freq_base", 10_000.0))
    plain = {"rope_type": "default", "rope_theta": base}
    kind, factor = header.get("rope.scaling.type", "none"), float(header.get("rope.scaling.factor", 1.0))
    if SCALES in header.tensors:
        stored = read_tensor(header, SCALES)
        for one in LLAMA_3:
            if stored.shape == (size // 2,) and np.allclose(_llama_3_scales(base, size, one), stored, rtol=1e-4):
                return {**plain, "rope_type": "llama3", **one}
        raise ModelError(
            f"{header.path} scales RoPE in a way that its numbers do not tell ({SCALES}); give the model's safetensors"
        )
    if kind == "linear" and factor != 1.0:
        return {**plain, "rope_type": "linear", "factor": factor}
    if kind not in ("none", "linear"):
        raise ModelError(f"{header.path} scales RoPE by {kind!r}, which is not read from GGUF; give its safetensors")
    return plain


def _llama_3_scales(base: float, size: int, one: dict[str, float]) -> np.ndarray:
    """By what each frequency is divided, (size / 2,): the formula of Llama 3.1's report, as its release has it."""
    wave = 2 * np.pi * base ** (np.arange(0, size, 2) / size)
    low, high, factor = one["low_freq_factor"], one["high_freq_factor"], one["factor"]
    smooth = (one["original_max_position_embeddings"] / wave - low) / (high - low)
    return 1.0 / np.clip((1 - smooth) / factor + smooth, 1 / factor, 1.0)


def decoder(config: Any) -> Any:
    """The class in transformers that a file's weights are for."""
    import transformers

    return getattr(transformers, FAMILIES[config.model_type])


def read_tensor(header: Header, name: str) -> np.ndarray:
    """A small tensor as float32."""
    import torch

    return _filled(header, header.tensors[name], torch.float32).numpy()


def _filled(header: Header, tensor: Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in one precision, made from the file some rows at a time."""
    import gguf
    import torch

    kind = gguf.GGMLQuantizationType(tensor.kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    *outer, width = tensor.shape
    if width % block:
        raise ModelError(f"{header.path} holds a tensor of {width} numbers a row in blocks of {block}; fetch it again")
    rows, stride = prod(outer), width // block * size
    raw = np.memmap(header.path, dtype=np.uint8, mode="r", offset=tensor.start, shape=(rows, stride))
    made = torch.empty((rows, width), dtype=dtype)
    step = max(1, CHUNK // width)
    for row in range(0, rows, step):
        part = np.array(raw[row : row + step])  # a copy: torch takes no array that cannot be written
        numbers = part.view(PLAIN[kind.name]) if kind.name in PLAIN else gguf.dequantize(part, kind)
        made[row : row + step] = torch.from_numpy(numbers)
    return made.reshape(tensor.shape)


def read_weights(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The decoder's weights by transformers' names. Raises ModelError for a tensor or a type that is not known.

    Files of family ``llama`` hold the rows of queries and keys in the order in which llama.cpp turns them: the two
    halves of a head interleaved. They are put back.
    """
    header = read_header(path)
    config = raw_config(path)
    names = {name: _place(header, name) for name in header.tensors if name not in (HEAD, SCALES)}
    _require_types(header)
    weights = {}
    for name, ours in names.items():
        made = _filled(header, header.tensors[name], dtype)
        if header.family == "llama" and (found := re.search(r"\.attn_([qk])\.", name)):
            heads = config["num_attention_heads" if found[1] == "q" else "num_key_value_heads"]
            made = _halves_apart(made, heads)
        weights[ours] = made
    return weights


def read_head(path: Path) -> torch.Tensor:
    """The language model's head (vocabulary, hidden) as float32, of a file whose head is not its embedding."""
    import torch

    header = read_header(path)
    _require_types(header)
    return _filled(header, header.tensors[HEAD], torch.float32)


def _halves_apart(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows (heads x size) from x0 y0 x1 y1 … of each head to x0 x1 … y0 y1 …."""
    return tensor.reshape(heads, -1, 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape).contiguous()


def _place(header: Header, name: str) -> str:
    """The name that transformers gives a tensor."""
    if name in OUTER:
        return OUTER[name]
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if found is None or found[2] not in LAYER:
        raise ModelError(
            f"{header.path} holds {name}, for which {header.family} has no place; it is another model than it says: "
            "give its safetensors"
        )
    return f"layers.{found[1]}.{LAYER[found[2]]}.{found[3]}"


def _require_types(header: Header) -> None:
    """Raise ModelError for a tensor type that the gguf package cannot turn into numbers."""
    import gguf

    for kind in {tensor.kind for tensor in header.tensors.values()}:
        known = gguf.GGMLQuantizationType(kind)
        if known.name in PLAIN:
            continue
        try:
            gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[known][1]), dtype=np.uint8), known)
        except NotImplementedError as error:
            raise ModelError(
                f"{header.path} holds tensors of type {known.name}, which the gguf package cannot turn into numbers; "
                "give a file in Q8_0, Q6_K, Q5_K, Q4_K or F16"
            ) from error
