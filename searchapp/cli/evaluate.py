"""``searchapp evaluate``: how good the search is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice, say, say_json, table
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.evaluate.retrieval import Result

app = typer.Typer(help="Measure retrieval quality.", rich_markup_mode=None)
SETTLED = ("model", "adapter", "pca", "factory", "pooling", "max_length", "document_max_length", "dtype", "backend")


@app.callback()
def evaluate() -> None:
    """Measure retrieval quality."""


@app.command("retrieval")
def retrieval(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(help="A BEIR folder: corpus.jsonl, queries.jsonl, qrels/ (also .gz).")],
    model: options.Model = "bundled",
    adapter: options.Adapters = None,
    index: Annotated[Path | None, typer.Option("--index", help="Evaluate this index instead of building one.")] = None,
    pca: Annotated[
        list[int] | None, typer.Option(help="Dimensions to reduce to; repeat it to compare several. 0: none.")
    ] = None,
    factory: Annotated[str, typer.Option(help="auto, Flat, or any FAISS factory string.")] = "auto",
    candidates: options.Candidates = None,
    split: Annotated[str | None, typer.Option(help="The judgements to use; default: test, or the only ones.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A measure as ir-measures spells it; repeat it for more.")
    ] = None,
    instruction: options.Instruction = None,
    run: Annotated[Path | None, typer.Option("--run", help="Write a TREC run here.")] = None,
    pooling: options.Pooling = None,
    max_length: options.MaxLength = None,
    document_max_length: options.DocumentMaxLength = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    backend: options.Backend = "torch",
    cache: options.Cache = None,
    json: options.Json = False,
) -> None:
    """Search a test collection and score the result, with 95 % bootstrap intervals over the queries."""
    from searchapp.cli.progress import Bar
    from searchapp.encoder import Encoder
    from searchapp.evaluate import DEFAULT_METRICS, load_collection, parse_metric, write_run
    from searchapp.evaluate.retrieval import Setting, check_run_path, evaluate_collection, evaluate_index, run_path
    from searchapp.search import Index

    if index is not None:
        _refuse_settled(context)
    collection = load_collection(dataset, split)
    metrics = tuple(metric or DEFAULT_METRICS)
    for name in metrics:
        parse_metric(name)
    if run is not None:
        check_run_path(run)
    if index is not None:
        opened = Index.open(index, device=device)
        opened.encoder.keep(cache)
        results = [
            evaluate_index(
                collection,
                opened.vectors,
                opened.encoder,
                candidates=candidates,
                metrics=metrics,
                instruction=instruction,
            )
        ]
    else:
        encoder = Encoder.load(
            model,
            adapters=adapter,
            pooling=pooling,
            max_length=max_length,
            document_max_length=document_max_length,
            dtype=dtype,
            device=device,
            backend=backend,
            cache=cache,
        )
        settings = [Setting(dim or None, factory, candidates) for dim in pca or [0]]
        with tempfile.TemporaryDirectory(prefix="searchapp-") as work, Bar() as bar:
            results = evaluate_collection(
                collection,
                encoder,
                settings,
                Path(work) / "index",
                metrics=metrics,
                instruction=instruction,
                progress=bar,
            )
        notice(f"model {model}: {encoder.description}")
    for result in results:
        if run is not None:
            place = run_path(run, result.name, alone=len(results) == 1)
            write_run(place, result.run, f"searchapp-{result.name}")
            notice(f"run written to {place}")
    if json:
        say_json({"results": [result.to_json() for result in results]})
    else:
        _show(results)


def _refuse_settled(context: typer.Context) -> None:
    """Raise SearchAppError for options, given on the command line, that an index has settled when it was built."""
    given = [
        name for name in SETTLED if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise SearchAppError(
            f"{flags} cannot go with --index: the index was built with a model and settings of its own; "
            f"leave out {flags}, or leave out --index to build one"
        )


def _show(results: list[Result]) -> None:
    first = results[0].setting
    head = f"{first['collection']} ({first['split']}): {first['queries']} queries, {first['documents']:,} documents"
    say(f"{head}, model {first['model']}")
    if first["documents_rejected"]:
        say(f"{first['documents_rejected']} documents could not be indexed (empty or malformed) and cannot be found")
    if first["queries_missing"]:
        say(f"{first['queries_missing']} judged queries are missing from the run and count as 0")
    names = list(results[0].scores.per_query)
    rows = [["setting", *names, "ms/query"]]
    for result in results:
        estimates = result.scores.estimates()
        cells = [
            f"{estimates[name].value:.4f} [{estimates[name].low:.3f}, {estimates[name].high:.3f}]" for name in names
        ]
        rows.append([_describe(result), *cells, f"{result.setting['search_ms_per_query']:.2f}"])
    say(table(rows))
    say("in brackets: 95 % bootstrap interval over the queries")


def _describe(result: Result) -> str:
    setting = result.setting
    reduced = (
        f"PCA {setting['pca']} ({setting['explained_variance']:.0%} var.)"
        if setting["pca"]
        else f"{setting['dim']} dim"
    )
    rescored = f", {setting['candidates']} rescored" if setting["candidates"] else ""
    return f"{reduced}, {setting['factory']}{rescored}"
