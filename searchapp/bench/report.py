"""A benchmark as people read it: the table of ``bench encode``, and a Markdown section for every benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from searchapp.evaluate.markdown import put_section

HEAD = [
    "program", "precision", "docs/s", "tokens/s", "GFLOP/s", "of peak", "padding", "memory", "× same", "× float32",
]  # fmt: skip
Table = tuple[Sequence[Sequence[str]], str]  # cells, the head first, and the legend
RIVAL = "sentence-transformers"
LEGEND = (
    "of peak: share of this machine's own matrix products in that precision, measured in the same run; padding: "
    "positions computed for nothing; memory: added while it ran; × same, × float32: times sentence-transformers in "
    "the same precision, and in float32, its default. Medians; ratios are taken round by round."
)
PREFACE = """# Benchmarks

Written by the commands of `searchapp bench` with `--markdown`; a run replaces the section of its own model, vectors or
index and leaves the others. All are measured in the same process, in turn, round after round. Encoding:
every program embeds the same texts; what we set for the process (freed memory is kept) serves the rivals too; work is
counted on real tokens alone, so padding lowers a program's share of the peak.
"""


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The results as cells, the head first."""
    table = [HEAD]
    for result in found["results"]:
        ratios = [result["times"].get(f"{RIVAL} {dtype}") for dtype in (result["dtype"], "float32")]
        table.append(
            [
                result["program"],
                result["dtype"],
                f"{result['documents_per_second']:,.1f}",
                f"{result['tokens_per_second']:,.0f}",
                f"{result['gflops']:,.0f}",
                f"{result['mfu']:.2f}",
                f"{result['padding']:.1%}",
                f"{result['memory_mb']:,.0f} MB",
                *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            ]
        )
    return table


def summary(found: dict[str, Any]) -> list[str]:
    """What the figures are figures of: one fact a line."""
    machine, texts = found["machine"], found["texts"]
    peaks = ", ".join(f"{dtype} {peak:,.0f}" for dtype, peak in found["peak_gflops"].items())
    clock = "processor time" if found["clock"] == "cpu" else "wall clock"
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    lines = [
        machine_line(machine),
        f"matrix products, GFLOP/s: {peaks}; {found['gflop_per_token'] * 1000:,.1f} MFLOP a token",
        f"texts: {texts['documents']:,} from {', '.join(texts['sources'])}; {texts['tokens']:,} tokens, median "
        f"{texts['median']:.0f}, mean {texts['mean']:.0f}, 95 % under {texts['p95']:.0f}, longest {texts['longest']}",
        f"{found['rounds']} round{'s' * (found['rounds'] > 1)}, rates by {clock}; {versions}",
    ]
    for dtype, parts in found["profile"].items():
        shares = ", ".join(f"{group} {share:.0%}" for group, share in parts.items())
        lines.append(f"operators of searchapp in {dtype}: {shares}")
    for rival in dict.fromkeys(name for result in found["results"] for name in result["times"]):
        times = [
            f"{result['program']} {result['dtype']} {result['times'][rival]:.2f}"
            for result in found["results"]
            if result["program"].startswith("searchapp")
        ]
        lines.append(f"documents/s as times those of {rival}: {', '.join(times)}")
    cosines = [
        f"{result['program']} {result['dtype']} {result['least_cosine']:.5f}"
        for result in found["results"]
        if result["least_cosine"] is not None
    ]
    if cosines:
        lines.append(f"least cosine with searchapp in float32: {', '.join(cosines)}")
    return lines


def machine_line(machine: dict[str, Any]) -> str:
    """The processor or GPU that was measured on."""
    name = machine["device"] if machine["device"] != "cpu" else machine["processor"]
    return f"machine: {name}, {machine['threads']} of {machine['cores']} cores ({' '.join(machine['instructions'])})"


def write_section(
    path: Path, title: str, command: str, facts: Sequence[str], tables: Sequence[Table], words: int
) -> None:
    """Put a run's section into a Markdown file, in place of the one of the same title.

    Each table has a legend. Its first ``words`` columns are words, the others numbers. Raises EvaluationError for a
    file that cannot be written.
    """
    lines = [f"`{command}`", "", *(f"- {fact}" for fact in facts)]
    for table, legend in tables:
        lines += ["", "| " + " | ".join(table[0]) + " |"]
        lines += ["|" + " --- |" * words + " ---: |" * (len(table[0]) - words)]
        lines += ["| " + " | ".join(row) + " |" for row in table[1:]]
        lines += ["", legend]
    put_section(path, title, "\n".join(lines), PREFACE)
