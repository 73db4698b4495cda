"""What a machine without a network needs for the reproduction: the base and the data, in parts that are small enough.

``pack`` writes ``DIR/1``, ``DIR/2`` …; each can be brought to the other machine on its own, in any order.
``unpack`` makes the checkpoint and the data of them there, when all have come.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from searchapp.atomic import atomic_directory, write_text
from searchapp.errors import AdaptError
from training.reproduction.plan import MNTP_TEXTS, PAIRS, SENTENCES
from training.reproduction.tasks import RERANKING, RETRIEVAL, STS, WORDS

PART = 48 << 20  # bytes of a part: with the checkout it stays below 64 MiB
CONTENT, LABEL = "content", "part.json"


def needed(data: Path) -> list[Path]:
    """The files and folders below ``data`` that training and measuring read."""
    texts = [data / "text" / f"{name}.txt.gz" for name in (*MNTP_TEXTS, *SENTENCES)]
    pairs = [data / "pairs" / f"{name}.jsonl.gz" for name in PAIRS]
    sts = [data / "sts" / f"{name}.tsv.gz" for name in STS]
    reranking = [data / "rerank" / f"{name}.jsonl.gz" for name in RERANKING]
    folders = [data / "retrieval" / name for name in RETRIEVAL] + [data / "wordlevel" / name for name in WORDS.values()]
    return [*texts, *pairs, *sts, *reranking, *folders]


def pack(base: Path, data: Path, to: Path, size: int = PART) -> list[Path]:
    """Write the parts anew and return them. Raises AdaptError where something that is needed is not there."""
    files = needed(data)
    if missing := [path for path in (base / "config.json", *files) if not path.exists()]:
        raise AdaptError(f"{missing[0]} is not there; name the checkpoint with --base and the data with --data")
    shutil.rmtree(to, ignore_errors=True)
    parts: list[tuple[Path, str]] = []

    def add(content: bytes) -> None:
        folder = to / str(len(parts) + 1)
        folder.mkdir(parents=True)
        (folder / CONTENT).write_bytes(content)
        parts.append((folder, hashlib.sha256(content).hexdigest()))

    cut = _Cut(add, size)
    with tarfile.open(fileobj=cut, mode="w|") as archive:  # type: ignore[call-overload]
        archive.add(base, "base")
        for path in files:
            archive.add(path, f"data/{path.relative_to(data)}")
    cut.end()
    for number, (folder, digest) in enumerate(parts, 1):
        write_text(folder / LABEL, json.dumps({"part": number, "of": len(parts), "sha256": digest}) + "\n")
    return [folder for folder, _ in parts]


class _Cut:
    """A file that hands on what is written into it in pieces of one size."""

    def __init__(self, take: Callable[[bytes], None], size: int) -> None:
        self._take, self._size, self._held = take, size, bytearray()

    def write(self, content: bytes) -> int:
        self._held += content
        while len(self._held) >= self._size:
            self._take(bytes(self._held[: self._size]))
            del self._held[: self._size]
        return len(content)

    def end(self) -> None:
        if self._held:
            self._take(bytes(self._held))


def unpack(parts: Path, to: Path) -> tuple[Path, Path]:
    """The checkpoint and the data, made in ``to`` of the parts; what is there already is kept.

    Raises AdaptError where a part has not come, is damaged, or is of another packing.
    """
    if not to.exists():
        files = _checked(parts)
        with atomic_directory(to) as draft, _Joined(files) as joined:
            with tarfile.open(fileobj=joined, mode="r|") as archive:
                archive.extractall(draft, filter="data")
    return to / "base", to / "data"


def _checked(parts: Path) -> list[Path]:
    labels = {path.parent.name: _label(path) for path in parts.glob(f"*/{LABEL}")}
    count = max((label["of"] for label in labels.values()), default=0)
    here = sorted(label["part"] for label in labels.values())
    if not count or here != list(range(1, count + 1)):
        said = f"parts {', '.join(map(str, here))} of {count}" if here else "no part"
        raise AdaptError(f"{parts} holds {said}; bring the others, which `make reproduce-gpu-carry` wrote")
    files = []
    for number in range(1, count + 1):
        file = parts / str(number) / CONTENT
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "none"
        if digest != labels[str(number)]["sha256"]:
            raise AdaptError(f"{file} is damaged: its digest is {digest[:12]}; bring part {number} again")
        files.append(file)
    return files


def _label(path: Path) -> dict[str, Any]:
    label: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return label


class _Joined:
    """Files read one after another as one."""

    def __init__(self, files: list[Path]) -> None:
        self._files, self._open = files, None
        self._open: IO[bytes] | None

    def __enter__(self) -> _Joined:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            self._open.close()

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            if self._open is None:
                if not self._files:
                    break
                self._open = self._files.pop(0).open("rb")
            piece = self._open.read(size - len(found))
            if not piece:
                self._open.close()
                self._open = None
            found += piece
        return found
