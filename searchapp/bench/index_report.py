"""What ``searchapp bench index`` found, as people read it: a table, a section of a Markdown file, a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from searchapp.bench.index_baselines import FLAT
from searchapp.bench.own import OURS
from searchapp.bench.report import machine_line

HEAD = [
    "index",
    "setting",
    "recall@10",
    "ms x1 (least)",
    "ms x256",
    "× Flat x1",
    "× Flat x256",
    "bytes",
    "1/",
    "build s",
]
LEGEND = (
    "x1, x256: one query at a time, 256 at once; × Flat: times the speed of FAISS's exact search; bytes: a vector's in "
    "the index, 1/: as a part of float32; candidates: rescored exactly from float16 vectors, which take 2 bytes a "
    "dimension beside the index, on disk for searchapp, in memory for a rival. Processor time of one thread, medians "
    "(and leasts) of rounds in which all are asked in turn. A rival has the fastest setting that reaches the recall "
    "with the measured queries themselves, searchapp the one it chose with others; a recall in brackets misses it."
)
CHANGES = ["index", "setting", *(f"{name} pass" for name in ("1 %", "50 %")), "add s", "added", "delete s", "deleted"]
CHANGES_LEGEND = (
    "1 %, 50 % pass: milliseconds a query among the rows that pass a filter (recall@10 among them); add s, delete s: "
    "processor seconds for so many rows; added, deleted: milliseconds a query afterwards, as times those before "
    "(recall@10). –: the library cannot, or it was not asked for."
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The results as cells, the head first."""
    table, flat = [HEAD], next(result for result in found["results"] if result["index"] == FLAT)
    for result in found["results"]:
        table.append(
            [
                result["index"],
                ", ".join(f"{name} {value}" for name, value in result["parameters"].items()) or "–",
                f"{result['recall']:.4f}" if result["reached"] else f"({result['recall']:.4f})",
                f"{result['single_ms']:.3f} ({result['single_ms_least']:.3f})",
                f"{result['batch_ms']:.3f}",
                f"{flat['single_ms'] / result['single_ms']:.1f}",
                f"{flat['batch_ms'] / result['batch_ms']:.1f}",
                f"{result['bytes']:,.0f}",
                f"{4 * found['vectors']['dim'] / result['bytes']:.1f}",
                f"{result['build_seconds']:,.1f}",
            ]
        )
    return table


def changes(found: dict[str, Any]) -> list[list[str]]:
    """What filters and updates cost as cells, the head first; empty where neither was measured."""
    if not any("filters" in result or "updates" in result for result in found["results"]):
        return []
    table = [CHANGES]
    for result in found["results"]:
        target = found["targets"]["recall"]
        passed = [
            f"{one['single_ms']:.3f} ({one['recall']:.4f}{'' if one['recall'] >= target else ', missed'})"
            for one in result.get("filters", [])
        ] or ["–", "–"]
        updates = result.get("updates") or {}
        cells = []
        for verb, done in (("add", "added"), ("delete", "deleted")):
            if f"{done}_ms" not in updates:
                cells += ["–", "–"]
                continue
            ratio = updates[f"{done}_ms_least"] / updates["before_ms_least"]
            cells += [f"{updates[f'{verb}_seconds']:.2f}", f"{ratio:.2f} ({updates[f'{done}_recall']:.4f})"]
        setting = ", ".join(f"{name} {value}" for name, value in result["parameters"].items()) or "–"
        table.append([result["index"], setting, *passed, *cells])
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
    if updates := [result["updates"] for result in found["results"] if result.get("updates")]:
        lines.append(f"updates: {updates[0]['rows']:,} rows added, then as many others deleted")
    lines += [f"{result['index']}: {note}" for result in found["results"] for note in result["notes"]]
    lines += [f"{result['index']} does not reach the recall" for result in found["results"] if not result["reached"]]
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
