"""Bidirectional attention through transformers' own switch, and the probe that proves a loaded model has it.

``config.is_causal = False`` turns the mask off in most decoders, but not in all of them and not on every attention
kernel (some stay causal, without a word, when nothing is padded). So every loaded model is tested: a change of the last
token has to move the first position, with and without padding, and a change of padding must move nothing. As layers of
one kind do the same with a mask, the first of each kind is asked, alone: so no layer answers for another, and a probe
costs a few layers, not the depth.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from searchapp.encoder.layers import layer_stack

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

UNBOUNDED = 1 << 30  # a window no text reaches; layers that must have a window keep a number
PROBE_LENGTH = 24
CAUSAL, NOT_FINITE = "stays causal", "gives values that are not finite"  # how the phrases of these faults begin
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


def bidirectional_fault(
    model: Any, *, vocabulary: int, pad: int, reach: int = PROBE_LENGTH, whole: bool = False
) -> str | None:
    """Probe a loaded model; return what is wrong with its attention as a phrase, or None if it is bidirectional.

    The first layer of each kind is asked alone, unless the model is to be run ``whole``: then one kind that sees is
    enough. ``reach`` is how many positions the first one has to see, for models whose layers see only their neighbours.
    Source of the test: LLM2Vec paper, section 2.1 (every position must see every other one).
    """
    if whole:
        return _bidirectional_fault(_Part(model), vocabulary, pad, reach)
    return _by_kind(model, lambda part: _bidirectional_fault(part, vocabulary, pad, reach))


def packing_fault(model: Any, *, vocabulary: int) -> str | None:
    """Probe packed attention; return what is wrong as a phrase, or None. The first layer of each kind is asked alone.

    A text must stay as it is while its neighbours change, and come out as it does alone, which shows its positions
    too. The texts are of equal and of unequal length, one is a single token.
    """
    return _by_kind(model, lambda part: _packing_fault(part, vocabulary))


def values_fault(model: Any, *, vocabulary: int) -> str | None:
    """Run a few tokens through the whole depth; return what is wrong with the values as a phrase, or None."""
    import torch

    ids = torch.arange(8, device=next(model.parameters()).device)[None] % max(1, min(vocabulary, 97) - 1) + 1
    return _values_fault(_Part(model).states(input_ids=ids % vocabulary)[1], model)


@dataclass(frozen=True)
class _Part:
    """A model as a probe runs it: whole, or with only some layers, of whose first the attention is ``seen``."""

    model: Any
    seen: Sequence[torch.Tensor] = ()
    attends: bool = True  # no scan over tokens has to see the last one

    def states(self, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """What attention gave and the last states, both (texts, tokens, dim) float32; twice these if it is not known.

        What attention gives shows a small effect that the states it is added to would round away.
        """
        import torch

        with torch.inference_mode():
            last: torch.Tensor = self.model(**inputs, use_cache=False).last_hidden_state.float()
        attended = self.seen[0].float() if self.seen else last
        return (attended if attended.shape[:2] == last.shape[:2] else last), last


def _by_kind(model: Any, probe: Callable[[_Part], str | None]) -> str | None:
    """The first fault of a layer of each kind alone; of the whole depth, where layers are not to be parted.

    One layer may move a state too little to be seen: that a kind does not see is said after all its layers.
    """
    stack = layer_stack(model)
    if stack is None or not any(kind.attends for kind in stack.kinds):
        return probe(_Part(model))
    try:
        for kind in stack.kinds:
            with stack.only(kind.places[:1]) as seen:
                fault = probe(_Part(model, seen, kind.attends))
            if fault is not None and fault.startswith(CAUSAL) and len(kind.places) > 1:
                with stack.only(kind.places):
                    fault = probe(_Part(model, (), kind.attends))
            if fault is not None:
                return fault
    except Exception:  # a layer that needs more than the states of the one before, as with shared keys and values
        log.debug("%s is probed whole: its layers do not run alone", type(model).__name__, exc_info=True)
        return probe(_Part(model))
    return None


def _bidirectional_fault(part: _Part, vocabulary: int, pad: int, reach: int) -> str | None:
    import torch

    device = next(part.model.parameters()).device
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
        attended, states = part.states(input_ids=ids, attention_mask=mask if padding else None)
        if fault := _values_fault(states, part.model):
            return fault
        if part.attends and not _differs(attended[0, 0], attended[1, 0]):
            return f"{CAUSAL} {'with' if padding else 'without'} padding (the first position does not see the last)"
        if padding:
            other = ids.clone()
            other[:, PROBE_LENGTH:] = last if pad != last else first
            for one, again in zip((attended, states), part.states(input_ids=other, attention_mask=mask), strict=True):
                if (again[0, 0] - one[0, 0]).abs().max() > 1e-3 * one[0, 0].abs().max():
                    return "lets padding through (a change of padding moves a real position)"
    return None


def _packing_fault(part: _Part, vocabulary: int) -> str | None:
    import torch

    from searchapp.encoder.attention import packed_lengths

    device, precision = next(part.model.parameters()).device, part.model.dtype.itemsize
    lengths, kept = (7, 5, 5, 1), slice(7, 12)
    known = max(1, min(vocabulary, 97) - 1)
    ids = torch.arange(sum(lengths), device=device) * 7 % known + 1
    changed = (ids + known // 2) % known + 1
    changed[kept] = ids[kept]
    places = torch.cat([torch.arange(length, device=device) for length in lengths])
    packing = packed_lengths(lengths)
    packing = replace(packing, cu_seqlens=packing.cu_seqlens.to(device))
    packed, beside = (
        [
            states[0]
            for states in part.states(
                input_ids=tokens[None] % vocabulary, position_ids=places[None], packed_lengths=packing
            )
        ]
        for tokens in (ids, changed)
    )
    texts = [part.states(input_ids=text[None] % vocabulary) for text in torch.split(ids, list(lengths))]
    for number in range(2):  # what attention gives, and the states
        alone = torch.cat([states[number][0] for states in texts])
        if _distance(beside[number][kept], packed[number][kept]) > BESIDE[precision]:
            return "mixes texts that are packed together"
        if _distance(packed[number], alone) > ALONE[precision]:
            return "gives packed texts other states than they have alone"
    return None


def _values_fault(states: torch.Tensor, model: Any) -> str | None:
    if states.isfinite().all():
        return None
    return f"{NOT_FINITE} in {str(model.dtype).removeprefix('torch.')}"


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far states are apart, by the median dimension and its own size: a few dimensions may be huge."""
    scale = other.abs().amax(0).clamp(min=1e-6)
    return float(((one - other).abs().amax(0) / scale).median())


def _differs(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() > MOVED * one.abs().max().clamp(min=1e-6))
