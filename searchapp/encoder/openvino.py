"""OpenVINO behind the loop: the same decoder, converted in memory and run on the CPU's own bfloat16 or float32.

Its kernels fuse what torch runs one by one; batches are padded, since the graph takes a mask. Vectors
agree with torch's to rounding, so an index may be searched by either; what an index is built with is kept with it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from searchapp import telemetry
from searchapp.encoder.backend import Result, flat_places, layout
from searchapp.encoder.batching import BUDGET, pad
from searchapp.encoder.devices import choose_dtype
from searchapp.encoder.library import quiet
from searchapp.encoder.pooling import highest, weigh
from searchapp.encoder.probes import bidirectional_fault, has_window, pad_id
from searchapp.encoder.settings import Settings
from searchapp.encoder.tokenization import Tokens
from searchapp.errors import ModelError, reason_of

HIDDEN = -1e30  # added to the score of a padded position; infinity would overflow when it is rounded to bfloat16


class OpenVinoBackend:
    """A compiled copy of a float32 transformers decoder; see ``Backend``."""

    name = "openvino"
    device = "cpu"
    padded = True

    def __init__(self, model: Any, tokenizer: Any, settings: Settings, dtype: str) -> None:
        import torch

        precision = choose_dtype(dtype, "cpu")
        if precision == torch.float16:
            raise ModelError("backend openvino has no float16 on a CPU; use --dtype bfloat16, float32 or auto")
        if settings.native and has_window(model.config):
            raise ModelError("backend openvino is for models without attention windows only; use --backend torch")
        if not settings.bidirectional:
            raise ModelError("backend openvino is for bidirectional encoders only; use --backend torch")
        if precision == torch.bfloat16 and usable_cores() < 2:
            raise ModelError(
                "backend openvino in bfloat16 needs two cores, this process may use one (its kernels divide by zero "
                "there, which ends the process); use --dtype float32, or --backend torch"
            )
        self.dtype = str(precision).removeprefix("torch.")
        self.budget, self.shrunk, self.positions = BUDGET["cpu"], False, 0
        self._tokenizer, self._pooling = tokenizer, settings.pooling
        self._vocabulary = int(model.config.vocab_size)
        self._run = _compile(model, bfloat16=precision == torch.bfloat16, threads=torch.get_num_threads())
        probe = _Probed(self, next(model.parameters()))
        if fault := bidirectional_fault(probe, vocabulary=self._vocabulary, pad=pad_id(model.config)):
            raise ModelError(f"this model cannot be made bidirectional by openvino: it {fault}; use --backend torch")

    def submit(self, batch: Sequence[Tokens]) -> Result:
        """As ``Backend.submit``. Raises ModelError for a token that the model does not know."""
        import torch

        ids, mask = pad([item.ids for item in batch], self._tokenizer, self._vocabulary)
        begins, weights = layout(batch, self._pooling, ids.shape[1])
        states = torch.from_numpy(self.states(ids, mask)).flatten(0, 1)
        combine = highest if self._pooling == "max" else weigh
        return combine(states, torch.from_numpy(weights), torch.from_numpy(begins)).numpy

    def submit_tokens(self, batch: Sequence[Tokens], places: Sequence[np.ndarray]) -> Result:
        """As ``Backend.submit_tokens``. Raises ModelError for a token that the model does not know."""
        ids, mask = pad([item.ids for item in batch], self._tokenizer, self._vocabulary)
        states = self.states(ids, mask)
        found: np.ndarray = states.reshape(-1, states.shape[-1])[flat_places(batch, places, ids.shape[1])]
        return lambda: found

    def states(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Hidden states float32 (n, length, dim) of padded ids and where they are real."""
        added = np.where(mask, 0.0, HIDDEN).astype(np.float32)[:, None, None, :]
        places = np.arange(ids.shape[1], dtype=np.int64)[None, :]
        out: np.ndarray = self._run([ids, added, places])[0]
        return out


class _Probed:
    """The compiled model as the probe calls a transformers model."""

    def __init__(self, backend: OpenVinoBackend, parameter: Any) -> None:
        import torch

        self._backend, self._parameter = backend, parameter
        self.dtype = getattr(torch, backend.dtype)

    def parameters(self) -> Any:
        return iter([self._parameter])

    def __call__(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        mask = np.ones(input_ids.shape, dtype=bool) if attention_mask is None else attention_mask.numpy().astype(bool)
        states = self._backend.states(input_ids.numpy(), mask)
        return BaseModelOutput(last_hidden_state=torch.from_numpy(states))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compile(model: Any, *, bfloat16: bool, threads: int) -> Any:
    """Convert a decoder to a graph of (ids, added mask, positions) and compile it. Raises ModelError."""
    import torch

    telemetry.switch_off_openvino()
    try:
        import openvino
    except ImportError as error:
        raise ModelError("backend openvino is not installed; pip install 'searchapp[openvino]'") from error

    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.inner(
                input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False
            ).last_hidden_state
            return states

    example = (torch.ones(2, 8, dtype=torch.long), torch.zeros(2, 1, 1, 8), torch.arange(8)[None])
    try:
        with torch.inference_mode(), quiet():
            graph = openvino.convert_model(Bare().eval(), example_input=example)
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            # With one thread its fused AMX kernels divide by zero (2026.4.1), which ends the process.
            "INFERENCE_NUM_THREADS": max(2, threads) if bfloat16 else threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        return openvino.compile_model(graph, "CPU", options)
    except Exception as error:  # a converter raises anything on an operation that it does not know
        raise ModelError(
            f"openvino cannot convert this model ({reason_of(error)[:200]}); use --backend torch"
        ) from error
