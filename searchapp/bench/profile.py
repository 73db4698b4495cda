"""Where the time of a run goes: the operators that torch's profiler sees, in a few groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

GROUPS = {
    "matrix products": ("mm", "addmm", "bmm", "linear", "mkldnn_linear", "baddbmm"),
    "attention": ("scaled_dot_product", "flash_attention", "efficient_attention", "varlen"),
    "copies and casts": ("copy_", "cat", "clone", "index", "slice", "contiguous", "embedding"),
}
REST = "elementwise and norms"


def shares(run: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> dict[str, float]:
    """Share of the operators' own time by group, largest first; tokenizing and Python are not in it."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as watch:
        run(texts)
    totals: dict[str, float] = {}
    for event in watch.key_averages():
        name = event.key.removeprefix("aten::")
        if event.key.startswith("aten::"):
            group = next((group for group, names in GROUPS.items() if _belongs(name, names)), REST)
            totals[group] = totals.get(group, 0.0) + float(event.self_cpu_time_total)
    whole = sum(totals.values()) or 1.0
    return {group: spent / whole for group, spent in sorted(totals.items(), key=lambda item: -item[1])}


def _belongs(name: str, names: Sequence[str]) -> bool:
    return any(name == known or name.lstrip("_").startswith(known) for known in names)
