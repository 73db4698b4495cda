"""What ``searchapp bench serve`` has found, as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from searchapp.bench.report import machine_line
from searchapp.bench.servers import OURS

HEAD = ["what", "server", "clients", "requests/s", "× searchapp", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "failed"]
LEGEND = (
    "clients: at once, each asking again when it is answered; of an open loop the share of the most requests a second, "
    "which come at random. × searchapp: requests a second beside ours. CPU: of the server's process, a request. Every "
    "server answers the same requests; queries are all different."
)
NAMES = {"auto": "search, default", "dense": "search, dense", "bm25": "search, bm25", "hybrid": "search, hybrid"}


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The results as cells, the head first."""
    table = [HEAD]
    for mode, results in found["search"].items():
        table += _rows(NAMES[mode], results)
    table += _rows("embeddings, one text", found["embeddings"])
    mode = list(found["search"])[-1]
    for row in found["open"]:
        table.append(_cells(f"{NAMES[mode]}, open", OURS, f"{row['share']} %", row, None))
    return table


def _rows(what: str, results: Sequence[dict[str, Any]]) -> list[list[str]]:
    ours = {row["clients"]: row["requests_per_second"] for row in results if row["program"] == OURS}
    return [
        _cells(what, row["program"], str(row["clients"]), row, row["requests_per_second"] / ours[row["clients"]])
        for row in results
    ]


def _cells(what: str, program: str, clients: str, row: dict[str, Any], ratio: float | None) -> list[str]:
    return [
        what,
        program,
        clients,
        f"{row['requests_per_second']:,.1f}",
        "–" if ratio is None else f"{ratio:.2f}",
        *(f"{row[name]:,.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        f"{row['cpu_ms']:.2f}",
        str(row["failed"]),
    ]


def summary(found: dict[str, Any]) -> list[str]:
    """What the figures are figures of, and those that stand in no table: one fact a line."""
    lines = [
        machine_line(found["machine"]),
        f"index {found['index']}: {found['documents']:,} documents, model {found['model']}",
        f"{found['seconds']:g} s a measurement, {found['rounds']} rounds in turn; the encoder alone embeds "
        f"{found['encoder_queries_per_second']:,.0f} queries a second in batches of 32",
    ]
    for row in found["overhead"]:
        lines.append(
            f"one client, {row['mode']}: {row['server_p50_ms']:.2f} ms p50 and {row['server_cpu_ms']:.2f} ms of CPU by "
            f"the server, {row['library_p50_ms']:.2f} and {row['library_cpu_ms']:.2f} by a call of the library"
        )
    beside = found["beside"]
    took = "" if beside["embedding_ms"] is None else f" (which takes {beside['embedding_ms'] / 1_000:.1f} s)"
    lines.append(
        f"searches of a person: p99 {beside['idle']['p99_ms']:.0f} ms alone, {beside['busy']['p99_ms']:.0f} ms while "
        f"another client embeds {beside['texts']:,} texts{took}; p50 {beside['idle']['p50_ms']:.0f} and "
        f"{beside['busy']['p50_ms']:.0f} ms"
    )
    for row in found["embeddings"]:
        if row["program"] != OURS:
            lines.append(f"cosine of a text's vector by {row['program']} with ours: {row['cosine']:.5f}")
    return lines
