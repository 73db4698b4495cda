"""What a folder holds, told from the names in it; imports nothing, for the command line asks before anything else."""

from __future__ import annotations

from pathlib import Path


def is_root(path: str | Path) -> bool:
    """Whether a folder is a root of shards."""
    return _has(path, "root-*.json")


def is_index(path: str | Path) -> bool:
    """Whether a folder is an index or a root of shards."""
    return _has(path, "manifest-*.json") or is_root(path)


def _has(path: str | Path, pattern: str) -> bool:
    try:
        return next(Path(path).glob(pattern), None) is not None
    except (OSError, ValueError):  # a folder that cannot be read, or no path at all
        return False
