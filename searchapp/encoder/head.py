"""What a sentence-transformers folder puts behind its pooling: Dense, LayerNorm, Normalize, and fewer dimensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.encoder.json_files import read_json, refuse_pointer
from searchapp.encoder.st_folder import modules
from searchapp.errors import ModelError

if TYPE_CHECKING:
    import torch

ACTIVATIONS = (
    "Identity", "Tanh", "ReLU", "ReLU6", "GELU", "SiLU", "Sigmoid", "ELU", "LeakyReLU", "Softplus", "Mish", "Hardtanh",
    "Softsign", "SELU", "CELU", "LogSigmoid", "Tanhshrink", "Hardswish",
)  # fmt: skip
SENTENCE = "sentence_embedding"
Step = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class Head:
    """Steps from pooled vectors (n, width) to (n, dim) float32; ``files`` are those whose content decides a vector."""

    dim: int
    steps: tuple[Step, ...]
    files: tuple[Path, ...]

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Apply every step and keep the first ``dim`` numbers; a zero vector is no exception, as in that library."""
        if self.steps:
            import torch

            states = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
            with torch.inference_mode():
                for step in self.steps:
                    states = step(states)
            vectors = states.numpy()
        return np.ascontiguousarray(vectors[:, : self.dim])


def read_head(path: Path | None, width: int, truncate_dim: int | None) -> Head:
    """The head of the folder whose ``modules.json`` is at ``path`` (None: none), over vectors of ``width`` numbers.

    A Normalize at the very end is left out, as ``normalize`` of ``Encoder.encode`` decides that. Raises ModelError for
    what cannot be run as sentence-transformers runs it.
    """
    steps: list[Step] = []
    files: list[Path] = []
    behind = [(kind, place) for kind, place in modules(path)][2:] if path is not None else []
    while behind and behind[-1][0] in ("Normalize", "Dropout"):
        behind.pop()
    for kind, place in behind:
        if kind == "Dense":
            step, width = _dense(place, width)
            steps.append(step)
            files += [place / "config.json", place / "model.safetensors"]
        elif kind == "LayerNorm":
            steps.append(_layer_norm(place, width))
            files += [place / "config.json", place / "model.safetensors"]
        elif kind == "Normalize":
            _require_sentence(place)
            steps.append(_normalize)
    dim = width if truncate_dim is None else min(width, truncate_dim)
    return Head(dim, tuple(steps), tuple(files))


def _normalize(states: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.normalize(states, p=2, dim=-1)


def _require_sentence(place: Path) -> dict[str, Any]:
    file = place / "config.json"
    content = read_json(file) if file.exists() else {}
    for name in ("module_input_name", "module_output_name"):
        if (found := content.get(name)) not in (None, SENTENCE):
            raise ModelError(f"{file}: {name} is {found!a}; only {SENTENCE} can be worked on")
    return content


def _tensors(weights: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    if not weights.exists():
        raise ModelError(
            f"{weights.parent} has no model.safetensors (pickles are never read); save the model anew with safetensors"
        )
    refuse_pointer(weights)
    try:
        return {key: value.float() for key, value in load_file(weights).items()}
    except Exception as error:  # safetensors has an error of its own
        raise ModelError(f"{weights} cannot be read ({error}); restore the file") from error


def _layer_norm(place: Path, width: int) -> Step:
    import torch

    file, weights = place / "config.json", place / "model.safetensors"
    tensors = _tensors(weights)
    size = read_json(file).get("dimension")
    if set(tensors) != {"norm.weight", "norm.bias"} or any(tuple(value.shape) != (size,) for value in tensors.values()):
        raise ModelError(f"{weights} does not hold what {file} asks for (norm.bias, norm.weight); restore both")
    if size != width:
        raise ModelError(f"{file}: dimension is {size}, the vectors before it have {width} dimensions")

    def step(states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(states, (width,), tensors["norm.weight"], tensors["norm.bias"])

    return step


def _dense(place: Path, width: int) -> tuple[Step, int]:
    import torch

    file, weights = place / "config.json", place / "model.safetensors"
    content = _require_sentence(place)
    named = str(content.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = named.rsplit(".", 1)[-1]
    if not named.startswith("torch.nn.") or activation not in ACTIVATIONS:
        raise ModelError(
            f"{file}: activation_function is {named!a}; expected one of torch.nn: {', '.join(ACTIVATIONS)}"
        )
    tensors = _tensors(weights)
    expected = {"linear.weight"} | ({"linear.bias"} if content.get("bias", True) else set())
    sizes = (content.get("in_features"), content.get("out_features"))
    residual = bool(content.get("use_residual", False))
    if residual and sizes[0] != sizes[1]:
        expected.add("residual.weight")
    if set(tensors) != expected or tuple(tensors["linear.weight"].shape) != (sizes[1], sizes[0]):
        raise ModelError(f"{weights} does not hold what {file} asks for ({', '.join(sorted(expected))}); restore both")
    if sizes[0] != width:
        raise ModelError(f"{file}: in_features is {sizes[0]}, the vectors before it have {width} dimensions")
    function = getattr(torch.nn, activation)()

    def step(states: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = function(
            torch.nn.functional.linear(states, tensors["linear.weight"], tensors.get("linear.bias"))
        )
        if residual:
            across = tensors.get("residual.weight")
            out = out + (states if across is None else torch.nn.functional.linear(states, across))
        return out

    return step, int(tensors["linear.weight"].shape[0])
