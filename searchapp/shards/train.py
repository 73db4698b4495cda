"""Training once for all shards: the reduction, the type and its codebooks, on a sample of the vectors of all chunks.

What is chosen is measured as a build by one process does it, with as many lists and codes as a shard will need.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from searchapp.index.ann.builder import AnnBuilder
from searchapp.index.ann.calibration import CalibrationQueries
from searchapp.index.ann.pca import Pca
from searchapp.index.ann.queries import EncodeQueries, synthetic_queries
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.ann.select import select, will_be_exact
from searchapp.index.ann.trained import Trained
from searchapp.index.storage.manifest import Segment
from searchapp.index.storage.vectors import Vectors, unit
from searchapp.index.storage.writer import Writer
from searchapp.shards.chunk import DATA, ChunkDone
from searchapp.shards.plan import Plan
from searchapp.shards.sample import Sample, merged
from searchapp.shards.sealed import seal, unseal
from searchapp.shards.store import Store, working

BUILD = "build"  # the folder of a build
FILE = f"{BUILD}/trained.json"


@dataclass(frozen=True, eq=False)
class SharedTraining:
    """What all shards are built by. ``probes`` fp16 (n, dim) are queries to measure them with; None: synthetic ones."""

    trained: Trained
    request: AnnRequest
    probes: np.ndarray | None
    notes: tuple[str, ...] = ()


def train_shared(
    store: Store,
    plan: Plan,
    done: Sequence[ChunkDone],
    rows: int,
    encode: EncodeQueries | None,
    *,
    device: str = "cpu",
    stage: Callable[[str], None] | None = None,
) -> SharedTraining:
    """Train on what the chunks came to, for shards of ``rows`` documents, and commit it; what is committed is read.

    Raises IndexStoreError for a request that no such shard allows.
    """
    known = load_training(store, plan.dim)
    if known is not None:
        return known
    parts = (Sample.from_bytes(store.get(f"{DATA}/{one.sample}"), one.sample) for one in done)
    sample = merged(parts, plan.sample, plan.dim)
    request = request_for(plan.request, rows, sum(one.documents for one in done))
    return train(store, BUILD, sample, request, rows, encode, device=device, stage=stage)


def request_for(request: AnnRequest, rows: int, documents: int) -> AnnRequest:
    """What is asked of a shard of ``rows`` documents, where a request is for all shards with ``documents`` together."""
    targets = request.targets
    if targets.memory is None:
        return request
    memory = targets.memory * min(1.0, rows / max(1, documents))
    return AnnRequest(request.pca, request.factory, Targets(targets.recall, memory, targets.latency))


def train(
    store: Store,
    folder: str,
    sample: Sample,
    request: AnnRequest,
    rows: int,
    encode: EncodeQueries | None,
    *,
    probes: np.ndarray | None = None,
    device: str = "cpu",
    stage: Callable[[str], None] | None = None,
) -> SharedTraining:
    """Train on a sample for shards of ``rows`` documents, and commit it in a folder of the store.

    ``probes`` fp16 (n, dim) are queries that there are already; else ``encode`` makes them of the sample's. Raises
    IndexStoreError for a request that no such shard allows.
    """
    dim = sample.vectors.shape[1]
    request.check(dim, len(sample.hashes))
    with working(store, "training") as place, Writer.open(place, store.disk) as writer:
        with writer.draft("vectors") as (name, draft, _):
            draft.write(np.ascontiguousarray(sample.vectors, dtype="<f2").tobytes())
        vectors = Vectors(place / "data", [Segment("", name, 0, len(sample.hashes))], dim, mapped=False)
        builder = AnnBuilder(writer, vectors, stage or (lambda _: None), device)
        if probes is None and encode is not None and not will_be_exact(request, vectors, rows):
            builder.stage("encoding probe queries")
            probes = unit(np.array(encode(list(sample.queries)), dtype=np.float32)).astype("<f2")
        queries = synthetic_queries(vectors) if probes is None else unit(probes.astype(np.float32))
        truth = CalibrationQueries.over(queries, vectors.living(), device)
        selection = select(request, builder, truth, rows)
        config = selection.index.config
        trained = Trained.of(config.factory, builder.pca(config.pca), writer.path(selection.index.file))
        fixed = AnnRequest(config.pca or 0, config.factory, request.targets)
        return _committed(store, folder, dim, SharedTraining(trained, fixed, probes, selection.notes))


def load_training(store: Store, dim: int, folder: str = BUILD) -> SharedTraining | None:
    """The training that was committed; None where there is none yet. Raises IndexStoreError for a damaged one."""
    file = f"{folder}/trained.json"
    try:
        content = unseal(store.get(file), file)
    except FileNotFoundError:
        return None
    parts = {name: store.get(f"{folder}/data/{part}") for name, part in content["files"].items()}
    pca = None
    if "pca" in parts:
        components = np.load(io.BytesIO(parts["pca"]), allow_pickle=False)
        pca = Pca(components, content["explained_variance"])
    probes = np.frombuffer(parts["probes"], dtype="<f2").reshape(-1, dim) if "probes" in parts else None
    request = AnnRequest(content["pca"], content["factory"], Targets.from_json(content["targets"]))
    trained = Trained(content["factory"], pca, parts.get("index", b""))
    return SharedTraining(trained, request, probes, tuple(content["notes"]))


def _committed(store: Store, folder: str, dim: int, made: SharedTraining) -> SharedTraining:
    """Put training into the store; of two that were made at once the first counts."""
    parts: dict[str, bytes] = {}
    if made.trained.index:
        parts["index"] = made.trained.index
    if made.trained.pca is not None:
        buffer = io.BytesIO()
        np.save(buffer, made.trained.pca.components, allow_pickle=False)
        parts["pca"] = buffer.getvalue()
    if made.probes is not None:
        parts["probes"] = np.ascontiguousarray(made.probes, dtype="<f2").tobytes()
    files = {}
    for name, data in parts.items():
        files[name] = f"trained-{name}-{made.trained.id}"
        target = f"{folder}/data/{files[name]}"
        store.delete(target)  # of a run that ended here; it has the same content, or was cut off
        store.put_new(target, data)
    content = {
        "factory": made.trained.factory,
        "pca": made.request.pca,
        "targets": made.request.targets.to_json(),
        "explained_variance": made.trained.pca.explained_variance if made.trained.pca is not None else 0.0,
        "notes": list(made.notes),
        "files": files,
    }
    try:
        store.put_new(f"{folder}/trained.json", seal(content))
    except FileExistsError:
        pass
    found = load_training(store, dim, folder)
    return found if found is not None else made
