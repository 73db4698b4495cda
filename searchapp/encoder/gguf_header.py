"""The head of a GGUF file: what it says of its model, without its weights, and without a library.

The layout is that of the GGUF specification, versions 2 and 3: magic, version, counts, key and value pairs, then name,
shape and type of each tensor. Arrays, such as the vocabulary, are passed over.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from searchapp.errors import ModelError, reason_of

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
LONGEST = 1 << 20  # bytes of a text; a longer one, or more of a thing than this, is a damaged file
KEPT = 256  # items of an array of texts that are kept: languages, and not a vocabulary


@dataclass(frozen=True)
class GgufHeader:
    """``fields`` by key, scalars, texts and short arrays of texts; ``parameters``, the numbers in all tensors."""

    fields: dict[str, Any]
    parameters: int


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the head of a file. Raises ModelError for what is no GGUF file, or a damaged one."""
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise ModelError(f"{path} is no GGUF file (its first four bytes are not GGUF); fetch it again")
            version, tensors, pairs = _number(file, "<I"), _number(file, "<Q"), _number(file, "<Q")
            if version not in (2, 3) or max(tensors, pairs) > LONGEST:
                raise ModelError(f"{path} is a GGUF file of version {version}; expected 2 or 3 in little-endian order")
            fields = {}
            for _ in range(pairs):
                key = _text(file)
                fields[key] = _value(file, _number(file, "<I"))
            parameters = 0
            for _ in range(tensors):
                _text(file)
                parameters += math.prod(_number(file, "<Q") for _ in range(_number(file, "<I")))
                file.seek(12, 1)  # its type, and where it begins
            return GgufHeader({key: value for key, value in fields.items() if value is not None}, parameters)
    except (struct.error, UnicodeDecodeError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is a damaged GGUF file ({reason_of(error)}); fetch it again") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({reason_of(error)})") from error


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _text(file: BinaryIO) -> str:
    length = _number(file, "<Q")
    if length > LONGEST:
        raise ValueError(f"a text of {length} bytes")
    return file.read(length).decode("utf-8")


def _value(file: BinaryIO, kind: int) -> Any:
    """A value; None for an array that is passed over. Raises KeyError for a type that does not exist."""
    if kind == STRING:
        return _text(file)
    if kind != ARRAY:
        return _number(file, SCALARS[kind])
    inner, count = _number(file, "<I"), _number(file, "<Q")
    if inner == STRING:
        if count <= KEPT:
            return [_text(file) for _ in range(count)]
        for _ in range(count):
            file.seek(_number(file, "<Q"), 1)
        return None
    if inner == ARRAY:
        raise ValueError("an array of arrays")
    file.seek(count * struct.calcsize(SCALARS[inner]), 1)
    return None
