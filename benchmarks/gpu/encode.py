"""Encode: tokens a second of ours by attention kernel, compiled or not, and of rivals on the very same weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from transformers.utils import is_flash_attn_2_available

from benchmarks.gpu import internals, rivals
from benchmarks.gpu.kernels import BACKENDS, kernels
from benchmarks.gpu.machine import Idle, forget_peak, idle_by_profiler, matmul_rate, peak_memory, seconds
from benchmarks.gpu.record import Figures, Run, SkippedError
from benchmarks.gpu.shapes import Model
from benchmarks.gpu.texts import documents

KERNELS = ("sdpa", "flash_attention_2")  # of transformers, on padded batches
LEAST_COSINE = 0.999  # of a vector with that of the packed kernel, else the row says so


def measure(run: Run) -> None:
    """Every model in turn."""
    for model, count in zip(run.shapes.models, run.shapes.documents, strict=True):
        run.attempt(f"{model.name}: texts", partial(_measured, run, model, count))


def _measured(run: Run, model: Model, count: int) -> Figures:
    return Bench(run, model, documents(run, count)).all()


class Bench:
    """One decoder with random bfloat16 weights, and every program on it."""

    def __init__(self, run: Run, model: Model, texts: list[str]) -> None:
        self.run, self.model, self.texts = run, model, texts
        self.decoder = internals.decoder(model, run.device)
        packed = internals.encoder(self.decoder, "packed")
        self.counts = internals.token_counts(packed, texts)
        self.few = slice(0, run.shapes.checked)  # for what is slow
        self.vectors = np.zeros((0, 0), dtype=np.float32)

    def all(self) -> Figures:
        """Measure in the order of what is wanted most; return what the texts were like."""
        run, name = self.run, self.model.name
        every = slice(0, len(self.texts))
        ours = run.attempt(f"{name}: searchapp, packed", partial(self.ours, "packed", every))
        theirs = run.attempt(f"{name}: sentence-transformers", partial(self.timed, self.rival, self.few))
        plain = run.attempt(f"{name}: a plain transformers loop", partial(self.timed, self.loop, self.few))
        run.attempt(f"{name}: beside sentence-transformers", partial(_beside, ours, theirs or plain))
        run.attempt(f"{name}: searchapp, packed, compiled", self.compiled)
        for kernel in KERNELS:
            run.attempt(f"{name}: searchapp, padded, {kernel}", partial(self.ours, kernel, self.few))
        run.attempt(f"{name}: idle by the profiler", self.profiled)
        for kernel, job in kernels(self.decoder.config, self.counts, run.device).items():
            run.attempt(f"{name}: one layer's attention, {kernel}", job)
        return {"documents": len(self.texts), "tokens": self.counts.sum(), "mean": self.counts.mean()}

    def ours(self, kernel: str, chosen: slice) -> Figures:
        """Our encoder on an attention kernel."""
        if kernel == "flash_attention_2" and not is_flash_attn_2_available():
            raise SkippedError("flash-attn is not installed; the packed kernel is PyTorch's own flash attention")
        return self.timed(lambda: internals.encoder(self.decoder, kernel).encode, chosen)

    def rival(self) -> rivals.Encode:
        """sentence-transformers."""
        return rivals.sentence_transformers(self.decoder, self.run.device, self.run.work)

    def loop(self) -> rivals.Encode:
        """The loop one writes first."""
        return rivals.plain(self.decoder, self.run.device)

    def compiled(self) -> Figures:
        """Our packed encoder with its blocks compiled; what compiling took is not in the rate."""
        encoder = internals.encoder(self.decoder, "packed")
        undo = internals.compiled(self.decoder, BACKENDS[self.run.device])
        try:
            took = seconds(lambda: encoder.encode(self.texts[self.few]), self.run.device)
            return {**self.timed(lambda: encoder.encode, slice(0, len(self.texts))), "first_call_seconds": took}
        finally:
            undo()

    def profiled(self) -> Figures:
        """The idle share of the packed encoder once more, from the times of its kernels."""
        encoder = internals.encoder(self.decoder, "packed")
        return {"idle": idle_by_profiler(lambda: encoder.encode(self.texts[self.few]), self.run.device)}

    def timed(self, make: Callable[[], Callable[[Sequence[str]], Any]], chosen: slice) -> Figures:
        """Rounds of a program over some of the texts, and the card's matrix products in between."""
        run, texts, counts = self.run, self.texts[chosen], self.counts[chosen]
        encode = make()
        encode(texts[: len(texts) // 8])
        forget_peak(run.device)
        times, rates = [], [matmul_rate(run.device, run.shapes.matrix)]
        with Idle(run.device) as idle:
            began = time.perf_counter()
            for _ in range(run.shapes.rounds):
                begun = time.perf_counter()
                vectors = encode(texts)
                times.append(time.perf_counter() - begun)
            ended = time.perf_counter()
        rates.append(matmul_rate(run.device, run.shapes.matrix))
        if not len(self.vectors):
            self.vectors = vectors  # the packed kernel is the first
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(self.vectors[chosen], axis=1)
        cosine = float(((vectors * self.vectors[chosen]).sum(1) / lengths).min())
        took, rate = min(times), float(np.mean(rates))
        return {
            "tokens_per_second": counts.sum() / took,
            "documents_per_second": len(texts) / took,
            "of_matmul_rate": internals.flops(self.decoder, counts) / took / rate,
            "matmul_tflops": rate / 1e12,
            "idle": idle.share(began, ended),
            "peak_bytes": peak_memory(run.device),
            "least_cosine": cosine,
            "agrees": cosine >= LEAST_COSINE,
        }


def _beside(ours: Figures, theirs: Figures) -> Figures:
    if not ours or not theirs:
        raise SkippedError("one of the two has no rate")
    return {"times": ours["tokens_per_second"] / theirs["tokens_per_second"]}
