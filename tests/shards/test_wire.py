"""Messages between servers come back as they were; bytes that are none are refused, whatever is changed in them."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from searchapp.shards.wire import MAGIC, Message, WireError, pack, unpack

MESSAGE = Message(
    {"verb": "dense", "k": 10, "filter": 'lang == "für"', "none": None},
    {
        "queries": np.arange(12, dtype=np.float32).reshape(3, 4),
        "half": np.zeros((0, 4), np.float16),
        "numbers": np.array([-1, 2**40]),
    },
)


def test_a_message_comes_back() -> None:
    found = unpack(pack(MESSAGE))
    assert found.facts == MESSAGE.facts
    assert list(found.arrays) == list(MESSAGE.arrays)
    for name, array in MESSAGE.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)
    assert found.array("queries", "float32", 2).shape == (3, 4)
    for name, kind, dimensions in (("queries", "float32", 1), ("queries", "float16", 2), ("other", "int64", 1)):
        with pytest.raises(WireError):
            found.array(name, kind, dimensions)
    for name, kind in (("k", str), ("none", int), ("missing", int)):
        with pytest.raises(WireError):
            found.fact(name, kind)


def test_cut_longer_and_changed_bytes_are_refused_or_read() -> None:
    data = pack(MESSAGE)
    for length in range(len(data)):
        with pytest.raises(WireError):
            unpack(data[:length])
    with pytest.raises(WireError, match="follow"):
        unpack(data + b"x")
    chance = random.Random(1)
    for _ in range(2_000):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] = chance.randrange(256)
        try:
            unpack(bytes(changed))  # other numbers, or another text
        except WireError:
            continue


@pytest.mark.parametrize(
    "head",
    [
        b'{"facts": {}, "arrays": [["a", "float32", [-1]]]}',
        b'{"facts": {}, "arrays": [["a", "float32", [9007199254740993]]]}',
        b'{"facts": {}, "arrays": [["a", "object", [1]]]}',
        b'{"facts": {}, "arrays": [["a", "float32", [1.0]]]}',
        b'{"facts": {}, "arrays": [["a", "float32", [true]]]}',
        b'{"facts": {}, "arrays": [["a", "float32", [1, 1, 1, 1]]]}',
        b'{"facts": {}, "arrays": [["a"]]}',
        b'{"facts": {}, "arrays": [["a", "float32", [100]]]}',
        b'{"facts": [], "arrays": []}',
        b'{"arrays": []}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_heads_that_cannot_be_are_refused(head: bytes) -> None:
    with pytest.raises(WireError):
        unpack(MAGIC + struct.pack("<I", len(head)) + head)
