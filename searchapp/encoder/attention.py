"""Attention over texts laid end to end: nothing is padded, and no text sees its neighbour.

With ``is_causal=False`` transformers (5.23) does not keep texts apart by their ``position_ids``, in sdpa, eager or
flex: one text sees the next, silently. So the borders go to an attention function of our own, registered through
transformers' public interface. On CUDA it is torch's variable-length flash kernel, on a CPU one SDPA call for each run
of texts of equal length. Called without borders it is transformers' sdpa, mask and all, so one model serves both ways.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.errors import ModelError

if TYPE_CHECKING:
    import torch

NAME = "searchapp_packed"
UNHEARD = ("softcap", "s_aux", "position_bias")  # what some families pass to attention and this kernel does not know


@dataclass(frozen=True)
class Borders:
    """Where the texts of a packed batch begin and end.

    ``runs`` are (first position, texts, tokens of each) for neighbours of equal length; ``cumulative`` int32 (n + 1,)
    on the model's device, each text's first position and the end; ``longest`` is the longest text in tokens.
    """

    runs: tuple[tuple[int, int, int], ...]
    cumulative: torch.Tensor
    longest: int


def borders(lengths: Sequence[int]) -> Borders:
    """Borders of texts of these many tokens (all above 0), in this order, on the CPU."""
    import torch

    sizes = np.asarray(lengths, dtype=np.int64)
    cumulative = np.concatenate([[0], sizes.cumsum()])
    changes = np.flatnonzero(np.diff(sizes, prepend=-1, append=-1))
    runs = tuple(
        (int(cumulative[begin]), int(end - begin), int(sizes[begin]))
        for begin, end in zip(changes[:-1], changes[1:], strict=True)
    )
    return Borders(runs, torch.from_numpy(cumulative.astype(np.int32)), int(sizes.max()))


@cache
def register() -> str:
    """Make the kernel known to transformers, once; return the name to ask for it by."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    return NAME


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    borders: Borders | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each text: query (1, heads, T, d), key and value (1, kv heads, T, d) → (1, T, heads, d).

    Raises ModelError for what the kernel cannot honour: a soft cap, attention sinks, a window shorter than a text.
    """
    if borders is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return out
    if asked := [name for name in UNHEARD if options.get(name) is not None]:
        raise ModelError(f"packed attention does not know {asked[0]}; use --attention sdpa or eager")
    if (window := options.get("sliding_window")) is not None and window < borders.longest:
        raise ModelError(f"packed attention has no window of {window} tokens; use --attention sdpa or eager")
    if query.is_cuda:
        return _varlen(query[0], key[0], value[0], borders, scaling)[None], None
    return _by_run(query[0], key[0], value[0], borders, scaling)[None], None


def _by_run(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, borders: Borders, scaling: float | None
) -> torch.Tensor:
    import torch

    grouped = query.shape[0] != key.shape[0]
    out = query.new_empty(query.shape[1], query.shape[0], value.shape[-1])
    for start, texts, length in borders.runs:
        stop = start + texts * length
        q, k, v = (
            part[:, start:stop].view(len(part), texts, length, part.shape[2]).transpose(0, 1)
            for part in (query, key, value)
        )
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling, enable_gqa=grouped)
        out[start:stop] = attended.transpose(1, 2).flatten(0, 1)
    return out


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, borders: Borders, scaling: float | None
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # Before torch 2.12 there is no such flag; the flash kernel below takes grouped heads either way.
    known = inspect.signature(varlen_attn).parameters
    flags: dict[str, Any] = {"scale": scaling, **({"enable_gqa": True} if "enable_gqa" in known else {})}
    q, k, v = (part.transpose(0, 1) for part in (query, key, value))
    cumulative, longest = borders.cumulative, borders.longest
    out: Any = varlen_attn(q, k, v, cumulative, cumulative, longest, longest, **flags)
    states: torch.Tensor = out  # a tensor alone, as no log-sum-exp is asked for
    return states
