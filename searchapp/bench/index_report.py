"""What ``searchapp bench index`` found, as people read it: a table, a section of a Markdown file, a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from searchapp.bench.index_baselines import FLAT, OURS
from searchapp.bench.report import machine_line

HEAD = ["index", "setting", "recall@10", "ms x1", "ms x256", "× Flat x1", "× Flat x256", "bytes", "1/", "build s"]
LEGEND = (
    "x1, x256: one query at a time, 256 at once; × Flat: times the speed of FAISS's exact search; bytes: a vector's in "
    "the index, 1/: as a part of float32; candidates: rescored exactly from float16 vectors, which take 2 bytes a "
    "dimension beside the index, on disk for searchapp, in memory for a rival. Processor time of one thread, medians "
    "of rounds in which all are asked in turn. A rival has the fastest setting that reaches the recall with the "
    "measured queries themselves, searchapp the one it chose with others."
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The results as cells, the head first."""
    table, flat = [HEAD], next(result for result in found["results"] if result["index"] == FLAT)
    for result in found["results"]:
        table.append(
            [
                result["index"],
                ", ".join(f"{name} {value}" for name, value in result["parameters"].items()) or "–",
                f"{result['recall']:.4f}",
                f"{result['single_ms']:.3f}",
                f"{result['batch_ms']:.3f}",
                f"{flat['single_ms'] / result['single_ms']:.1f}",
                f"{flat['batch_ms'] / result['batch_ms']:.1f}",
                f"{result['bytes']:,.0f}",
                f"{4 * found['vectors']['dim'] / result['bytes']:.1f}",
                f"{result['build_seconds']:,.1f}",
            ]
        )
    return table


def summary(found: dict[str, Any]) -> list[str]:
    """What the figures are figures of: one fact a line."""
    vectors = found["vectors"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        machine_line(found["machine"]),
        f"vectors: {vectors['rows']:,} of {vectors['dim']:,} dimensions; {vectors['queries']} queries, "
        f"{vectors['origin']}",
        f"recall@10 of {found['targets']['recall']:g} wanted; {found['rounds']} round{'s' * (found['rounds'] > 1)}; "
        f"{versions}",
    ]
    lines += [f"{result['index']}: {note}" for result in found["results"] for note in result["notes"]]
    return [*lines, *(f"{name} is left out: {reason}" for name, reason in found["skipped"].items())]


def draw(found: dict[str, Any], to: Path) -> None:
    """Draw recall@10 against queries a second, one at a time, as a PNG: a line for each index."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for number, result in enumerate(found["results"]):
        mine = result["index"].startswith(OURS)
        colour = "black" if mine else f"C{number % 10}"
        best = _pareto_front(result["points"])
        axes.plot(
            [point["recall"] for point in best],
            [1_000 / point["single_ms"] for point in best],
            color=colour,
            marker="o" if number < 10 else "s",
            markersize=4,
            linewidth=2.5 if mine else 1.2,
            label=result["index"],
        )
        if mine:
            place = [result["recall"]], [1_000 / result["single_ms"]]
            axes.scatter(*place, color=colour, marker="*", s=160, zorder=3, label="as it chose")
    vectors = found["vectors"]
    title = f"{vectors['name']}: {vectors['rows']:,} x {vectors['dim']:,}"
    axes.axvline(found["targets"]["recall"], color="0.7", linestyle=":", linewidth=1)
    axes.set(yscale="log", xlabel="recall@10", ylabel="queries a second (one at a time, one thread)", title=title)
    axes.set_xlim(left=max(0.0, min(0.98, min(result["recall"] for result in found["results"]) - 0.1)), right=1.005)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small", loc="lower left")
    figure.savefig(to, dpi=120)


def _pareto_front(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points that no other of the same index beats in both, the fastest first."""
    kept: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda point: (point["single_ms"], -point["recall"])):
        if not kept or point["recall"] > kept[-1]["recall"]:
            kept.append(point)
    return kept
