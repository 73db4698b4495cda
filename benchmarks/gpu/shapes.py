"""How large everything is: ``full`` for a card of the data centre, ``tiny`` for the same lines on a CPU in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A Llama decoder by its configuration; its weights are drawn at random on the device."""

    name: str
    hidden: int
    layers: int
    heads: int
    groups: int  # key and value heads
    inner: int  # of the MLP
    vocabulary: int
    theta: float  # rotary base


@dataclass(frozen=True)
class Shapes:
    """Sizes of all parts."""

    name: str
    models: tuple[Model, ...]
    matrix: int  # side of the square matrices whose product is timed
    copied: int  # bytes of the array that is copied
    characters: int  # of prose that texts are cut from
    documents: tuple[int, ...]  # that each of the models encodes
    rounds: int
    checked: int  # documents that the slow rivals encode
    steps: int  # of training that are timed
    warm: int  # and those before
    blocks: int  # of MNTP in a step
    length: int  # tokens of a block
    pairs: int  # of supervised training in a step
    vectors: tuple[tuple[int, int], ...]  # rows and dimensions of indexes
    lists: int
    sample: int  # rows that are trained on
    queries: int
    candidates: int  # of a query that are rescored
    topics: int
    line: int  # documents of the line
    recipe: int  # steps of each stage
    tests: tuple[str, ...]  # where `pytest -m gpu` looks: named, so that what other tests import may be missing


# The configurations of princeton-nlp/Sheared-LLaMA-1.3B and meta-llama/Meta-Llama-3-8B.
FULL = Shapes(
    name="full",
    models=(
        Model("1.3B", 2_048, 24, 16, 16, 5_504, 32_000, 10_000.0),
        Model("8B", 4_096, 32, 32, 8, 14_336, 128_256, 500_000.0),
    ),
    matrix=8_192,
    copied=4 << 30,
    characters=4 << 20,
    documents=(4_096, 1_024),
    rounds=2,
    checked=512,
    steps=4,
    warm=2,
    blocks=8,
    length=512,
    pairs=16,
    vectors=((1_000_000, 1_024), (1_000_000, 4_096)),
    lists=4_096,
    sample=200_000,
    queries=1_024,
    candidates=200,
    topics=2_000,
    line=16_384,
    recipe=50,
    tests=("tests/device", "tests/index/test_gpu.py"),
)
TINY = Shapes(
    name="tiny",
    models=(Model("8B", 64, 2, 4, 2, 96, 24_576, 500_000.0),),
    matrix=128,
    copied=1 << 20,
    characters=1 << 17,
    documents=(24,),
    rounds=1,
    checked=24,
    steps=1,
    warm=1,
    blocks=2,
    length=32,
    pairs=2,
    vectors=((1_500, 64),),
    lists=16,
    sample=1_200,
    queries=8,
    candidates=20,
    topics=20,
    line=48,
    recipe=2,
    tests=("tests/device/test_index.py", "tests/index/test_gpu.py"),
)
SHAPES = {shapes.name: shapes for shapes in (FULL, TINY)}
