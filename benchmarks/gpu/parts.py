"""The parts, in the order they run in, each with its time limit; they fit into ``BUDGET`` together."""

from __future__ import annotations

from dataclasses import dataclass

BUDGET = 540.0  # seconds, for all parts of a run


@dataclass(frozen=True)
class Part:
    """A module with a function ``measure(run)``, and the seconds after which it is killed."""

    name: str
    module: str
    limit: float
    about: str


# The most telling first. Set-up has to come before all: the others run with what it finds and unpacks.
PARTS = (
    Part("setup", "benchmarks.gpu.setup", 45, "what the machine has; its matrix products and its memory's bandwidth"),
    Part(
        "encode", "benchmarks.gpu.encode", 130, "tokens/s of the encoder by kernel, and of others on the same weights"
    ),
    Part("pytest", "benchmarks.gpu.checks", 65, "what a GPU computes is what a CPU computes: `pytest -m gpu`"),
    Part("train", "benchmarks.gpu.train", 110, "tokens/s of LoRA training, and of Trainer with peft"),
    Part("line", "benchmarks.gpu.line", 60, "from a JSONL file to an index, and the first query"),
    Part("index", "benchmarks.gpu.index", 90, "search, training and rescoring of indexes by FAISS and by PyTorch"),
    Part("recipe", "benchmarks.gpu.recipe", 40, "a training recipe whose checkpoints are brought out as it goes"),
)
# What runs only when it is named, after set-up.
NAMED = (
    Part(
        "reproduction", "training.reproduction.on_gpu", 490, "what is missing of the reproduction: `make reproduce-gpu`"
    ),
)
