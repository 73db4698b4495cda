"""The table of ``bench adapt``."""

from __future__ import annotations

from typing import Any

from searchapp.bench.report import machine_line

HEAD = ["stage", "program", "tokens/s", "× plain", "GFLOP/s", "of peak", "padding", "memory", "loss difference"]
LEGEND = (
    "× plain: times the plain script of Trainer and peft, the median over the rounds; of peak: share of this machine's "
    "own matrix products in that precision, measured in the same run, for the work of real tokens; memory: added while "
    "it ran; loss difference: the greatest of a step."
)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The results as cells, the head first."""
    return [
        HEAD,
        *(
            [
                result["stage"],
                result["program"],
                f"{result['tokens_per_second']:,.0f}",
                f"{result['times']:.2f}",
                f"{result['gflops']:,.0f}",
                f"{result['of_peak']:.2f}",
                f"{result['padding']:.0%}",
                f"{result['memory_mb']:,.0f} MB",
                f"{result['loss_difference']:.1e}",
            ]
            for result in found["results"]
        ),
    ]


def summary(found: dict[str, Any]) -> list[str]:
    """What the figures are figures of: one fact a line."""
    versions = ", ".join(f"{package} {version}" for package, version in found["machine"]["versions"].items())
    clock = "processor time" if found["clock"] == "cpu" else "wall clock"
    return [
        machine_line(found["machine"]),
        f"matrix products: {found['peak_gflops']:,.0f} GFLOP/s in {found['results'][0]['dtype']}",
        f"batches of {found['batch']}: blocks of {found['block']} tokens, texts of real lengths up to "
        f"{found['longest']}; {found['steps']} steps a round, {'with' if found['dropout'] else 'no'} dropout, "
        f"{'with' if found['gradient_checkpointing'] else 'no'} gradient checkpointing",
        f"{found['rounds']} round{'s' * (found['rounds'] > 1)}, rates by {clock}; {versions}",
    ]
