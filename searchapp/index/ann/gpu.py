"""What a GPU does for an index: exact search, k-means and exact hits through PyTorch, FAISS's own GPU indexes.

All functions take a PyTorch device and do the same on "cpu", where they are tested against FAISS. A saved index is
always a CPU one: what FAISS trains on GPUs comes back before it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.index.ann.faiss_lib import import_faiss, layers

if TYPE_CHECKING:
    import torch

SHARE = 0.6  # of a GPU's free memory that vectors may take
ITERATIONS = 10  # of k-means, as FAISS makes for inverted lists
QUERIES = 1_024  # scored at a time
SEED = 1234


def faiss_gpus() -> int:
    """How many GPUs FAISS can use; 0 with faiss-cpu, or without a driver."""
    return int(getattr(import_faiss(), "get_num_gpus", lambda: 0)())


def devices(device: str) -> list[str]:
    """The PyTorch devices that ``device`` stands for: every GPU for ``cuda``, else itself."""
    import torch

    if device != "cuda":
        return [device]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def fits(rows: int, dim: int, device: str) -> bool:
    """Whether fp16 vectors fit into the memory that is free on all the GPUs of ``device``, with room to work."""
    if not device.startswith("cuda"):
        return False
    import torch

    free = sum(torch.cuda.mem_get_info(place)[0] for place in devices(device))
    return 2 * rows * dim <= SHARE * free


class ExactSearch:
    """All vectors in the memory of one or more devices, in equal shards, compared with every query.

    fp16 on a GPU, which is what is stored anyway; float32 on a CPU, where half-precision products are slow. It stands
    in for an ``AnnIndex``: what it finds are candidates, rescored like any others.
    """

    filters = True

    def __init__(self, blocks: Iterable[np.ndarray], rows: int, places: Sequence[str]) -> None:
        import torch

        self.rows = rows
        self._places = list(places)
        self._size = -(-rows // len(self._places))  # rows a shard
        kinds = [torch.float16 if place.startswith("cuda") else torch.float32 for place in self._places]
        parts: list[list[torch.Tensor]] = [[] for _ in self._places]
        begin = 0
        for block in blocks:
            block = block[: rows - begin]
            while len(block):
                number = begin // self._size
                part = block[: (number + 1) * self._size - begin]
                parts[number].append(torch.from_numpy(part).to(self._places[number], kinds[number]))
                block, begin = block[len(part) :], begin + len(part)
        self._shards = [torch.cat(part) for part in parts if part]

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query by inner product, as ``AnnIndex.search`` returns them."""
        import torch

        scores, rows = [], []
        for begin in range(0, len(queries), QUERIES):
            asked = torch.from_numpy(np.ascontiguousarray(queries[begin : begin + QUERIES], dtype=np.float32))
            found = [self._shard(number, asked, k, allowed) for number in range(len(self._shards))]
            best = torch.cat([part[0].cpu() for part in found], dim=1)
            names = torch.cat([part[1].cpu() for part in found], dim=1)
            top = torch.topk(best, min(k, best.shape[1]))
            scores.append(top.values)
            rows.append(torch.gather(names, 1, top.indices))
        all_scores, all_rows = torch.cat(scores).numpy(), torch.cat(rows).numpy()
        short = k - all_rows.shape[1]
        if short > 0:
            all_scores = np.pad(all_scores, ((0, 0), (0, short)), constant_values=-np.inf)
            all_rows = np.pad(all_rows, ((0, 0), (0, short)), constant_values=-1)
        return all_scores, np.where(np.isneginf(all_scores), -1, all_rows)

    def _shard(
        self, number: int, queries: torch.Tensor, k: int, allowed: np.ndarray | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        shard, first = self._shards[number], number * self._size
        scores = (queries.to(shard) @ shard.T).float()
        if allowed is not None:
            mask = torch.from_numpy(allowed[first : first + len(shard)]).to(shard.device)
            scores.masked_fill_(~mask, -torch.inf)
        top = torch.topk(scores, min(k, len(shard)))
        return top.values, top.indices + first


def kmeans(sample: np.ndarray, lists: int, device: str) -> np.ndarray:
    """Centroids float32 (lists, dim) of unit rows by inner product; an empty one is put beside the largest."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    rows = torch.from_numpy(sample).to(device)
    chosen = torch.randperm(len(rows), generator=generator)[:lists]
    centroids = torch.nn.functional.normalize(rows[chosen.to(device)])
    for _ in range(ITERATIONS):
        nearest = torch.cat([(part @ centroids.T).argmax(1) for part in torch.split(rows, 65_536)])
        sums = torch.zeros_like(centroids).index_add_(0, nearest, rows)
        counts = torch.bincount(nearest, minlength=lists)
        empty = torch.nonzero(counts == 0).flatten()
        if len(empty):
            large = torch.topk(counts, min(len(empty), lists)).indices
            noise = torch.randn(len(large), sums.shape[1], generator=generator).to(device)
            sums[empty[: len(large)]] = torch.nn.functional.normalize(sums[large]) + 1e-3 * noise
        centroids = torch.nn.functional.normalize(sums)
    found: np.ndarray = centroids.cpu().numpy()
    return found


def train_on(index: Any, sample: np.ndarray, device: str) -> None:
    """Train a CPU index; on a GPU's device its k-means runs there: FAISS's own where it has GPUs, else ours.

    The rest of a type (ranges, codebooks, rotations) is trained on the CPU over the same sample.
    """
    faiss = import_faiss()
    inner = layers(index)[-1]
    if not isinstance(inner, faiss.IndexIVF) or not device.startswith("cuda"):
        index.train(sample)
        return
    if faiss_gpus():
        inner.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(inner.d))
        index.train(sample)
        inner.clustering_index = None
        return
    seed_lists(index, inner, sample, device)
    index.train(sample)


def seed_lists(index: Any, inner: Any, sample: np.ndarray, device: str) -> None:
    """Give the inverted lists of an untrained index their centroids, so that its own training leaves them out."""
    faiss = import_faiss()
    turned = sample
    if isinstance(index, faiss.IndexPreTransform):
        for number in range(index.chain.size()):
            step = faiss.downcast_VectorTransform(index.chain.at(number))
            if not step.is_trained:
                step.train(turned)
            turned = step.apply(turned)
    centroids = kmeans(np.ascontiguousarray(turned), inner.nlist, device)
    faiss.downcast_index(inner.quantizer).add(centroids)


def sharded(index: Any) -> Any:
    """A FAISS index on all GPUs, its rows divided among them, where FAISS can do that with its type; else itself."""
    faiss = import_faiss()
    layer = layers(index)[-1]
    known = (faiss.IndexFlat, faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)
    if not faiss_gpus() or not isinstance(layer, known):
        return index
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    options.useFloat16 = True
    return faiss.index_cpu_to_all_gpus(index, options)
