"""What a build of so many documents takes: a model made of constants, each with its source, and of multiplication.

``docs/scale.md`` says which of the constants were measured. Nothing of it was tried at a billion documents.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from searchapp.errors import SearchAppError
from searchapp.shards.plan import CHUNK_TOKENS, SHARD_ROWS


@dataclass(frozen=True)
class Constant:
    """A number of the model, its unit, and where it is from."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Device:
    """A processor: arithmetic in bf16 without sparsity, in operations a second, and its memory in bytes."""

    operations: float
    memory: float
    source: str


CONSTANTS = {
    "utilisation": Constant(0.4, "of a device's arithmetic", "assumed; give --rate where yours is measured"),
    "occupancy": Constant(0.97, "of the time of a worker", "measured: docs/log.md, two workers on two cores"),
    "vector": Constant(2, "bytes a dimension", "stored fp16: docs/scale.md, measured"),
    "code": Constant(1 / 32, "bytes a dimension, and 8", "2-dimension codes reduced to 1/8: docs/scale.md, measured"),
    "postings": Constant(6, "bytes a term and document", "document and frequency: index/lexical/postings.py"),
    "terms": Constant(0.6, "terms a token", "estimated: 120 terms of 200 tokens"),
    "text": Constant(5, "bytes a token", "estimated: 4 of text, 1 of titles and metadata"),
    "hash": Constant(24, "bytes a document", "id, text and metadata: index/storage/hashes.py"),
    "disk": Constant(15e12, "bytes a machine", "one NVMe drive, as docs/scale.md has it"),
    "memory": Constant(128e9, "bytes a machine for codes", "as docs/scale.md has it"),
    "assembly": Constant(300e6, "bytes of vectors a second", "assumed: read, coded and written once by one process"),
    "shard_query": Constant(0.008, "seconds of a core for a shard", "assumed for 10 million rows: docs/scale.md"),
    "cores": Constant(32, "cores a machine that searches", "assumed"),
    "candidates": Constant(200, "rows rescored for a query", "the widest of the rules' defaults, rounded"),
    "network": Constant(0.005, "seconds a query", "assumed for a scatter and a gather"),
}
DEVICES = {
    "h200": Device(989e12, 141e9, "NVIDIA's data sheet"),
    "h100": Device(989e12, 80e9, "NVIDIA's data sheet, SXM"),
    "a100": Device(312e12, 80e9, "NVIDIA's data sheet"),
    "l40s": Device(362e12, 48e9, "NVIDIA's data sheet"),
    "l4": Device(121e12, 24e9, "NVIDIA's data sheet"),
    "cpu": Device(1e11, 64e9, "assumed: a core with AVX2 in float32"),
}


@dataclass(frozen=True)
class Wanted:
    """What is to be built: ``tokens`` a document, ``machines`` with ``count`` devices each.

    ``parameters`` of the model, ``rate`` in tokens a second and device; None: as the model of cost has it.
    """

    documents: float
    dim: int
    tokens: float
    device: str = "h200"
    count: int = 8
    machines: int = 1
    parameters: float | None = None
    rate: float | None = None


@dataclass(frozen=True)
class Estimate:
    """What it takes. Times are in seconds, sizes in bytes; ``devices`` are all of them."""

    tokens: float
    parameters: float
    rate: float
    devices: int
    encoding: float
    device_hours: float
    assembling: float
    chunks: int
    shards: int
    vectors: float
    codes: float
    postings: float
    text: float
    hashes: float
    machines_by_disk: int
    machines_by_memory: int
    query: float
    queries: float
    reads: float

    @property
    def bytes(self) -> float:
        """Of everything that is kept."""
        return self.vectors + self.codes + self.postings + self.text + self.hashes

    @property
    def machines(self) -> int:
        """That hold the index."""
        return max(self.machines_by_disk, self.machines_by_memory)


def parse_device(text: str) -> tuple[str, int]:
    """The name and number of devices of a machine: ``h200x8``. Raises SearchAppError for any other."""
    found = re.fullmatch(r"([a-z0-9]+?)(?:x([0-9]{1,4}))?", text.lower())
    if not found or found[1] not in DEVICES or found[2] == "0":
        raise SearchAppError(
            f"--device {text!r} is not known; expected NAMExCOUNT with one of {', '.join(DEVICES)}, e.g. h200x8; for "
            "another give one of these and --rate"
        )
    return found[1], int(found[2] or 1)


def estimate_cost(wanted: Wanted) -> Estimate:
    """Multiply. Raises SearchAppError for numbers that are none."""
    for name, given in (("documents", wanted.documents), ("dim", wanted.dim), ("tokens", wanted.tokens)):
        if not 0 < given < 1e18:
            raise SearchAppError(f"--{name} {given:g} is no number of {name}; give one above 0")
    if wanted.machines < 1 or (wanted.rate or 1) <= 0 or (wanted.parameters or 1) <= 0:
        raise SearchAppError("--machines, --rate and --parameters must be above 0")
    value = {name: constant.value for name, constant in CONSTANTS.items()}
    device = DEVICES[wanted.device]
    tokens = wanted.documents * wanted.tokens
    # 12 dim² parameters a layer and a layer for 128 dimensions; 2 operations a parameter and token (Kaplan et al. 2020)
    parameters = wanted.parameters or 12 * wanted.dim**2 * max(1, wanted.dim / 128)
    rate = wanted.rate or device.operations * value["utilisation"] / (2 * parameters)
    devices = wanted.count * wanted.machines
    vectors = wanted.documents * wanted.dim * value["vector"]
    codes = wanted.documents * (wanted.dim * value["code"] + 8)
    shards = max(1, math.ceil(wanted.documents / SHARD_ROWS))
    by_disk = math.ceil(vectors / value["disk"])
    by_memory = math.ceil(codes / value["memory"])
    holding = max(by_disk, by_memory, 1)
    work = min(1.0, wanted.documents / SHARD_ROWS) * value["shard_query"]
    a_shard = value["candidates"] / shards + 2 * math.sqrt(value["candidates"] / shards)
    rounds = math.ceil(math.ceil(shards / holding) / value["cores"])
    return Estimate(
        tokens=tokens,
        parameters=parameters,
        rate=rate,
        devices=devices,
        encoding=tokens / rate / devices / value["occupancy"],
        device_hours=tokens / rate / 3_600 / value["occupancy"],
        assembling=vectors / value["assembly"],
        chunks=math.ceil(tokens / CHUNK_TOKENS),
        shards=shards,
        vectors=vectors,
        codes=codes,
        postings=tokens * value["terms"] * value["postings"],
        text=tokens * value["text"],
        hashes=wanted.documents * value["hash"],
        machines_by_disk=by_disk,
        machines_by_memory=by_memory,
        query=rounds * work + (value["network"] if holding > 1 else 0),
        queries=holding * value["cores"] / (shards * work),
        reads=a_shard * shards,
    )
