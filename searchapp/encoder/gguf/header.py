"""A GGUF file before its tensors: metadata by key, and where each tensor lies.

The layout is that of the GGUF specification, versions 2 and 3, little-endian
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from searchapp.errors import ModelError, reason_of

SUFFIX, MAGIC, VERSIONS = ".gguf", b"GGUF", (2, 3)
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: ``shape`` as torch has it, ``kind`` its number among GGML's types, ``start`` in bytes."""

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class Header:
    """What stands before the tensors of a file: its metadata by key, and where each tensor lies."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def family(self) -> str:
        """The architecture, as the file names it."""
        return str(self.metadata.get("general.architecture"))

    def get(self, name: str, default: Any = None) -> Any:
        """A value of the architecture's own."""
        return self.metadata.get(f"{self.family}.{name}", default)

    def need(self, name: str) -> Any:
        """The same, where there must be one. Raises ModelError."""
        found = self.get(name)
        if found is None:
            raise ModelError(f"{self.path} has no {self.family}.{name}; convert the model to GGUF again")
        return found


def is_gguf(path: Path) -> bool:
    """Whether a path is a GGUF file, by its name."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def find_gguf(directory: Path) -> Path | None:
    """The one GGUF file of a folder, or ``directory`` itself where it is one; None where there is none.

    Raises ModelError for several, and for a part of a file.
    """
    if is_gguf(directory):
        found = [directory]
    else:
        found = sorted(path for path in directory.glob("*") if is_gguf(path))
    for path in found:
        if part := PART.search(path.name):
            raise ModelError(
                f"{path} is one of {int(part[2])} parts of a GGUF file, and parts are not read; put them together with "
                "`llama-gguf-split --merge`, and give the whole file"
            )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ModelError(f"{directory} holds {len(found)} GGUF files ({names}); give the path of one of them")
    return found[0] if found else None


def read_header(path: Path) -> Header:
    """Read what stands before the tensors. Raises ModelError for what is no GGUF file, is cut short, or is a part."""
    try:
        status = path.stat()
        return _read_header(path.absolute(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({reason_of(error)})") from error


@lru_cache(maxsize=1)  # configuration, tokenizer and weights are read one after the other
def _read_header(path: Path, size: int, _: int) -> Header:
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise ModelError(f"{path} is no GGUF file (it does not begin with GGUF); fetch it again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                header, end = _parsed(path, content)
            except (struct.error, IndexError, UnicodeDecodeError, KeyError, MemoryError, OverflowError) as error:
                raise ModelError(f"{path} is cut short or damaged in its header; fetch it again") from error
    if header.metadata.get("split.count", 1) > 1:
        raise ModelError(
            f"{path} is one of {header.metadata['split.count']} parts of a GGUF file, and parts are not read; put them "
            "together with `llama-gguf-split --merge`, and give the whole file"
        )
    if end > size:
        raise ModelError(f"{path} has {size:,} bytes, its header tells of {end:,}: it is cut short; fetch it again")
    return header


class _Cursor:
    """Reads values one after the other."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.place = content, 4

    def number(self, form: str) -> Any:
        form = "<" + form
        (value,) = struct.unpack_from(form, self.content, self.place)
        self.place += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.number("Q")
        raw = self.content[self.place : self.place + length]
        if len(raw) != length:
            raise IndexError
        self.place += length
        return raw.decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(NUMBERS[kind])
        inner, count = self.number("I"), self.number("Q")
        if count > len(self.content):
            raise IndexError
        if inner in NUMBERS:
            values = struct.unpack_from(f"<{count}{NUMBERS[inner]}", self.content, self.place)
            self.place += struct.calcsize(f"<{count}{NUMBERS[inner]}")
            return list(values)
        return [self.value(inner) for _ in range(count)]


def _parsed(path: Path, content: mmap.mmap) -> tuple[Header, int]:
    """The header, and where the last tensor ends."""
    require_package(path)
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    cursor = _Cursor(content)
    version = cursor.number("I")
    if version not in VERSIONS:
        raise ModelError(f"{path} is GGUF of version {version}; expected 2 or 3, written on a little-endian machine")
    count, entries = cursor.number("Q"), cursor.number("Q")
    metadata = {}
    for _ in range(entries):
        key = cursor.text()
        metadata[key] = cursor.value(cursor.number("I"))
    tensors, end = {}, 0
    for _ in range(count):
        name, rank = cursor.text(), cursor.number("I")
        shape = tuple(cursor.number("Q") for _ in range(rank))[::-1]
        kind, start = cursor.number("I"), cursor.number("Q")
        tensors[name] = Tensor(shape, kind, start)
    step = metadata.get("general.alignment", 32)
    begin = -(-cursor.place // step) * step
    known = {item.value for item in GGMLQuantizationType}
    for name, tensor in tensors.items():
        if tensor.kind not in known:
            raise ModelError(f"{path} holds {name} in type {tensor.kind}, which this gguf package does not know")
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        tensors[name] = Tensor(tensor.shape, tensor.kind, begin + tensor.start)
        end = max(end, begin + tensor.start + prod(tensor.shape) // block * size)
    return Header(path, metadata, tensors), end


def require_package(path: Path) -> None:
    """Raise ModelError unless the package is there that knows the tensor types."""
    if find_spec("gguf") is None:
        raise ModelError(f"{path} is a GGUF file, which needs the package gguf: pip install 'searchapp[gguf]'")
