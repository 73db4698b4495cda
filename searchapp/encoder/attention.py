"""Attention over texts laid end to end: nothing is padded, and no text sees its neighbour.

With ``is_causal=False`` transformers (5.23) does not keep texts apart by their ``position_ids``, in sdpa, eager or
flex: one text sees the next, silently. So the lengths of the texts go to an attention function of our own, registered
through transformers' public interface. On CUDA it is torch's variable-length flash kernel, on a CPU one SDPA call for
each run of texts of equal length. Called without lengths it is transformers' sdpa, mask and all, so that one model
serves packed and padded batches.

A batch of three texts, of 3, 3 and 2 tokens::

    position      0 1 2 3 4 5 6 7
    text          0 0 0 1 1 1 2 2
    position_ids  0 1 2 0 1 2 0 1
    cu_seqlens    0     3     6   8       where each text begins, and the end
    runs          (0, 2, 3) (6, 1, 2)     (first position, texts, tokens of each)
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
UNSUPPORTED = (
    "softcap",
    "s_aux",
    "position_bias",
)  # what some families pass to attention and this kernel does not know


@dataclass(frozen=True)
class PackedLengths:
    """Where the texts of a packed batch begin and end, under FlashAttention's names.

    ``runs`` are (first position, texts, tokens of each) for neighbours of equal length. ``cu_seqlens`` int32 (n + 1,),
    on the model's device, are each text's first position and the end. ``max_seqlen`` is the longest text in tokens.
    """

    runs: tuple[tuple[int, int, int], ...]
    cu_seqlens: torch.Tensor
    max_seqlen: int


def packed_lengths(lengths: Sequence[int]) -> PackedLengths:
    """Lay texts of these many tokens (all above 0) end to end; the result is on the CPU."""
    import torch

    sizes = np.asarray(lengths, dtype=np.int64)
    cumulative = np.concatenate([[0], sizes.cumsum()])
    changes = np.flatnonzero(np.diff(sizes, prepend=-1, append=-1))
    runs = tuple(
        (int(cumulative[begin]), int(end - begin), int(sizes[begin]))
        for begin, end in zip(changes[:-1], changes[1:], strict=True)
    )
    return PackedLengths(runs, torch.from_numpy(cumulative.astype(np.int32)), int(sizes.max()))


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
    packed_lengths: PackedLengths | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each text: query (1, heads, T, d), key and value (1, kv heads, T, d) → (1, T, heads, d).

    Raises ModelError for what the kernel cannot honour: a soft cap, attention sinks, a window shorter than a text; on
    CUDA dropout too.
    """
    if packed_lengths is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **options
        )
        return out
    if asked := [name for name in UNSUPPORTED if options.get(name) is not None]:
        raise ModelError(f"packed attention does not know {asked[0]}; use --attention sdpa or eager")
    if (window := options.get("sliding_window")) is not None and window < packed_lengths.max_seqlen:
        raise ModelError(f"packed attention has no window of {window} tokens; use --attention sdpa or eager")
    if query.is_cuda:
        if dropout:
            raise ModelError("packed attention has no dropout on CUDA; use --attention sdpa or eager")
        return _varlen(query[0], key[0], value[0], packed_lengths, scaling)[None], None
    return attend_by_run(query[0], key[0], value[0], packed_lengths, scaling, dropout)[None], None


def attend_by_run(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: PackedLengths,
    scaling: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """One SDPA call for each run of equal texts: query (heads, T, d), key and value alike → (T, heads, d).

    Split and joined, not written into place: of those autograd would copy the whole batch for every run.
    """
    import torch

    grouped = query.shape[0] != key.shape[0]
    sizes = [texts * length for _, texts, length in lengths.runs]
    made = []
    for parts, (_, texts, length) in zip(
        zip(*(torch.split(part, sizes, 1) for part in (query, key, value)), strict=True), lengths.runs, strict=True
    ):
        q, k, v = (part.unflatten(1, (texts, length)).transpose(0, 1) for part in parts)
        attended = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, enable_gqa=grouped
        )
        made.append(attended.transpose(1, 2).flatten(0, 1))
    return made[0] if len(made) == 1 else torch.cat(made)


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: PackedLengths, scaling: float | None
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # Before torch 2.12 there is no such flag; the flash kernel below takes grouped heads either way.
    known = inspect.signature(varlen_attn).parameters
    flags: dict[str, Any] = {"scale": scaling, **({"enable_gqa": True} if "enable_gqa" in known else {})}
    q, k, v = (part.transpose(0, 1) for part in (query, key, value))
    cu_seqlens, longest = lengths.cu_seqlens, lengths.max_seqlen
    out: Any = varlen_attn(q, k, v, cu_seqlens, cu_seqlens, longest, longest, **flags)
    states: torch.Tensor = out  # a tensor alone, as no log-sum-exp is asked for
    return states
