"""How much memory a process can still take: of the machine, within the limits of its container, or of a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
UNLIMITED = 1 << 60  # what version 1 of the kernel's groups has for no limit is near 2 ** 63


def free_memory(device: str = "cpu", root: Path = ROOT) -> int | None:
    """Bytes that can be taken on a device without swapping; None where the system does not say.

    On a CPU it is the kernel's estimate (MemAvailable: free pages and page cache that can be given up), within the
    memory limits of every control group round the process (version 2 or 1), as containers have them. ``root`` is where
    the system's files are.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    found = [_available(root), *_group_rooms(root)]
    known = [size for size in found if size is not None]
    return min(known) if known else None


def machine_memory(root: Path = ROOT) -> int | None:
    """Bytes of the whole machine, or of its container; None where the system does not say."""
    limits = [limit for limit, _ in _groups(root)]
    total = _meminfo(root, "MemTotal")
    return min([*limits, *([] if total is None else [total])], default=None)


def gigabytes(size: float) -> str:
    """A size as a message has it: 16.1 GB, 0.04 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 0.95e8 else f"{size / 1e9:.2g} GB"


def _available(root: Path) -> int | None:
    found = _meminfo(root, "MemAvailable")
    if found is None and root == ROOT:
        try:  # a system without /proc; its page cache counts as taken
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    return found


def _meminfo(root: Path, key: str) -> int | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == key and words and words[0].isdecimal():
            return int(words[0]) * 1024
    return None


def _group_rooms(root: Path) -> Iterator[int]:
    """Room below each limit: what is neither used nor page cache that can be given up."""
    for limit, used in _groups(root):
        yield max(0, limit - used)


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """Yield (limit, use) of each control group round this process that limits memory, in bytes."""
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, kinds, path = (line.split(":", 2) + ["", ""])[:3]
        if kinds == "":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            mount = root / "sys/fs/cgroup/memory"
        else:
            continue
        place = Path(path.lstrip("/"))
        for part in (place, *place.parents):  # the last is the mount itself: all a container may see of its group
            limit, used = (_number(mount / part / name) for name in names[:2])
            if limit is None or used is None or limit >= UNLIMITED:
                continue
            yield limit, max(0, used - _cache(mount / part / "memory.stat", names[2]))


def _cache(path: Path, key: str) -> int:
    for line in (_text(path) or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdecimal():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    """The number that a file holds; None where there is none, as in ``max``."""
    text = (_text(path) or "").strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
