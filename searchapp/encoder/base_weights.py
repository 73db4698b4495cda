"""Whether the weights an adapter is put on are those it was trained on, or near enough.

An adapter may carry ``base_weights.json``: the shape of each tensor of its base and a sample of its values. A base with
other names or shapes is refused, and one whose values are further away than the file allows: another model of the same
shape would take the adapter without a fault and give vectors that mean nothing. Near are the same weights in another
precision: four-bit blocks move them by about 8 %, as the root of the mean square.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.encoder.json_files import read_json
from searchapp.errors import ModelError

if TYPE_CHECKING:
    import torch

FILE = "base_weights.json"
SAMPLES = 32  # values of a tensor that are kept
FARTHEST = 0.12  # relative distance that is allowed
EXACT = 0.004  # below it the weights are the same but for rounding to bfloat16
_STRIDE, _FIRST = 2_654_435_761, 104_729  # the places of the sample, spread over any size
log = logging.getLogger("searchapp")


@dataclass(frozen=True)
class BaseWeights:
    """``model`` is the name its weights are published under; ``tensors`` are shape and sampled values by name."""

    model: str
    farthest: float
    tensors: Mapping[str, tuple[tuple[int, ...], np.ndarray]]

    @classmethod
    def of(cls, model: str, state: Mapping[str, torch.Tensor], farthest: float = FARTHEST) -> BaseWeights:
        """Describe the weights of a bare decoder, as ``state_dict`` gives them."""
        return cls(model, farthest, {name: (tuple(value.shape), _sample(value)) for name, value in state.items()})

    @classmethod
    def read(cls, path: Path) -> BaseWeights:
        """Read what ``to_json`` gave. Raises ModelError for a file that is not of this kind."""
        content = read_json(path)
        try:
            tensors = {
                name: (tuple(map(int, shape)), np.array(values, dtype=np.float32))
                for name, (shape, values) in content["tensors"].items()
            }
            return cls(str(content["model"]), float(content["farthest"]), tensors)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{path} does not describe weights ({error!r}); fetch the adapter again") from error

    def to_json(self) -> dict[str, Any]:
        """The content of the file; values have five significant digits."""
        tensors = {
            name: [list(shape), [float(f"{value:.5g}") for value in values]]
            for name, (shape, values) in self.tensors.items()
        }
        return {"model": self.model, "farthest": self.farthest, "tensors": tensors}

    def distance(self, state: Mapping[str, torch.Tensor]) -> float:
        """How far other weights are, relative: the root of the mean square of differences by that of the values.

        Every tensor weighs the same, whatever its values' size. Raises ModelError for other names or shapes.
        """
        if absent := sorted(set(self.tensors) ^ set(state)):
            raise ModelError(f"its tensors have other names (first: {absent[0]})")
        squares = []
        for name, (shape, values) in self.tensors.items():
            if tuple(state[name].shape) != shape:
                raise ModelError(f"{name} is {list(state[name].shape)}, expected {list(shape)}")
            size = float(np.square(values).mean())
            squares.append(float(np.square(_sample(state[name]) - values).mean()) / size if size else 0.0)
        return float(np.sqrt(np.mean(squares)))


def require_base(adapter: Path, model: Any) -> None:
    """Raise ModelError where a bare decoder is not what the adapter was trained on; silent where it does not say.

    Weights that are near and not the same are said, once, with their distance.
    """
    path = adapter / FILE
    if not path.exists():
        return
    known = BaseWeights.read(path)
    advice = f"give the weights published as {known.model}"
    try:
        distance = known.distance(model.state_dict())
    except ModelError as error:
        raise ModelError(f"adapter {adapter.name} does not fit its base: {error}; {advice}") from error
    if not distance <= known.farthest:  # a NaN too
        raise ModelError(
            f"the base of adapter {adapter.name} is {distance:.3f} away from the weights it was trained on, expected "
            f"at most {known.farthest:g}: it is another model of the same shape; {advice}"
        )
    if distance > EXACT:
        log.info(
            "the base of %s is %.3f away from the weights it was trained on (at most %g is taken): vectors differ a "
            "little, and an index is bound to these weights", adapter.name, distance, known.farthest,
        )  # fmt: skip


def _sample(tensor: torch.Tensor) -> np.ndarray:
    """Values at places that the tensor's size decides, float32."""
    size = tensor.numel()
    places = (np.arange(min(SAMPLES, size), dtype=np.uint64) * np.uint64(_STRIDE) + np.uint64(_FIRST)) % np.uint64(size)
    import torch

    found: np.ndarray = tensor.detach().reshape(-1)[torch.from_numpy(places.astype(np.int64))].float().cpu().numpy()
    return found
