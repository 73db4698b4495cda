"""Messages between a coordinator and shard servers: facts as JSON and arrays as their bytes, each size checked.

Little-endian: 8 bytes of magic, the length of the head (4 bytes), the head, the arrays one after the other. The head
is a JSON object of the facts, and of each array its name, kind and shape.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.unicode import json_bytes

MAGIC = b"SASHARD1"
MOST_HEAD = 16 << 20
MOST_ARRAYS = 16
KINDS = {"float32": "<f4", "float16": "<f2", "int64": "<i8"}
MEDIA_TYPE = "application/octet-stream"


class WireError(SearchAppError):
    """Bytes that are no message."""


@dataclass(frozen=True)
class Message:
    """Facts, which JSON can hold, and arrays by name."""

    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def array(self, name: str, kind: str, dimensions: int) -> np.ndarray:
        """An array of this kind with so many dimensions. Raises WireError where there is none."""
        found = self.arrays.get(name)
        if found is None or found.dtype != np.dtype(kind) or found.ndim != dimensions:
            raise WireError(f"the message has no {name} of {kind} in {dimensions} dimensions")
        return found

    def fact(self, name: str, kind: type) -> Any:
        """A fact of this type. Raises WireError where there is none."""
        found = self.facts.get(name)
        if type(found) is not kind:
            raise WireError(f"the message has no {name} that is of {kind.__name__}")
        return found


def pack(message: Message) -> bytes:
    """The bytes of a message."""
    listed, parts = [], []
    for name, array in message.arrays.items():
        kind = array.dtype.newbyteorder("=").name
        listed.append([name, kind, list(array.shape)])
        parts.append(np.ascontiguousarray(array, dtype=KINDS[kind]).tobytes())
    head = json_bytes(json.dumps({"facts": message.facts, "arrays": listed}, ensure_ascii=False))
    return b"".join([MAGIC, len(head).to_bytes(4, "little"), head, *parts])


def unpack(data: bytes) -> Message:
    """Read a message. Raises WireError for bytes that are none, are cut, or go on after its end."""
    if data[:8] != MAGIC or len(data) < 12:
        raise WireError("these bytes are no message of shards")
    size = int.from_bytes(data[8:12], "little")
    if size > min(MOST_HEAD, len(data) - 12):
        raise WireError(f"the head of the message has {size} bytes, {len(data) - 12} came")
    try:
        head = json.loads(data[12 : 12 + size])
        facts, listed = head["facts"], head["arrays"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError("the head of the message cannot be read") from error
    if not isinstance(facts, dict) or not isinstance(listed, list) or len(listed) > MOST_ARRAYS:
        raise WireError("the head of the message is not as expected")
    begin, arrays = 12 + size, {}
    for entry in listed:
        name, kind, shape = _entry(entry)
        count = math.prod(shape)
        end = begin + count * np.dtype(kind).itemsize
        if end > len(data):
            raise WireError(f"{name} should have {count} numbers; the message is cut")
        arrays[name] = np.frombuffer(data, dtype=kind, count=count, offset=begin).reshape(shape)
        begin = end
    if begin != len(data):
        raise WireError(f"{len(data) - begin} bytes follow after the message")
    return Message(facts, arrays)


def _entry(entry: Any) -> tuple[str, str, list[int]]:
    if isinstance(entry, list) and len(entry) == 3:
        name, kind, shape = entry
        is_shape = isinstance(shape, list) and len(shape) <= 3
        is_shape = is_shape and all(type(one) is int and 0 <= one < 2**40 for one in shape)
        if isinstance(name, str) and isinstance(kind, str) and kind in KINDS and is_shape:
            return name, KINDS[kind], shape
    raise WireError("the head of the message lists an array that there cannot be")
