"""One layer's attention over a packed batch, kernel beside kernel: ours, SDPA on padded texts, flex with a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import internals
from benchmarks.gpu.machine import TIMED, seconds
from benchmarks.gpu.record import Figures

TOKENS = {"cuda": 16_384, "cpu": 512}  # of a batch
# torch.compile's backend; a CPU would compile for a minute, and takes the same graphs uncompiled.
BACKENDS = {"cuda": "inductor", "cpu": "eager"}
CLOSE = 0.03  # by bfloat16 outputs of size 1
Attention = Callable[[], torch.Tensor]  # outputs (tokens, heads, size of a head)


def kernels(config: Any, counts: np.ndarray, device: str) -> dict[str, Callable[[], Figures]]:
    """A job for each kernel, over as many of the texts as make a batch; all see the same numbers."""
    taken = max(1, int(np.searchsorted(np.cumsum(counts), TOKENS[device], side="right")))
    sizes = np.sort(counts[:taken])[::-1].copy()
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    width = config.hidden_size // heads
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(1, number, int(sizes.sum()), width, device=device).bfloat16() for number in (heads, groups, groups)
    )
    made = {"packed": packed, "SDPA, padded": padded, "flex": flex}
    return {name: partial(_timed, make, query, key, value, sizes, device) for name, make in made.items()}


def _timed(
    make: Callable[..., Attention], query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sizes: np.ndarray,
    device: str,
) -> Figures:  # fmt: skip
    with torch.inference_mode():
        expected = packed(query, key, value, sizes)()
        run = make(query, key, value, sizes)
        first = seconds(run, device)
        furthest = float((run().float() - expected.float()).abs().max())
        took = seconds(run, device, TIMED)
    return {
        "milliseconds": 1e3 * took,
        "tokens": sizes.sum(),
        "texts": len(sizes),
        "first_call_seconds": first,
        "furthest_from_packed": furthest,
        "agrees": furthest <= CLOSE,
    }


def packed(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sizes: np.ndarray) -> Attention:
    """Ours: torch's varlen kernel on a GPU."""
    packing = internals.packed_lengths(sizes.tolist())
    packing = replace(packing, cu_seqlens=packing.cu_seqlens.to(query.device))
    return lambda: internals.attend(torch.nn.Module(), query, key, value, None, packed_lengths=packing)[0][0]


def padded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sizes: np.ndarray) -> Attention:
    """SDPA over texts padded to the longest, with a mask; laying them out is not in the time."""
    places = torch.zeros(len(sizes), int(sizes.max()), dtype=torch.bool)
    for row, size in enumerate(sizes.tolist()):
        places[row, :size] = True
    places = places.to(query.device)

    def spread(packed: torch.Tensor) -> torch.Tensor:
        out = packed.new_zeros(*places.shape, packed.shape[1], packed.shape[3])
        out[places] = packed[0].transpose(0, 1)
        return out.transpose(1, 2)

    q, k, v = map(spread, (query, key, value))
    mask = places[:, None, None]
    return lambda: torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, enable_gqa=query.shape[1] != key.shape[1]
    ).transpose(1, 2)[places]


def flex(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sizes: np.ndarray) -> Attention:
    """flex_attention, compiled, with a block mask of the texts' numbers; making the mask is not in the time."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    texts = torch.repeat_interleave(torch.arange(len(sizes)), torch.from_numpy(sizes)).to(query.device)
    length = int(sizes.sum())
    mask = create_block_mask(
        lambda batch, head, row, column: texts[row] == texts[column], None, None, length, length, str(query.device)
    )
    attend = torch.compile(flex_attention, backend=BACKENDS[query.device.type])
    grouped = query.shape[1] != key.shape[1]
    return lambda: attend(query, key, value, block_mask=mask, enable_gqa=grouped)[0].transpose(0, 1)
