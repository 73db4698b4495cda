"""A Llama decoder run forward with every token seeing every other, in NumPy and float32.

Pre-normalised layers of grouped-query attention with rotary positions (Su et al. 2021, RoFormer, eq. 34; the two halves
of a head are the pairs, as Llama's checkpoints have them) and a gated MLP with SiLU (Shazeer 2020); norms by the root
mean square (Zhang and Sennrich 2019, eq. 4), and one more behind the last layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from searchapp.encoder.light.refusal import NotLightError
from searchapp.encoder.light.shape import LlamaShape
from searchapp.encoder.light.tensors import widen
from searchapp.encoder.light.threads import threads_for

ROOM = 1 << 24  # attention scores held at a time; a long text is gone through in blocks of its tokens
NORMS = ("input_layernorm", "post_attention_layernorm")
ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj")
Run = tuple[int, int, int]  # neighbouring sequences of one length: the first token, how many sequences, their length


@dataclass(frozen=True)
class Layer:
    """Matrices (out, in) as the checkpoint has them, those with one input joined to one."""

    attention_norm: np.ndarray
    attention: np.ndarray
    out: np.ndarray
    mlp_norm: np.ndarray
    gated: np.ndarray
    down: np.ndarray


class Llama:
    """The decoder over a checkpoint's tensors by name. Raises NotLightError where they are not those of the shape."""

    def __init__(self, config: LlamaShape, tensors: Mapping[str, np.ndarray]) -> None:
        self.config = config
        found = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
        expected = _expected(config)
        if len(found) < len(tensors) - ("lm_head.weight" in tensors) or set(found) != set(expected):
            raise NotLightError("its weights have other names than a Llama's")
        if any(found[name].shape != shape for name, shape in expected.items()):
            raise NotLightError("its weights have other shapes than its config.json asks for")
        self._embeddings = found["embed_tokens.weight"]  # left where it is: a query needs a few rows
        self._norm = widen(found["norm.weight"])
        self._layers = [_layer(found, f"layers.{number}.") for number in range(config.num_hidden_layers)]
        powers = np.arange(0, config.head, 2, dtype=np.float32) / np.float32(config.head)
        self._frequencies = np.float32(1) / np.float32(config.theta) ** powers

    def __call__(self, ids: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """Last hidden states float32 (tokens, width) of sequences laid end to end, which do not see one another."""
        states = widen(self._embeddings[ids])
        runs = _runs(lengths, ROOM // self.config.heads)
        cosines, sines = self._rotations(lengths)
        with (
            threads_for(2.0 * self.config.parameters * len(ids)),
            np.errstate(over="ignore"),  # of exp in the gate, where the value behind it is 0
        ):
            for layer in self._layers:
                states += self._attend(layer, self._normed(states, layer.attention_norm), runs, cosines, sines)
                states += self._mlp(layer, self._normed(states, layer.mlp_norm))
        return self._normed(states, self._norm)

    def _normed(self, states: np.ndarray, weight: np.ndarray) -> np.ndarray:
        squares = np.einsum("ij,ij->i", states, states) / np.float32(states.shape[1])
        normed: np.ndarray = states * (np.float32(1) / np.sqrt(squares + np.float32(self.config.epsilon)))[:, None]
        normed *= weight
        return normed

    def _rotations(self, lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Cosine and sine of each token's angles, (tokens, 1, head / 2)."""
        angles = np.arange(max(lengths), dtype=np.float32)[:, None] * self._frequencies
        if len(lengths) > 1:
            angles = angles[np.concatenate([np.arange(length) for length in lengths])]
        return np.cos(angles)[:, None], np.sin(angles)[:, None]

    def _attend(
        self, layer: Layer, normed: np.ndarray, runs: Sequence[Run], cosines: np.ndarray, sines: np.ndarray
    ) -> np.ndarray:
        config = self.config
        heads, shared = config.heads, config.shared
        joined = (normed @ layer.attention.T).reshape(len(normed), heads + 2 * shared, config.head)
        turned = joined[:, : heads + shared]
        left, right = turned[..., : config.head // 2], turned[..., config.head // 2 :]
        low, high = left * cosines - right * sines, right * cosines + left * sines
        left[:], right[:] = low, high
        turned[:, :heads] *= np.float32(config.head**-0.5)
        mixed = np.empty((len(normed), heads, config.head), dtype=np.float32)
        for begin, count, length in runs:
            place = slice(begin, begin + count * length)
            shape = (count, length, -1, config.head)
            _mix(joined[place].reshape(shape), mixed[place].reshape(shape), heads, shared)
        out: np.ndarray = mixed.reshape(len(normed), -1) @ layer.out.T
        return out

    @staticmethod
    def _mlp(layer: Layer, normed: np.ndarray) -> np.ndarray:
        both = normed @ layer.gated.T
        gate, up = np.split(both, 2, axis=1)
        away = np.negative(gate)
        np.exp(away, out=away)
        away += 1
        np.divide(gate, away, out=away)
        away *= up
        out: np.ndarray = away @ layer.down.T
        return out


def _runs(lengths: Sequence[int], most: int) -> list[Run]:
    """Neighbours of one length together, so that one operation does for all of them what it would do for each.

    At most ``most`` products of positions in a run, unless one sequence has more.
    """
    runs: list[Run] = []
    begin = 0
    for length, neighbours in groupby(lengths):
        left = sum(1 for _ in neighbours)
        while left:
            count = max(1, min(left, most // length**2))
            runs.append((begin, count, length))
            begin += count * length
            left -= count
    return runs


def _mix(joined: np.ndarray, mixed: np.ndarray, heads: int, shared: int) -> None:
    """Softmax attention within each of ``count`` sequences of one length.

    ``joined`` (count, length, heads + 2 shared, head) → ``mixed`` (count, length, heads, head).
    """
    count, length, _, size = joined.shape
    keys = joined[:, :, heads : heads + shared].transpose(0, 2, 3, 1)[:, :, None]  # (count, shared, 1, head, length)
    values = joined[:, :, heads + shared :].transpose(0, 2, 1, 3)[:, :, None]
    step = length if count > 1 else max(1, ROOM // (heads * length))
    for begin in range(0, length, step):
        asking = joined[:, begin : begin + step, :heads]
        grouped = asking.reshape(count, -1, shared, heads // shared, size).transpose(0, 2, 3, 1, 4)
        scores = grouped @ keys  # (count, shared, heads / shared, asking, length)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        found = (scores @ values).transpose(0, 3, 1, 2, 4)
        mixed[:, begin : begin + step] = found.reshape(count, -1, heads, size)


def _layer(found: Mapping[str, np.ndarray], prefix: str) -> Layer:
    def joined(names: Sequence[str]) -> np.ndarray:
        return np.concatenate([widen(found[f"{prefix}{name}.weight"]) for name in names])

    before, behind = NORMS
    return Layer(
        joined([before]), joined(ATTENTION), joined(["self_attn.o_proj"]),
        joined([behind]), joined(MLP), joined(["mlp.down_proj"]),
    )  # fmt: skip


def _expected(config: LlamaShape) -> dict[str, tuple[int, ...]]:
    """The name and shape of every weight of the decoder."""
    width, inner = config.hidden_size, config.intermediate_size
    own, shared = config.heads * config.head, config.shared * config.head
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (own, width), "self_attn.k_proj": (shared, width), "self_attn.v_proj": (shared, width),
        "self_attn.o_proj": (width, own), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner), **{name: (width,) for name in NORMS},
    }  # fmt: skip
    layers = {
        f"layers.{number}.{name}.weight": shape
        for number in range(config.num_hidden_layers)
        for name, shape in layer.items()
    }
    return {"embed_tokens.weight": (config.vocab_size, width), "norm.weight": (width,), **layers}
