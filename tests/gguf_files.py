"""GGUF files written for tests as llama.cpp's converter writes them: by the gguf package, from a checkpoint directory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FAMILY = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}


def interleaved(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys as llama.cpp turns them: x0 y0 x1 y1 … of each head, from x0 x1 … y0 y1 …."""
    half = weights.shape[0] // heads // 2
    rows = [head * 2 * half + part * half + i for head in range(heads) for i in range(half) for part in (0, 1)]
    return weights[rows]


def k_blocks(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Random blocks of Q4_K, which the package cannot make from numbers: two small scales, then any bytes."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (shape[0], shape[1] // 256, 144), dtype=np.uint8)
    blocks[..., :4] = np.frombuffer(np.array([2e-4, 1e-3], dtype="<f2").tobytes(), dtype=np.uint8)
    return blocks.reshape(shape[0], -1)


def write_gguf(path: Path, checkpoint: Path, kind: str = "F32", *, pre: str = "gpt-2", prefixed: bool = True, reference: Path | None = None,
               leave: tuple[str, ...] = (), extra: dict | None = None, **metadata) -> Path:  # fmt: skip
    """Write a checkpoint as GGUF, matrices in type ``kind``; ``metadata`` are values of the architecture's own.

    ``reference`` gets the same numbers, after they went through that type, as a float32 checkpoint; ``leave`` names
    metadata that is left out, ``extra`` tensors to add.
    """
    import gguf
    from safetensors.numpy import save_file
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    family = FAMILY[config.model_type]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(path, family)
    values = {
        "block_count": config.num_hidden_layers, "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head_dim, "attention.value_length": head_dim,
        **({"rope.dimension_count": head_dim} if family == "llama" else {}),
    }  # fmt: skip
    for name, value in {**values, **{k.replace("__", "."): v for k, v in metadata.items()}}.items():
        if name not in leave:
            {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}[type(value)](
                f"{family}.{name}", value
            )
    if "rope.freq_base" not in leave:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    add_tokenizer(writer, tokenizer, pre, config.vocab_size)
    writer.add_add_space_prefix(prefixed)
    names, made = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.upper()], config.num_hidden_layers), {}
    for number, (name, tensor) in enumerate(sorted(_tensors(checkpoint).items())):
        stem, _, suffix = name.rpartition(".")
        there = f"{names.get_name(stem)}.{suffix}"
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(stem.split(".")[-1])
        turned = family == "llama" and heads is not None
        stored = interleaved(tensor, heads) if turned else tensor
        if tensor.ndim == 1 or kind == "F32":
            writer.add_tensor(there, stored)
            made[name] = tensor
            continue
        type_ = gguf.GGMLQuantizationType[kind]
        blocks = k_blocks(tensor.shape, number) if kind == "Q4_K" else gguf.quantize(stored, type_)
        writer.add_tensor(there, blocks, raw_dtype=type_)
        back = blocks.astype(np.float32) if kind == "F16" else gguf.dequantize(blocks, type_)
        made[name] = np.empty_like(tensor)
        made[name][interleaved(np.arange(len(tensor)), heads) if turned else np.arange(len(tensor))] = back
    for name, value in (extra or {}).items():
        writer.add_tensor(name, value)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    if reference is not None:
        config.save_pretrained(reference)
        tokenizer.save_pretrained(reference)
        save_file(made, reference / "model.safetensors", metadata={"format": "pt"})
    return path


def _tensors(checkpoint: Path) -> dict[str, np.ndarray]:
    from safetensors.torch import load_file as load

    found = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        found |= {name: tensor.float().numpy() for name, tensor in load(file).items()}
    return found


def add_tokenizer(writer, tokenizer, pre: str, size: int) -> None:
    """Write a fast BPE tokenizer: byte-level with merges, else SentencePiece's, with scores instead."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary, merges = state["model"]["vocab"], [tuple(pair) for pair in state["model"]["merges"]]
    added = {item["id"]: item for item in state["added_tokens"]}
    tokens = sorted(
        {**vocabulary, **{item["content"]: item["id"] for item in added.values()}}.items(), key=lambda t: t[1]
    )
    names = [token for token, _ in tokens] + [f"[PAD{number}]" for number in range(len(tokens), size)]
    kinds = [(3 if added[n]["special"] else 4) if n in added else 1 for n in range(len(tokens))]
    kinds = [6 if name.startswith("<0x") else kind for name, kind in zip(names, kinds, strict=False)]
    kinds += [5] * (size - len(kinds))
    sentencepiece = state["model"]["byte_fallback"]
    writer.add_tokenizer_model("llama" if sentencepiece else "gpt2")
    writer.add_token_list(names)
    writer.add_token_types(kinds)
    if sentencepiece:
        rank = {one + two: -float(number) for number, (one, two) in reversed([*enumerate(merges)])}
        writer.add_token_scores([rank.get(name, -1e9) for name in names])
    else:
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([" ".join(pair) for pair in merges])
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id), (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id), (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):  # fmt: skip
        if number is not None:
            add(number)
    writer.add_add_bos_token(tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id])
