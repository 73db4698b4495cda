"""The plots of a report, each drawn for a light page and for a dark one."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Okabe & Ito's colours, which the colour-blind tell apart, in an order that reads on white and on near-black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888")
DARK_COLOURS = ("#56b4e9", "#e69f00", "#2fc79a", "#e39ac6", "#ff8a4c", "#8ab8ff", "#aaaaaa")
MARKERS = "osD^vP*"
MOST_BARS = 400


@dataclass(frozen=True)
class Figure:
    """A plot: a name for its file, what it shows in words, and the bytes of both PNGs."""

    name: str
    caption: str
    light: bytes
    dark: bytes

    def html(self) -> str:
        """The plot as it stands in the page, without a file beside it."""
        light, dark = (base64.b64encode(content).decode() for content in (self.light, self.dark))
        caption = self.caption.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        return (
            f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{dark}">'
            f'<img alt="{caption}" src="data:image/png;base64,{light}"></picture>'
            f"<figcaption>{caption}</figcaption></figure>"
        )

    def save(self, folder: Path) -> None:
        """Write the light one as a file."""
        (folder / f"{self.name}.png").write_bytes(self.light)


def intervals(name: str, metric: str, rows: Sequence[tuple[str, float, float, float]]) -> Figure:
    """Dots with their intervals, one line a setting: (label, value, low, high)."""

    def draw(axes: Any, colours: Sequence[str]) -> None:
        places = np.arange(len(rows))[::-1]
        values = np.array([row[1] for row in rows])
        spans = np.array([[row[1] - row[2], row[3] - row[1]] for row in rows]).T.clip(min=0)
        axes.errorbar(values, places, xerr=spans, fmt="o", color=colours[0], capsize=3)
        axes.set_yticks(places, [_short(row[0]) for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(metric)

    caption = f"{metric} of each setting with its 95 % bootstrap interval over the queries."
    return _figure(name, caption, draw, height=1.1 + 0.32 * len(rows))


def against_dimension(
    name: str,
    metric: str,
    lines: Mapping[str, Sequence[tuple[int, float, float, float]]],
    size: str = "dimensions",
) -> Figure:
    """A metric against the size of the vectors, one line a model or form: (size, value, low, high).

    ``size`` says in what that is counted.
    """

    def draw(axes: Any, colours: Sequence[str]) -> None:
        for number, (label, points) in enumerate(lines.items()):
            ordered = sorted(points)
            dims = [point[0] for point in ordered]
            colour = colours[number % len(colours)]
            axes.plot(dims, [point[1] for point in ordered], marker=MARKERS[number % 7], color=colour, label=label)
            axes.fill_between(
                dims, [point[2] for point in ordered], [point[3] for point in ordered], color=colour, alpha=0.15
            )
        axes.set_xscale("log", base=2)
        ticks = sorted({point[0] for points in lines.values() for point in points})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel=size, ylabel=metric)
        if len(lines) > 1:
            axes.legend()

    return _figure(name, f"{metric} against the {size} kept; shaded: 95 % bootstrap interval.", draw)


def against_latency(name: str, metric: str, points: Sequence[tuple[str, float, float]]) -> Figure:
    """A metric against milliseconds a query: (label, milliseconds, value)."""

    def draw(axes: Any, colours: Sequence[str]) -> None:
        for number, (label, milliseconds, value) in enumerate(points):
            axes.scatter(
                [max(milliseconds, 1e-3)],
                [value],
                marker=MARKERS[number % 7],
                color=colours[number % len(colours)],
                label=_short(label),
                s=42,
            )
        axes.set_xscale("log")
        axes.set(xlabel="milliseconds a query, in one batch (logarithmic)", ylabel=metric)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}".lstrip("0.")[:1] in "25" else "")
        axes.figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=1 if len(points) < 3 else 2)

    caption = f"{metric} against the time of a query's search, without its encoding."
    return _figure(name, caption, draw, height=3.4 + 0.1 * len(points))


def against_speed(
    name: str, metric: str, points: Sequence[tuple[str, float, Sequence[tuple[str, float, float, float]]]]
) -> Figure:
    """Values of models with their intervals against their speed: (model, tokens a second, (what, value, low, high)).

    A model has one colour, what is measured of it one marker.
    """

    def draw(axes: Any, colours: Sequence[str]) -> None:
        for number, (label, speed, values) in enumerate(points):
            for place, (what, value, low, high) in enumerate(values):
                axes.errorbar(
                    [speed * (1 + 0.02 * place)],  # beside each other
                    [value],
                    yerr=[[value - low], [high - value]],
                    marker=MARKERS[place % 7],
                    color=colours[number % len(colours)],
                    label=f"{_short(label, 30)}: {what}",
                    linestyle="none",
                    capsize=3,
                )
        speeds = sorted({speed for _, speed, _ in points})
        axes.set_xscale("log")
        axes.set_xticks(speeds, [f"{speed:,.0f}" for speed in speeds])
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlim(speeds[0] / 1.5, speeds[-1] * 1.5)
        axes.set(xlabel="tokens a second on this machine (logarithmic)", ylabel=metric)
        axes.figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=2)

    caption = f"{metric} of each model, with its 95 % bootstrap interval, against the speed of encoding."
    return _figure(name, caption, draw, height=3.4 + 0.2 * len(points))


def differences(name: str, metric: str, label: str, values: Sequence[float]) -> Figure:
    """The differences of all queries between two runs, sorted, as bars."""

    def draw(axes: Any, colours: Sequence[str]) -> None:
        ordered = np.sort(np.asarray(values, np.float64))[::-1]
        shown = ordered if len(ordered) <= MOST_BARS else np.quantile(ordered, np.linspace(1, 0, MOST_BARS))
        tints = [colours[0] if value > 0 else colours[1] for value in shown]
        axes.bar(np.linspace(0, 100, len(shown)), shown, width=100 / len(shown), color=tints)
        axes.axhline(0, linewidth=0.8, color="0.5")
        axes.set(xlabel="queries, best first (%)", ylabel=f"difference in {metric}")

    better, worse = sum(value > 0 for value in values), sum(value < 0 for value in values)
    caption = f"{label}: {metric} query by query, sorted; {better} better, {worse} worse, of {len(values)}."
    return _figure(name, caption, draw)


def histogram(name: str, label: str, relevant: Sequence[float], others: Sequence[float]) -> Figure:
    """How the scores of relevant and of other documents lie, each as a share of its own."""

    def draw(axes: Any, colours: Sequence[str]) -> None:
        edges = np.histogram_bin_edges(np.concatenate([relevant, others]), bins=40)
        for values, what, colour in ((others, "not relevant", colours[1]), (relevant, "relevant", colours[0])):
            shares = np.full(len(values), 100 / max(1, len(values)))
            axes.hist(values, edges, weights=shares, alpha=0.6, color=colour, label=f"{what} ({len(values):,})")
        axes.set(xlabel="score", ylabel="share of its kind (%)")
        axes.legend()

    return _figure(name, f"{label}: scores of the relevant and the other documents that were returned.", draw)


def _short(label: str, most: int = 44) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _figure(name: str, caption: str, draw: Callable[[Any, Sequence[str]], None], height: float = 3.4) -> Figure:
    """Draw it twice."""
    light = _png(draw, height, COLOURS, {"axes.edgecolor": "#555555"})
    ink = "#d8d8d8"
    dark = {key: "#15181c" for key in ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")}
    dark |= {key: ink for key in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")}
    return Figure(name, caption, light, _png(draw, height, DARK_COLOURS, dark))


def _png(
    draw: Callable[[Any, Sequence[str]], None], height: float, colours: Sequence[str], style: Mapping[str, Any]
) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, **style}):
        figure = Canvas(figsize=(5.4, height), layout="constrained")
        axes = figure.subplots()
        draw(axes, colours)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        content = io.BytesIO()
        figure.savefig(content, dpi=150, format="png", metadata={"Software": None})
    return content.getvalue()
