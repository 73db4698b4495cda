"""The layers of a decoder by their kinds, and a way to run only some of them: what a probe of attention needs.

A decoder has many layers and few kinds of them: full attention and sliding, dense and of experts. Layers of a kind
differ in their weights alone, so that what one does with a mask all of them do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PLACE = re.compile(r"(^|_)(idx|index|id|number)$")  # attributes that tell a layer's place, not its kind


@dataclass(frozen=True)
class Kind:
    """Layers that are alike, by their places, ascending. ``attends``: they have attention, not a scan over tokens."""

    places: tuple[int, ...]
    attends: bool


class LayerStack:
    """The layers of one model, in the order in which they run."""

    def __init__(self, layers: Sequence[torch.nn.Module], config: Any) -> None:
        self._layers = layers
        self._rest: tuple[Any, ...] | None = None  # what a layer returns behind its states; None: states alone
        self.kinds = self._by_kind(config)

    def _by_kind(self, config: Any) -> list[Kind]:
        lists = [
            value
            for value in config.to_dict().values()
            if isinstance(value, list | tuple) and len(value) == len(self._layers)
        ]
        found: dict[Any, list[int]] = {}
        for place, layer in enumerate(self._layers):
            found.setdefault((repr([value[place] for value in lists]), _description(layer)), []).append(place)
        types = getattr(config, "layer_types", None) or [""] * len(self._layers)
        return [
            Kind(tuple(places), "linear" not in str(types[places[0]]) and bool(_attentions(self._layers[places[0]])))
            for places in found.values()
        ]

    @contextmanager
    def only(self, places: Sequence[int]) -> Iterator[list[torch.Tensor]]:
        """Let hidden states pass by all other layers, unchanged, while the block runs.

        The list holds what the attention of the first of ``places`` gave in the last pass, (texts, tokens, dim), or
        nothing where it is not known which module that is. Layers keep their places, by which many models choose mask
        and positions. What a pass-by returns has the form of what a real layer returned before it.
        """
        seen: list[torch.Tensor] = []
        kept = [vars(layer).get("forward") for layer in self._layers]
        attentions = _attentions(self._layers[places[0]])
        hooks = [attentions[0].register_forward_hook(_keeper(seen))] if len(attentions) == 1 else []
        hooks += [self._layers[place].register_forward_hook(self._learn) for place in places]
        try:
            for place, layer in enumerate(self._layers):
                if place not in places:
                    vars(layer)["forward"] = self._pass_by
            yield seen
        finally:
            for hook in hooks:
                hook.remove()
            for layer, forward in zip(self._layers, kept, strict=True):
                vars(layer).pop("forward", None)
                if forward is not None:
                    vars(layer)["forward"] = forward

    def _learn(self, _: Any, __: Any, out: Any) -> None:
        self._rest = tuple(out[1:]) if isinstance(out, tuple) else None

    def _pass_by(self, *given: Any, **named: Any) -> Any:
        states = given[0] if given else named["hidden_states"]
        return states if self._rest is None else (states, *self._rest)


def layer_stack(model: Any) -> LayerStack | None:
    """The layers of a model: its one list of as many modules as its configuration has layers; None where none is."""
    from torch.nn import ModuleList

    config = getattr(model, "config", None)
    count = getattr(config, "num_hidden_layers", None)
    if not count or not hasattr(model, "named_modules"):
        return None
    found = {name: item for name, item in model.named_modules() if isinstance(item, ModuleList) and len(item) == count}
    outer = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    return LayerStack(list(found[outer[0]]), config) if len(outer) == 1 else None


def _attentions(layer: Any) -> list[Any]:
    """The outermost modules of a layer that are attention by the name of their class."""
    found = {name: item for name, item in layer.named_modules() if name and "Attention" in type(item).__name__}
    return [item for name, item in found.items() if not any(name.startswith(f"{other}.") for other in found)]


def _description(layer: Any) -> str:
    """What a layer is made of: the classes of its modules and their settings, without its place and its weights."""
    parts = []
    for name, module in layer.named_modules():
        own = sorted(
            (key, repr(value))
            for key, value in vars(module).items()
            if isinstance(value, bool | int | str) and not key.startswith("_") and not PLACE.search(key)
        )
        parts.append((name, type(module).__name__, own))
    return repr(parts)


def _keeper(seen: list[torch.Tensor]) -> Any:
    def keep(_: Any, __: Any, out: Any) -> None:
        seen[:] = [out[0] if isinstance(out, tuple | list) else out]

    return keep
