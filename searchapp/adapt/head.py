"""The frozen language model head of a model that is trained: what predicts tokens from its hidden states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from searchapp.adapt.frozen import frozen_linear
from searchapp.adapt.model import TrainableModel
from searchapp.encoder.devices import cpu_has_bfloat16
from searchapp.encoder.gguf import is_gguf
from searchapp.encoder.gguf.model import read_head
from searchapp.errors import AdaptError


@dataclass(frozen=True)
class Head:
    """The frozen head: ``logits`` (n, vocabulary) of states (n, dim).

    ``weight`` (vocabulary, dim) is there where a product with it is all that the head does.
    """

    logits: Callable[[torch.Tensor], torch.Tensor]
    weight: torch.Tensor | None

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The logits."""
        return self.logits(states)


def load_head(trainee: TrainableModel) -> Head:
    """The frozen language model head: a function from hidden states (n, dim) to logits (n, vocabulary).

    A tied head is the input embedding; another is read from the checkpoint's own files. What a family does to its
    logits after the head (Granite divides, Cohere multiplies, Gemma 2 caps) is done here too.
    """
    config = trainee.config
    tensors = _head_tensors(trainee)
    weight = tensors["weight"].detach().to(trainee.device, trainee.dtype)
    bias = tensors["bias"].detach().to(trainee.device, trainee.dtype) if "bias" in tensors else None
    factor = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    slow = weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and not cpu_has_bfloat16()
    linear = frozen_linear if slow else nn.functional.linear

    def logits(states: torch.Tensor) -> torch.Tensor:
        made = linear(states.to(weight.dtype), weight, bias).float() * factor
        return torch.tanh(made / cap) * cap if cap else made

    plain = bias is None and factor == 1.0 and not cap and not slow
    return Head(logits, weight if plain else None)


def _head_tensors(trainee: TrainableModel) -> dict[str, torch.Tensor]:
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    embedding = trainee.decoder.get_input_embeddings().weight
    if getattr(trainee.config, "tie_word_embeddings", False):
        return {"weight": embedding.detach().clone() if embedding.requires_grad else embedding}
    if is_gguf(trainee.checkpoint.weights):
        return {"weight": read_head(trainee.checkpoint.weights)}
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(trainee.config)
    output = skeleton.get_output_embeddings()
    name = next(name for name, module in skeleton.named_modules() if module is output)
    names = (name, "lm_head", "embed_out")  # GPT-NeoX's files still have the last, which transformers renames
    found = {}
    for path in sorted(trainee.checkpoint.weights.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dictionary
                if key.removesuffix(".weight").removesuffix(".bias") in names:
                    found[key.rsplit(".", 1)[-1]] = file.get_tensor(key)
    if "weight" not in found:
        raise AdaptError(
            f"{trainee.checkpoint.weights} has no {name}.weight: without its language model head it cannot be trained "
            "to predict tokens; give the causal language model's own checkpoint"
        )
    return found
