"""Bidirectional attention through transformers' own switch, and the probe that proves a loaded model has it.

``config.is_causal = False`` turns the mask off in most decoders, but not in all of them and not on every attention
kernel (some stay causal, without a word, when nothing is padded). So every loaded model is tested: a change of the last
token has to move the first position, with and without padding, and a change of padding must move nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

UNBOUNDED = 1 << 30  # a window no text reaches; layers that must have a window keep a number
PROBE_LENGTH = 24
MOVED = 1e-6  # relative to the largest number of the hidden state; a causal model moves by exactly 0
# By bytes of the precision, what rounding may move: one text beside others (the same products; only experts may be
# grouped otherwise), and packed against alone.
BESIDE, ALONE = {2: 1e-2, 4: 1e-5}, {2: 1e-1, 4: 1e-3}


def make_bidirectional(config: Any) -> None:
    """Set the switch and clear every sliding window of a configuration, in place, before the model is built.

    Layer types stay as they are (they choose the rotary base in Gemma 3, for one): only the window grows.
    """
    config.is_causal = False
    if getattr(config, "sliding_window", None) is not None:
        typed = any("sliding" in str(kind) for kind in getattr(config, "layer_types", None) or ())
        config.sliding_window = UNBOUNDED if typed else None
    if getattr(config, "use_sliding_window", None):
        config.use_sliding_window = bool(config.sliding_window)


def has_window(config: Any) -> bool:
    """Whether some layer of a model sees only so many neighbours."""
    if getattr(config, "use_sliding_window", None) is False:
        return False
    return any(bool(getattr(config, name, None)) for name in ("sliding_window", "local_attention"))


def is_bidirectional(config: Any) -> bool:
    """Whether transformers, and so sentence-transformers, runs a model bidirectionally by its configuration."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if getattr(config, "use_bidirectional_attention", None) or getattr(config, "is_causal", None) is False:
        return True
    if getattr(config, "is_decoder", False):
        return False
    family = config.model_type
    return family in MODEL_FOR_MASKED_LM_MAPPING_NAMES or family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def pad_id(config: Any) -> int:
    """A token to pad with that the model has a row for: its own, or the first where config.json names none or -1."""
    found = getattr(config, "pad_token_id", None)
    return found if isinstance(found, int) and 0 <= found < config.vocab_size else 0


def bidirectional_fault(model: Any, *, vocabulary: int, pad: int, reach: int = PROBE_LENGTH) -> str | None:
    """Probe a loaded model; return what is wrong with its attention as a phrase, or None if it is bidirectional.

    ``reach`` is how many positions the first one has to see, for models whose layers see only their neighbours.
    Source of the test: LLM2Vec paper, section 2.1 (every position must see every other one).
    """
    import torch

    device = next(model.parameters()).device
    first, last = 3 % vocabulary, 5 % vocabulary
    body = torch.arange(PROBE_LENGTH, device=device) % max(1, min(vocabulary, 97) - 1) + 1
    sequence, changed = body.clone(), body.clone()
    asked = min(reach, PROBE_LENGTH) - 1
    sequence[asked], changed[asked] = first, last
    for padding in (0, 3):
        width = PROBE_LENGTH + padding
        ids = torch.full((2, width), pad, dtype=torch.long, device=device)
        ids[0, :PROBE_LENGTH], ids[1, :PROBE_LENGTH] = sequence, changed
        mask = (torch.arange(width, device=device) < PROBE_LENGTH).long().expand(2, width)
        states = _forward(model, ids, mask if padding else None)
        if not states.isfinite().all():
            return f"gives values that are not finite in {str(model.dtype).removeprefix('torch.')}"
        if not _differs(states[0, 0], states[1, 0]):
            return f"stays causal {'with' if padding else 'without'} padding (the first position does not see the last)"
        if padding:
            other = ids.clone()
            other[:, PROBE_LENGTH:] = last if pad != last else first
            again = _forward(model, other, mask)
            if (again[0, 0] - states[0, 0]).abs().max() > 1e-3 * states[0, 0].abs().max():
                return "lets padding through (a change of padding moves a real position)"
    return None


def packing_fault(model: Any, *, vocabulary: int) -> str | None:
    """Probe packed attention; return what is wrong as a phrase, or None.

    A text must stay as it is while its neighbours change, and come out as it does alone, which shows its positions
    too. The texts are of equal and of unequal length, one is a single token.
    """
    import torch

    from searchapp.encoder.attention import packed_lengths

    device, precision = next(model.parameters()).device, model.dtype.itemsize
    lengths, kept = (7, 5, 5, 1), slice(7, 12)
    known = max(1, min(vocabulary, 97) - 1)
    ids = torch.arange(sum(lengths), device=device) * 7 % known + 1
    changed = (ids + known // 2) % known + 1
    changed[kept] = ids[kept]
    places = torch.cat([torch.arange(length, device=device) for length in lengths])
    packing = packed_lengths(lengths)
    packing = replace(packing, cu_seqlens=packing.cu_seqlens.to(device))
    with torch.inference_mode():
        packed, beside = (
            model(
                input_ids=tokens[None] % vocabulary, position_ids=places[None], packed_lengths=packing, use_cache=False
            )
            .last_hidden_state[0]
            .float()
            for tokens in (ids, changed)
        )
    alone = torch.cat([_forward(model, text[None] % vocabulary, None)[0] for text in torch.split(ids, list(lengths))])
    if _distance(beside[kept], packed[kept]) > BESIDE[precision]:
        return "mixes texts that are packed together"
    if _distance(packed, alone) > ALONE[precision]:
        return "gives packed texts other states than they have alone"
    return None


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far states are apart, by the median dimension and its own size: a few dimensions may be huge."""
    scale = other.abs().amax(0).clamp(min=1e-6)
    return float(((one - other).abs().amax(0) / scale).median())


def _forward(model: Any, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    import torch

    with torch.inference_mode():
        states: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state.float()
    return states


def _differs(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() > MOVED * one.abs().max().clamp(min=1e-6))
