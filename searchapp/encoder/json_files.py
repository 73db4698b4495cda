"""Reads a checkpoint's JSON files; an error names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from searchapp.errors import ModelError
from searchapp.unicode import find_surrogate

POINTER = b"version https://git-lfs"


def is_text(value: Any) -> bool:
    """Whether a value is a string that a tokenizer takes; JSON can spell half of a surrogate pair."""
    return isinstance(value, str) and find_surrogate(value) is None


def refuse_pointer(path: Path) -> None:
    """Raise ModelError where a file is the pointer that git leaves in place of a large file."""
    try:
        with path.open("rb") as file:
            head = file.read(len(POINTER))
    except OSError:
        return  # whoever reads it raises
    if head == POINTER:
        raise ModelError(
            f"{path} is a Git LFS pointer, not the file itself: it was cloned without git lfs; fetch it with "
            f"`git lfs pull` in {path.parent}, or download it from the hub"
        )


def parse(path: Path) -> Any:
    """Whatever JSON a file holds. Raises ModelError."""
    refuse_pointer(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}); restore the checkpoint's file") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ModelError names the file when it is not one."""
    content = parse(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content
