"""Files and folders that appear whole or not at all: written beside their name, then renamed to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | Path, *, sync: bool = False, new: bool = False) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` when the block ends, and vanishes when the block raises.

    With ``sync`` the bytes are on the disk before the renaming, so that a power loss leaves the old file or the new
    one. With ``new`` a file that stands at ``path`` by then is kept: FileExistsError. Raises OSError.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.tmp")
    try:
        with draft.open("xb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if new:
            _put_new(draft, path)
        else:
            draft.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it is not there after the renaming, nor where it could not be made
            draft.unlink()


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of ``path`` when the block ends, and vanishes when the block raises.

    Where ``path`` cannot be replaced, what stood there stays. Raises OSError.
    """
    path = Path(path).absolute()
    draft = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.tmp")
    old = draft.with_suffix(".old")
    try:
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            path.rename(old)
        draft.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for leftover in (draft, old):
            shutil.rmtree(leftover, ignore_errors=True)


def write_text(path: str | Path, text: str, *, sync: bool = False) -> None:
    """Write a text in UTF-8, whole or not at all. Raises OSError."""
    with atomic_write(path, sync=sync) as file:
        file.write(text.encode("utf-8"))


def _put_new(draft: Path, path: Path) -> None:
    """Rename, and fail where the target exists: a hard link does; file systems without them get a check before."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(f"{path} exists") from None
        draft.rename(path)
