"""The layers of Llama's kind in training: few large products and no work that gives nothing.

Attention and MLP of a layer keep their modules and names; only how a packed batch goes through them is ours
(``kernels``). Query, key and value are one product, gate and up another, the adapters are added in place, attention
runs by texts of equal length, and of the last layer only the rows that are read go past the attention. The weights of
joined layers are views of one matrix, so that nothing is held twice. A batch that is not packed goes the old way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from searchapp.adapt.kernels import Linears, adapted, gated, rms_norm, rotate
from searchapp.encoder.attention import PackedLengths, attend_by_run

# Decoder layers that compute what Llama's does: norm, attention with rotary positions, norm, SwiGLU.
FAMILIES = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")
ADAPTER = "default"  # peft's name of the one that is trained


def fuse(decoder: Any) -> int:
    """Let the layers of a decoder with LoRA on it take packed batches in our own way; return how many do.

    A layer of another family, or with anything but frozen linear layers with plain adapters, stays as it is.
    """
    layers = [module for module in decoder.modules() if type(module).__name__ in FAMILIES]
    if not layers or not all(_is_plain(layer) for layer in layers):
        return 0
    for layer in layers:
        fused = _FusedLayer(layer, last=layer is layers[-1])
        layer.forward = partial(fused, layer.forward)
    return len(layers)


def _is_plain(layer: Any) -> bool:
    from peft.tuners.lora.layer import Linear

    parts = [*_attention_linears(layer), *_mlp_linears(layer)]
    return (
        all(
            type(part) is Linear
            and type(part.base_layer) is nn.Linear
            and list(part.lora_A) == [ADAPTER]
            and not part.lora_variant
            and not part.lora_bias[ADAPTER]
            for part in parts
        )
        and isinstance(layer.mlp.act_fn, nn.SiLU | type(_silu()))
        and len({(part.base_layer.weight.dtype, part.scaling[ADAPTER]) for part in parts}) == 1
    )


def _silu() -> Any:
    from transformers.activations import ACT2FN

    return ACT2FN["silu"]


def _attention_linears(layer: Any) -> list[Any]:
    attention = layer.self_attn
    return [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]


def _mlp_linears(layer: Any) -> list[Any]:
    return [layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj]


class _Group:
    """Linear layers that read the same input: their joined frozen weights, and their adapters."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts
        self.linears = Linears(
            _joined([part.base_layer for part in parts], "weight"),
            _joined([part.base_layer for part in parts], "bias"),
            [part.base_layer.out_features for part in parts],
            float(parts[0].scaling[ADAPTER]),
            float(getattr(parts[0].lora_dropout[ADAPTER], "p", 0.0)),
        )

    @property
    def adapters(self) -> list[torch.Tensor]:
        return [part.lora_A[ADAPTER].weight for part in self._parts] + [
            part.lora_B[ADAPTER].weight for part in self._parts
        ]


def _joined(parts: Sequence[nn.Linear], name: str) -> Any:
    """The parameters of several layers, one below the other; the layers' own become views of them."""
    found = [getattr(part, name) for part in parts]
    if any(item is None for item in found):
        if all(item is None for item in found):
            return None
        found = [item if item is not None else _zeros(part) for item, part in zip(found, parts, strict=True)]
        return torch.cat(found).detach()
    if len(found) == 1:
        return found[0].detach()
    whole = torch.cat([item.detach() for item in found])
    for item, own in zip(found, torch.split(whole, [len(item) for item in found]), strict=True):
        item.data = own
    return whole


def _zeros(part: nn.Linear) -> torch.Tensor:
    return part.weight.new_zeros(part.out_features)


class _FusedLayer:
    """One layer; called with the module's own way forward, which it takes for what is not packed."""

    def __init__(self, layer: Any, *, last: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._layer, self._last = layer, last
        self._reads = _Group([attention.q_proj, attention.k_proj, attention.v_proj])
        self._writes = _Group([attention.o_proj])
        self._opens = _Group([mlp.gate_proj, mlp.up_proj])
        self._closes = _Group([mlp.down_proj])

    def __call__(
        self,
        plain: Any,
        hidden_states: torch.Tensor,
        *given: Any,
        packed_lengths: PackedLengths | None = None,
        rows: torch.Tensor | None = None,
        **options: Any,
    ) -> Any:
        if packed_lengths is None:
            return plain(hidden_states, *given, **options)
        layer = self._layer
        training = bool(layer.training)
        states = hidden_states[0]
        cos, sin = (part[0, :, None, : part.shape[-1] // 2] for part in options["position_embeddings"])
        normed = rms_norm(states, layer.input_layernorm.weight, _eps(layer.input_layernorm))
        made = adapted(normed, self._reads.linears, self._reads.adapters, training=training)
        seen = self._attend(made, cos, sin, packed_lengths, training)
        if self._last and rows is not None:
            seen, states = seen[rows], states[rows]
        states = adapted(seen, self._writes.linears, self._writes.adapters, residual=states, training=training)
        normed = rms_norm(states, layer.post_attention_layernorm.weight, _eps(layer.post_attention_layernorm))
        opened = adapted(normed, self._opens.linears, self._opens.adapters, training=training)
        states = gated(opened, self._closes.linears, self._closes.adapters, residual=states, training=training)
        return states[None]

    def _attend(
        self, made: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, lengths: PackedLengths, training: bool
    ) -> torch.Tensor:
        """Attention of the joined projections (tokens, …) → (tokens, heads * dim)."""
        attention = self._layer.self_attn
        wide = attention.head_dim
        sizes = [size // wide for size in self._reads.linears.sizes]
        states = made.view(len(made), -1, wide)
        if hasattr(attention, "q_norm"):
            query, key, value = torch.split(states, sizes, 1)
            states = torch.cat([attention.q_norm(query), attention.k_norm(key), value], 1)
        states = rotate(states, cos.to(states.dtype), sin.to(states.dtype), sizes[0] + sizes[1])
        query, key, value = (part.transpose(0, 1) for part in torch.split(states, sizes, 1))
        dropout = attention.attention_dropout if training else 0.0
        return attend_by_run(query, key, value, lengths, attention.scaling, dropout).flatten(1)


def _eps(norm: Any) -> float:
    return float(norm.variance_epsilon)
