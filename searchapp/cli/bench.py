"""``searchapp bench``: how fast this machine embeds and searches, beside other programs."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice, say, say_json, table
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.bench.sources import VectorSource

Markdown = Annotated[Path | None, typer.Option(help="Write a section of this file, e.g. docs/benchmarks.md.")]

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
    markdown: Markdown = None,
    json: options.Json = False,
) -> None:
    """Embed texts of real lengths (median 120, 95 % under 400 tokens) with several programs in turn."""
    from searchapp.bench import EncodePlan, bench_encode
    from searchapp.bench.report import LEGEND, rows, summary

    plan = EncodePlan(
        model=model,
        shape=shape,
        rivals=tuple(name.strip() for name in rivals.split(",") if name.strip()),
        dtypes=tuple(dtype or EncodePlan.dtypes),
        backends=tuple(backend or EncodePlan.backends),
        sources=tuple(texts or EncodePlan.sources),
        documents=documents,
        rounds=rounds,
        longest=max_length,
        threads=threads,
        device=device,
        end_to_end=end_to_end,
    )
    found = bench_encode(plan, notice)
    if json:
        say_json(found)
    _show(found["model"], summary(found), rows(found), LEGEND, markdown, quiet=json)


@app.command("index")
def index(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[INDEX]", help="An index directory, whose vectors are measured with.")
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            help="Prose to encode in passages of 60 words: .txt(.gz), .md or whatever `build` reads; repeat it."
        ),
    ] = None,
    model: options.Model = "bundled",
    documents: Annotated[int, typer.Option(help="Passages of --texts to encode.", min=1)] = 20_000,
    vectors: Annotated[Path | None, typer.Option(help="An .npy file of vectors, one a row.")] = None,
    queries: Annotated[Path | None, typer.Option(help="An .npy file of query vectors, for --vectors.")] = None,
    synthetic: Annotated[
        str | None, typer.Option(help="N,DIM: vectors drawn with the spectrum of a large decoder's, e.g. 100000,1024.")
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(help="A FAISS factory string, usearch or hnswlib; repeat it. Default: Flat and 14 others."),
    ] = None,
    recall: options.Recall = None,
    memory: options.Memory = None,
    latency: options.Latency = None,
    rounds: Annotated[int, typer.Option(help="Rounds; every time is a median.", min=1)] = 3,
    device: options.Device = "auto",
    cache: options.Cache = None,
    markdown: Markdown = None,
    plot: Annotated[Path | None, typer.Option(help="Draw recall against queries a second as a PNG.")] = None,
    json: options.Json = False,
) -> None:
    """Search the same vectors with searchapp's own choice of index and with others, in turn, on one thread."""
    from searchapp.bench import IndexPlan, bench_index
    from searchapp.bench.index_report import LEGEND, draw, rows, summary

    if plot is not None and find_spec("matplotlib") is None:
        raise SearchAppError("--plot needs matplotlib; install searchapp[bench], or leave --plot out")
    ways = {"INDEX": directory, "--texts": texts, "--vectors": vectors, "--synthetic": synthetic}
    given = [name for name, value in ways.items() if value]
    if len(given) != 1:
        raise SearchAppError(f"{' and '.join(given) or 'nothing'} given to measure with; give one of {', '.join(ways)}")
    if queries is not None and vectors is None:
        raise SearchAppError("--queries are the queries of --vectors, which is not given; leave it out")
    plan = IndexPlan(tuple(rival) if rival else None, options.targets(recall, memory, latency), rounds)
    source = _source(directory, vectors, queries, synthetic)
    if source is None:
        from searchapp.bench.sources import encoded
        from searchapp.encoder import Encoder

        notice("encoding the texts")
        source = encoded(texts or [], Encoder.load(model, device=device, cache=cache), documents)
    found = bench_index(source, plan, notice)
    if plot is not None:
        try:
            draw(found, plot)
        except (OSError, ValueError) as error:
            raise SearchAppError(f"--plot {plot} cannot be written ({error}); give a .png file") from error
        notice(f"curves drawn in {plot}")
    if json:
        say_json(found)
    _show(f"Indexes over {source.name}", summary(found), rows(found), LEGEND, markdown, quiet=json)


def _source(
    directory: Path | None, vectors: Path | None, queries: Path | None, synthetic: str | None
) -> VectorSource | None:
    """Vectors that are there or are drawn; None where texts are to be encoded."""
    from searchapp.bench.sources import drawn, saved, stored

    if directory is not None:
        return stored(directory)
    if vectors is not None:
        return saved(vectors, queries)
    return drawn(synthetic) if synthetic is not None else None


def _show(
    title: str, facts: list[str], rows: list[list[str]], legend: str, markdown: Path | None, *, quiet: bool
) -> None:
    """Write the section, where one is asked for, and print the same, unless ``quiet``."""
    from searchapp.bench.report import write_section

    if markdown is not None:
        command = shlex.join(["searchapp", *map(_named, sys.argv[1:])])
        write_section(markdown, title, command, facts, rows, legend, words=2)
        notice(f"section written to {markdown}")
    if quiet:
        return
    for fact in facts:
        say(fact)
    say()
    say(table(rows))
    say(legend)


def _named(argument: str) -> str:
    """An argument as it may be published: of absolute paths the last name."""
    return ",".join(Path(part).name if Path(part).is_absolute() else part for part in argument.split(","))
