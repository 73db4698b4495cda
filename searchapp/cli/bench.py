"""``searchapp bench``: how fast this machine embeds, beside other programs and its own matrix products."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice, say, say_json, table

app = typer.Typer(help="Measure speed.", rich_markup_mode=None)


@app.callback()
def bench() -> None:
    """Measure speed."""


@app.command("encode")
def encode(
    model: options.Model = "bundled",
    shape: Annotated[
        str | None,
        typer.Option(help="Random weights of hidden,layers[,heads[,kv heads[,mlp]]] instead, e.g. 576,30,9,3,1536."),
    ] = None,
    rivals: Annotated[
        str, typer.Option(help="sentence-transformers, hf, or sentence-transformers folders, with commas between.")
    ] = "",
    texts: Annotated[
        list[str] | None,
        typer.Option(help="Prose to cut: .txt(.gz), .md or whatever `build` reads; repeat it. Default: python:stdlib."),
    ] = None,
    documents: Annotated[int, typer.Option(help="Texts to embed in a round.", min=1)] = 512,
    rounds: Annotated[int, typer.Option(help="Rounds; every figure is a median.", min=1)] = 3,
    max_length: Annotated[int, typer.Option(help="Longest text in tokens.", min=16)] = 512,
    dtype: Annotated[list[str] | None, typer.Option(help="A precision; repeat it. Default: float32 and auto.")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="torch or openvino; repeat it. Default: torch.")] = None,
    threads: Annotated[int, typer.Option(help="Threads on a CPU; with one, time is the processor's own.", min=1)] = 1,
    device: options.Device = "auto",
    end_to_end: Annotated[bool, typer.Option(help="Measure a whole build from JSONL to index too.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Write a section of this file, e.g. docs/benchmarks.md.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Embed texts of real lengths (median 120, 95 % under 400 tokens) with several programs in turn."""
    from searchapp.bench import Plan, bench_encode
    from searchapp.bench.report import LEGEND, rows, summary, write_section

    plan = Plan(
        model=model,
        shape=shape,
        rivals=tuple(name.strip() for name in rivals.split(",") if name.strip()),
        dtypes=tuple(dtype or Plan.dtypes),
        backends=tuple(backend or Plan.backends),
        sources=tuple(texts or Plan.sources),
        documents=documents,
        rounds=rounds,
        longest=max_length,
        threads=threads,
        device=device,
        end_to_end=end_to_end,
    )
    found = bench_encode(plan, notice)
    if markdown is not None:
        write_section(found, markdown, shlex.join(["searchapp", *map(_named, sys.argv[1:])]))
        notice(f"section written to {markdown}")
    if json:
        say_json(found)
        return
    for line in summary(found):
        say(line)
    say()
    say(table(rows(found)))
    say(LEGEND)


def _named(argument: str) -> str:
    """An argument as it may be published: of absolute paths the last name."""
    return ",".join(Path(part).name if Path(part).is_absolute() else part for part in argument.split(","))
