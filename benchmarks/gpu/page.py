"""Records as tables: in the terminal as each part ends, and as docs/gpu.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import BUDGET, NAMED, PARTS

DOCUMENT = Path("docs/gpu.md")
NOT_RUN = "not yet run"
HIDDEN = ("what", "error", "skipped", "traceback", "missing")  # of a row, not figures
MOST = 300  # characters of a reason that are shown

HEAD = f"""# On a GPU

Written by `python -m benchmarks.gpu page RESULTS.jsonl` from what `make gpu` measured; nothing here is written by hand.

`make gpu [PART=encode] [SHAPES=full|tiny] [DEVICE=cuda|cpu] [OUT=DIR] [PYTHON=python3]` runs with the PyTorch that
`PYTHON` has and installs nothing. Each part is a process with a time limit, {BUDGET:.0f} seconds for all; what fails or
hangs loses only itself; the last one runs only when it is named. `OUT` gets `results.jsonl` (a record a part),
`table.txt`, `gpu.md`, `log.txt`, and from the recipe at most four pieces of `recipe.tar`. What the machine lacks is
taken along: `make gpu-carry` gathers it in `.gpu/`, which git ignores, and lists it with sizes; its wheels are for the
Python that `--python-version` names. Models are of the published configurations with random weights; `tiny` shapes run
the same lines on a CPU.

| part | limit | what |
| --- | ---: | --- |
""" + "".join(f"| {part.name} | {part.limit:.0f} s | {part.about} |\n" for part in (*PARTS, *NAMED))


def table(records: Sequence[dict[str, Any]]) -> str:
    """Records for the terminal: a heading a part, a line a row."""
    lines = []
    for record in records:
        lines.append(f"{record['part']} on {record['device']}, {record['shapes']} shapes: {record['seconds']:.1f} s")
        if "error" in record:
            lines.append(f"  FAILED: {record['error']}")
        wide = max((len(row["what"]) for row in record["figures"]), default=0)
        lines += [f"  {row['what']:<{wide}}  {said(row)}" for row in record["figures"]]
        lines += [f"  {line}" for row in record["figures"] for line in row.get("missing", ())]
    return "\n".join(lines)


def said(row: dict[str, Any]) -> str:
    """The figures of a row in words, or why there are none."""
    for kind in ("error", "skipped"):
        if kind in row:
            return f"{kind}: {' '.join(str(row[kind]).split())[:MOST]}"
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in row.items() if name not in HIDDEN)


def number(value: Any) -> str:
    """A figure with the digits that matter."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, dict):
        return " ".join(f"{name} {number(item)}" for name, item in value.items())
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 or value == int(value) else f"{value:.4g}"


def write_page(records: Sequence[dict[str, Any]], to: Path) -> None:
    """Write the page of the newest record of each part."""
    to.write_text(page(records), encoding="utf-8")


def page(records: Sequence[dict[str, Any]]) -> str:
    """The page: goals, then every part, "not yet run" where there is no record."""
    newest = {record["part"]: record for record in records}
    lines = [HEAD, "## Goals", "", "| goal | asked | measured |", "| --- | --- | --- |"]
    lines += [f"| {goal} | {asked} | {found} |" for goal, asked, found in goals(newest)]
    for part in (*PARTS, *NAMED):
        lines += ["", f"## {part.name}", ""]
        record = newest.get(part.name)
        if record is None:
            lines.append(f"{NOT_RUN}.")
            continue
        lines.append(f"On {record['device']}, {record['shapes']} shapes: {record['seconds']:.0f} s.")
        if "error" in record:
            lines += ["", f"Failed: {_cell(record['error'])}"]
        lines += ["", "| what | figures |", "| --- | --- |"] if record["figures"] else []
        lines += [f"| {_cell(row['what'])} | {_cell(said(row))} |" for row in record["figures"]]
        lines += [f"\n{line}" for row in record["figures"] for line in row.get("missing", ())]
    return "\n".join(lines) + "\n"


def goals(newest: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Each goal, what is asked and what was measured: on a GPU and in full shapes, else it is not yet run."""
    found = []
    for model in ("1.3B", "8B"):
        encode = (newest, "encode", f"{model}: searchapp, packed")
        found += [
            (f"{model} encode, of the matmul rate", "≥ 0.70", _figure(*encode, "of_matmul_rate")),
            (f"{model} encode, compiled", "≥ 0.80",
             _figure(newest, "encode", f"{encode[2]}, compiled", "of_matmul_rate")),
            (f"{model} encode, beside sentence-transformers", "≥ 1.5 ×",
             _figure(newest, "encode", f"{model}: beside sentence-transformers", "times")),
        ]  # fmt: skip
    found.append(("idle share while building from JSONL", "< 0.03", _figure(newest, "line", "JSONL to index", "idle")))
    for stage in ("mntp", "supervised"):
        row = f"8B {stage}: beside Trainer and peft"
        found.append((f"8B LoRA training ({stage}), beside Trainer + peft", "≥ 1.3 ×",
                      _figure(newest, "train", row, "times")))  # fmt: skip
    return found


def _figure(newest: dict[str, dict[str, Any]], part: str, what: str, name: str) -> str:
    record = newest.get(part)
    if record is None or (record["device"], record["shapes"]) != ("cuda", "full"):
        return NOT_RUN
    row: dict[str, Any] = next((row for row in record["figures"] if row["what"] == what), {})
    return number(row[name]) if row.get(name) is not None else "no figure"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
