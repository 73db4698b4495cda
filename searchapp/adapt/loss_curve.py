"""The loss of a run as a picture and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

WINDOW = 20  # steps of the running mean


def draw(history: Sequence[dict[str, float]], to: Path, *, title: str) -> None:
    """Draw loss and learning rate against the step as a PNG."""
    from matplotlib.figure import Figure

    steps = np.array([row["step"] for row in history])
    loss = np.array([row["loss"] for row in history])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, loss, color="0.75", linewidth=0.8, label="each step")
    width = min(WINDOW, len(loss))
    if width > 1:
        mean = np.convolve(loss, np.ones(width) / width, mode="valid")
        axes.plot(steps[width - 1 :], mean, color="tab:blue", label=f"mean of {width} steps")
    axes.set(xlabel="step", ylabel="loss", title=title)
    axes.legend(loc="upper right")
    axes.grid(alpha=0.3)
    rate = axes.twinx()
    rate.plot(steps, [row["learning_rate"] for row in history], color="tab:orange", linewidth=0.8, linestyle="--")
    rate.set_ylabel("learning rate (dashed)")
    rate.set_ylim(bottom=0)
    figure.savefig(to, dpi=120)


def curve_rows(history: Sequence[dict[str, float]], rows: int = 8) -> list[tuple[int, float, float]]:
    """(step, mean loss up to it since the row before, learning rate), at evenly spaced steps."""
    if not history:
        return []
    ends = np.unique(np.linspace(0, len(history), min(rows, len(history)) + 1).astype(int))
    return [
        (
            int(history[end - 1]["step"]),
            float(np.mean([row["loss"] for row in history[start:end]])),
            history[end - 1]["learning_rate"],
        )
        for start, end in zip(ends[:-1], ends[1:], strict=True)
    ]
