"""Index: exact search, PCA, k-means, codes and rescoring by FAISS and by PyTorch, and the type that auto takes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import internals
from benchmarks.gpu.machine import peak_memory, seconds
from benchmarks.gpu.record import Figures, Run, SkippedError
from benchmarks.gpu.vectors import Made, make

K = 10
REDUCED = 8  # the part of the dimensions that codes are made of: one in so many
CODE = 64  # bytes of a product code
SCAN = 1 << 18  # rows whose 8-bit codes are widened at a time


def measure(run: Run) -> None:
    """All jobs for each set of vectors, and after them the choice of a type, which takes longest."""
    for rows, dim in run.shapes.vectors:
        Bench(run, rows, dim).all()
    for rows, dim in run.shapes.vectors:
        run.attempt(f"{rows:,} x {dim}: the type that auto takes", partial(choose, run, rows, dim))


def faiss_module(run: Run) -> ModuleType:
    """FAISS. Raises SkippedError where it is not there, or sees no GPU and is to use one."""
    try:
        import faiss
    except ImportError as error:
        raise SkippedError(f"FAISS is not there ({error}); carry .gpu/faissgpu") from error
    if run.device == "cuda" and not internals.faiss_gpus():
        raise SkippedError("FAISS sees no GPU: it is a CPU build, or its kit was not carried")
    found: ModuleType = faiss
    return found


class Bench:
    """One set of vectors; what an earlier job made, a later one uses."""

    def __init__(self, run: Run, rows: int, dim: int) -> None:
        self.run, self.dim, self.name = run, dim, f"{rows:,} x {dim}"
        shapes = run.shapes
        self.made: Made = make(rows, dim, shapes.queries, shapes.topics, run.device)
        self.truth = np.zeros((0, K), dtype=np.int64)
        self.reduced: Made | None = None

    def all(self) -> None:
        """Measure PyTorch first: it makes what the others are compared with."""
        jobs: dict[str, Callable[[], Figures]] = {
            "exact, PyTorch": self.exact_torch,
            "exact, FAISS": self.exact_faiss,
            "k-means, PyTorch": self.kmeans_torch,
            "k-means, FAISS": self.kmeans_faiss,
            "PCA, PyTorch": self.pca_torch,
            "8-bit codes of an eighth, PyTorch": self.codes_torch,
            "product codes of an eighth in lists, FAISS": partial(self.codes_faiss, "PQ"),
            "8-bit codes of an eighth in lists, FAISS": partial(self.codes_faiss, "SQ8"),
            "rescoring, PyTorch": self.rescore_torch,
            "rescoring, FAISS on the CPU": self.rescore_faiss,
            "PCA, FAISS on the CPU": self.pca_faiss,
        }
        for what, job in jobs.items():
            self.run.attempt(f"{self.name}: {what}", job)

    def _searched(self, search: Callable[[np.ndarray], np.ndarray]) -> Figures:
        """Milliseconds a query alone and among all, and the share of the exact hits that is found."""
        queries, device = self.made.queries, self.run.device
        found = search(queries)
        search(queries[:1])
        if not len(self.truth):
            self.truth = found
        same = [len(set(a) & set(b)) / K for a, b in zip(found.tolist(), self.truth.tolist(), strict=True)]
        return {
            "ms_a_query_alone": 1e3 * seconds(lambda: search(queries[:1]), device, 5),
            "ms_a_query_of_all": 1e3 * seconds(lambda: search(queries), device) / len(queries),
            "found": float(np.mean(same)),
            "peak_bytes": peak_memory(device),
        }

    def exact_torch(self) -> Figures:
        """Ours: all vectors on the device, in half precision on a GPU."""
        began = time.perf_counter()
        held = internals.ExactSearch(self.made.blocks(), len(self.made.rows), internals.devices(self.run.device))
        took = time.perf_counter() - began
        return {**self._searched(lambda queries: held.search(queries, K)[1]), "load_seconds": took}

    def exact_faiss(self) -> Figures:
        """FAISS's flat index, in half precision on a GPU."""
        faiss = faiss_module(self.run)
        index = to_gpu(faiss, faiss.IndexFlatIP(self.dim), self.run.device)
        began = time.perf_counter()
        for block in self.made.blocks():
            index.add(block)
        took = time.perf_counter() - began
        return {**self._searched(lambda queries: index.search(queries, K)[1]), "load_seconds": took}

    def kmeans_torch(self) -> Figures:
        """Ours, ten rounds."""
        sample = self.made.rows[: self.run.shapes.sample]
        took = seconds(lambda: internals.kmeans(sample, self.run.shapes.lists, self.run.device), self.run.device)
        return {"seconds": took, "rows": len(sample), "lists": self.run.shapes.lists}

    def kmeans_faiss(self) -> Figures:
        """FAISS's, ten rounds over the same rows."""
        faiss = faiss_module(self.run)
        sample = self.made.rows[: self.run.shapes.sample]
        means = faiss.Kmeans(
            self.dim, self.run.shapes.lists, niter=10, spherical=True, gpu=self.run.device == "cuda",
            max_points_per_centroid=len(sample),
        )  # fmt: skip
        took = seconds(lambda: means.train(sample), self.run.device)
        return {"seconds": took, "rows": len(sample), "lists": self.run.shapes.lists}

    def pca_torch(self) -> Figures:
        """Ours: moments on the device, the leading axes of them; then all vectors reduced, for the codes."""
        sample, device, size = self.made.rows[: self.run.shapes.sample], self.run.device, self.dim // REDUCED
        found: list[torch.Tensor] = []

        def fit() -> None:
            blocks = [sample[begin : begin + SCAN // 8] for begin in range(0, len(sample), SCAN // 8)]
            found.append(internals.leading_axes(internals.moments(blocks, self.dim, device)[0], size))

        took = seconds(fit, device)
        axes = found[-1].to(device, torch.float32)

        def reduce(rows: np.ndarray) -> np.ndarray:
            turned = torch.nn.functional.normalize(torch.from_numpy(rows).to(device) @ axes)
            out: np.ndarray = turned.cpu().numpy()
            return out

        began = time.perf_counter()
        self.reduced = Made(np.concatenate([reduce(block) for block in self.made.blocks()]), reduce(self.made.queries))
        return {"seconds": took, "rows": len(sample), "axes": size, "reduce_seconds": time.perf_counter() - began}

    def pca_faiss(self) -> Figures:
        """FAISS's, which has none for GPUs; on a part of the sample, at most four rows a dimension."""
        faiss = faiss_module(self.run)
        sample = self.made.rows[: min(self.run.shapes.sample, 4 * self.dim)]
        matrix = faiss.PCAMatrix(self.dim, self.dim // REDUCED)
        return {"seconds": seconds(lambda: matrix.train(sample), "cpu"), "rows": len(sample), "axes": matrix.d_out}

    def _reduced(self) -> Made:
        if self.reduced is None:
            raise SkippedError("the reduction failed, which these codes are made of")
        return self.reduced

    def codes_torch(self) -> Figures:
        """Bytes of the reduced vectors, scanned whole: widened block by block, one product, the best of all kept."""
        reduced, device = self._reduced(), self.run.device
        codes = torch.empty(reduced.rows.shape, dtype=torch.int8, device=device)
        scale = 127 / float(np.abs(reduced.rows).max())
        for begin in range(0, len(codes), SCAN):
            block = torch.from_numpy(reduced.rows[begin : begin + SCAN]).to(device)
            codes[begin : begin + SCAN] = (block * scale).round()
        asked = torch.from_numpy(reduced.queries).to(device)
        kind = {"cuda": torch.float16, "cpu": torch.float32}[device]
        depth = self.run.shapes.candidates

        def scan(count: int) -> torch.Tensor:
            best, names = [], []
            for begin in range(0, len(codes), SCAN):
                top = torch.topk((asked[:count].to(kind) @ codes[begin : begin + SCAN].to(kind).T).float(), depth)
                best.append(top.values)
                names.append(top.indices + begin)
            order = torch.topk(torch.cat(best, 1), depth).indices
            return torch.gather(torch.cat(names, 1), 1, order)

        return {**self._candidates(lambda queries: scan(len(queries)).cpu().numpy(), reduced.queries),
                "bytes_a_vector": codes.shape[1]}  # fmt: skip

    def codes_faiss(self, code: str) -> Figures:
        """Inverted lists of codes, trained and filled where they are searched."""
        faiss, reduced, shapes = faiss_module(self.run), self._reduced(), self.run.shapes
        size = reduced.rows.shape[1]
        text = code if code == "SQ8" else f"PQ{min(CODE, size)}np"  # FAISS would order codes for a search unused here
        made = faiss.index_factory(size, f"IVF{shapes.lists},{text}", faiss.METRIC_INNER_PRODUCT)
        index = to_gpu(faiss, made, self.run.device)
        trained = seconds(lambda: index.train(reduced.rows[: shapes.sample]), "cpu")
        began = time.perf_counter()
        for block in reduced.blocks():
            index.add(block)
        filled = time.perf_counter() - began
        index.nprobe = max(1, shapes.lists // 32)
        depth = shapes.candidates
        figures = self._candidates(lambda queries: index.search(queries, depth)[1], reduced.queries)
        return {**figures, "train_seconds": trained, "add_seconds": filled, "nprobe": index.nprobe,
                "bytes_a_vector": size if code == "SQ8" else min(CODE, size)}  # fmt: skip

    def _candidates(self, search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> Figures:
        """Milliseconds a query, and the share of the exact hits among the candidates."""
        found = search(queries)
        search(queries[:1])
        held = [len(set(a) & set(b)) / K for a, b in zip(found.tolist(), self.truth.tolist(), strict=True)]
        return {
            "ms_a_query_alone": 1e3 * seconds(lambda: search(queries[:1]), self.run.device, 5),
            "ms_a_query_of_all": 1e3 * seconds(lambda: search(queries), self.run.device) / len(queries),
            "hits_among_candidates": float(np.mean(held)),
            "candidates": found.shape[1],
        }

    def _asked(self) -> np.ndarray:
        """Rows to rescore for each query, int64 (queries, candidates): the same for both programs."""
        size = (len(self.made.queries), self.run.shapes.candidates)
        return np.random.default_rng(0).integers(0, len(self.made.rows), size)

    def rescore_torch(self) -> Figures:
        """Exact cosines of candidates, their vectors gathered on the device in half precision."""
        device, asked = self.run.device, torch.from_numpy(self._asked())
        held = torch.empty(self.made.rows.shape, dtype=torch.float16, device=device)
        begin = 0
        for block in self.made.blocks():
            held[begin : begin + len(block)] = torch.from_numpy(block).to(device)
            begin += len(block)
        queries, asked = torch.from_numpy(self.made.queries).to(device), asked.to(device)

        def rescore(count: int) -> None:
            for part in range(0, count, 64):
                rows = held[asked[part : part + 64]].float()
                torch.topk(torch.einsum("qcd,qd->qc", rows, queries[part : part + 64]), K)

        return self._rescored(rescore)

    def rescore_faiss(self) -> Figures:
        """FAISS's distances of given rows, which it has for CPUs alone."""
        faiss, asked = faiss_module(self.run), self._asked()
        index = faiss.IndexFlatIP(self.dim)
        for block in self.made.blocks():
            index.add(block)
        scores = np.empty(asked.shape, dtype=np.float32)

        def rescore(count: int) -> None:
            index.compute_distance_subset(
                count, faiss.swig_ptr(self.made.queries), asked.shape[1], faiss.swig_ptr(scores), faiss.swig_ptr(asked)
            )

        return self._rescored(rescore)

    def _rescored(self, rescore: Callable[[int], None]) -> Figures:
        count, device = len(self.made.queries), self.run.device
        rescore(count)
        return {
            "ms_a_query_alone": 1e3 * seconds(lambda: rescore(1), device, 5),
            "ms_a_query_of_all": 1e3 * seconds(lambda: rescore(count), device) / count,
            "candidates": self.run.shapes.candidates,
        }


def to_gpu(faiss: Any, index: Any, device: str) -> Any:
    """A FAISS index on the first GPU, in half precision; on a CPU itself."""
    if device == "cpu":
        return index
    options = faiss.GpuClonerOptions()  # on a GPU only
    options.useFloat16 = options.useFloat16LookupTables = True  # on a GPU only
    resources = faiss.StandardGpuResources()  # on a GPU only
    moved = faiss.index_cpu_to_gpu(resources, 0, index, options)  # on a GPU only
    moved.resources = resources  # on a GPU only: it has to live as long
    return moved  # on a GPU only


def choose(run: Run, rows: int, dim: int) -> Figures:
    """Store vectors as an index and let auto measure which type suffices, on this machine and its GPU."""
    faiss_module(run)
    shapes, place = run.shapes, run.work / f"index-{dim}"
    made = make(rows, dim, shapes.queries, shapes.topics, run.device)
    began = time.perf_counter()
    internals.index_of(place, made.blocks(), dim, made.queries)
    stored = time.perf_counter() - began
    began = time.perf_counter()
    manifest = internals.reindex(place, factory="auto", device=run.device)
    took = time.perf_counter() - began
    index = internals.VectorIndex.open(place)
    index.search_vectors(made.queries[:1], K)
    alone = seconds(lambda: index.search_vectors(made.queries[:1], K), "cpu", 5)
    held = internals.VectorIndex.open(place, device=run.device)
    held.search_vectors(made.queries[:1], K)
    there = seconds(lambda: held.search_vectors(made.queries[:1], K), run.device, 5)
    shutil.rmtree(place)
    return {
        "type": internals.chosen_type(manifest),
        "store_seconds": stored,
        "choose_seconds": took,
        "ms_a_query_on_the_cpu": 1e3 * alone,
        "ms_a_query_on_the_device": 1e3 * there,
    }
