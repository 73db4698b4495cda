"""``dtype="auto"``: bfloat16 where the processor has it, and how far its vectors are from float32's."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from searchapp import Encoder
from searchapp.encoder import devices


def _texts() -> list[str]:
    """Real prose of every length: the docstrings of a module that every machine has."""
    import argparse

    found = [inspect.getdoc(thing) or "" for _, thing in inspect.getmembers(argparse)]
    found += [inspect.getdoc(thing) or "" for _, thing in inspect.getmembers(str)]
    return [text for text in dict.fromkeys(found) if text] + ["bees", "how do I parse options"]


def test_bfloat16_vectors_stay_near_those_of_float32() -> None:
    exact, fast = (Encoder.load("bundled", dtype=dtype).encode(_texts()) for dtype in ("float32", "bfloat16"))
    assert len(exact) > 50
    assert (exact * fast).sum(1).min() > 0.9995
    assert np.abs(np.linalg.norm(fast, axis=1) - 1).max() < 1e-5  # pooled and normalised in float32


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_processor_has_it(
    tiny_model, native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: native)
    assert Encoder.load(str(tiny_model)).dtype == expected
    assert Encoder.load(str(tiny_model), dtype="float32").dtype == "float32"


@pytest.mark.parametrize("flags", [(True, False), (False, True), (False, False)])
def test_either_instruction_set_counts(flags: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, flag in zip(("_is_amx_tile_supported", "_is_avx512_bf16_supported"), flags, strict=True):
        monkeypatch.setattr(torch.cpu, name, lambda flag=flag: flag, raising=False)
    assert devices.native_bfloat16(torch.cpu) == any(flags)
