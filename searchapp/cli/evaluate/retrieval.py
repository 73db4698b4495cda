"""``searchapp evaluate retrieval``: any number of models, reductions and steps on any number of collections."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice, say, say_json, table
from searchapp.cli.evaluate.options import (
    Markdown,
    Metrics,
    PerQuery,
    Report,
    check_distinct,
    check_metrics,
    check_outputs,
    write_per_query,
)
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.evaluate import Collection
    from searchapp.evaluate.retrieval import IndexConfig, Request, Result

SETTLED = ("model", "adapter", "pca", "factory", "pooling", "max_length", "document_max_length", "dtype", "backend")


def retrieval(
    context: typer.Context,
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...",
            help="BEIR folders: corpus.jsonl, queries.jsonl, qrels/ (also .gz).",
            show_default=False,
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A checkpoint directory, a hub id, or `bundled`; repeat it for several."),
    ] = None,
    adapter: options.Adapters = None,
    index: Annotated[Path | None, typer.Option("--index", help="Evaluate this index instead of building one.")] = None,
    pca: Annotated[
        list[int] | None, typer.Option(help="Dimensions to reduce to; repeat it to compare several. 0: none.")
    ] = None,
    factory: Annotated[
        list[str] | None, typer.Option(help="auto, Flat, or any FAISS factory string; repeat it for several.")
    ] = None,
    candidates: options.Candidates = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="BM25 alone and fused with the vectors too.")] = False,
    fusion: options.FusionMethod = None,
    weight: options.Weight = None,
    fusion_depth: options.FusionDepth = None,
    rerank: options.Rerank = None,
    rerank_depth: options.RerankDepth = 100,
    reranker_kind: options.RerankerKind = "auto",
    split: Annotated[str | None, typer.Option(help="The judgements to use; default: test, or the only ones.")] = None,
    metric: Metrics = None,
    instruction: options.Instruction = None,
    self_documents: Annotated[
        str,
        typer.Option("--self-documents", help="Documents with the query's id: auto, drop or keep."),
    ] = "auto",
    duplicates: Annotated[
        str, typer.Option("--duplicates", help="Documents of the same text: keep, or collapse into one.")
    ] = "keep",
    depth: Annotated[int, typer.Option(help="Documents retrieved for each query.", min=1)] = 1_000,
    run: Annotated[Path | None, typer.Option("--run", help="Write a TREC run here.")] = None,
    per_query: PerQuery = None,
    report: Report = None,
    markdown: Markdown = None,
    pooling: options.Pooling = None,
    max_length: options.MaxLength = None,
    document_max_length: options.DocumentMaxLength = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    backend: options.Backend = "torch",
    cache: options.Cache = None,
    json: options.Json = False,
) -> None:
    """Search test collections and score the results, with 95 % bootstrap intervals over the queries."""
    from searchapp.encoder import Encoder
    from searchapp.evaluate import load_collection
    from searchapp.evaluate.retrieval import IndexConfig, Request, check_run_ids, evaluate_index
    from searchapp.search import Index

    if index is not None:
        _refuse_settled(context, datasets)
    models = model or ["bundled"]
    if adapter and len(models) > 1:
        raise SearchAppError(
            f"--adapter was given with {len(models)} models, expected one; evaluate the adapted model by itself"
        )
    collections = [load_collection(dataset, split) for dataset in datasets]
    check_distinct([collection.name for collection in collections])
    metrics = check_metrics(metric)
    check_outputs(run, per_query, markdown, report)
    opened = Index.open(index, device=device) if index is not None else None
    if run is not None:
        for collection in collections:
            check_run_ids(collection, opened.vectors if opened else None)
    request = Request(
        metrics,
        instruction,
        depth,
        options.fusion_of(opened.vectors if opened else None, hybrid, fusion, weight, fusion_depth),
        options.reranker_of(rerank, reranker_kind, device),
        rerank_depth,
        self_documents,
        duplicates,
    )
    results: list[Result] = []
    if opened is not None:
        opened.encoder.keep(cache)
        results = evaluate_index(collections[0], opened.vectors, opened.encoder, request, candidates=candidates)
    else:
        dims: Sequence[int | None] = pca or [None]  # None: as the rule has it
        configs = [IndexConfig(dim, kind, candidates) for dim in dims for kind in factory or ["auto"]]
        for name in models:
            encoder = Encoder.load(
                name,
                adapters=adapter,
                pooling=pooling,
                max_length=max_length,
                document_max_length=document_max_length,
                dtype=dtype,
                device=device,
                backend=backend,
                cache=cache,
            )
            for collection in collections:
                results += _evaluate(collection, encoder, configs, request)
            notice(f"model {name}: {encoder.description}")
    _write(results, run, per_query, report, markdown, collections)
    if json:
        say_json({"results": [result.to_json() for result in results]})
    else:
        _show(results)


def _evaluate(
    collection: Collection, encoder: Encoder, configs: Sequence[IndexConfig], request: Request
) -> list[Result]:
    from searchapp.cli.progress import Bar
    from searchapp.evaluate.retrieval import evaluate_collection

    with tempfile.TemporaryDirectory(prefix="searchapp-") as work, Bar() as bar:
        return evaluate_collection(collection, encoder, configs, Path(work) / "index", request, progress=bar)


def _refuse_settled(context: typer.Context, datasets: Sequence[Path]) -> None:
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
    if len(datasets) > 1:
        raise SearchAppError(
            f"--index was given with {len(datasets)} datasets, expected one; an index holds one collection"
        )


def _write(
    results: Sequence[Result],
    run: Path | None,
    per_query: Path | None,
    report: Path | None,
    markdown: Path | None,
    collections: Sequence[Collection],
) -> None:
    """Write the files that were asked for."""
    from searchapp.evaluate import write_run
    from searchapp.evaluate.names import distinct_names
    from searchapp.evaluate.retrieval import run_path

    names = distinct_names(results)
    if run is not None:
        for name, result in zip(names, results, strict=True):
            place = run_path(run, name, alone=len(results) == 1)
            write_run(place, result.run, f"searchapp-{result.name}")
            notice(f"run written to {place}")
    if per_query is not None:
        texts = {(collection.name, query.id): query.text for collection in collections for query in collection.queries}
        write_per_query(per_query, zip(names, results, strict=True), texts)
    if report is not None:
        from searchapp.evaluate.report import retrieval_report

        notice(f"report written to {retrieval_report(report, results, collections)}")
    if markdown is not None:
        from searchapp.evaluate.markdown import put_section, retrieval_section

        put_section(markdown, "Retrieval", retrieval_section(results))
        notice(f"table written to {markdown}")


def _show(results: Sequence[Result]) -> None:
    """Print one table for each collection and model."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        key = (result.setting.collection, result.setting.split, result.setting.model)
        groups.setdefault(key, []).append(result)
    for number, group in enumerate(groups.values()):
        if number:
            say()
        _show_group(group)
    say("in brackets: 95 % bootstrap interval over the queries")


def _show_group(results: Sequence[Result]) -> None:

    first = results[0].setting
    head = f"{first.collection} ({first.split}): {first.queries} queries, {first.data.documents:,} documents"
    say(f"{head}, model {first.model}")
    for sentence in _notes(results):
        say(sentence)
    names = list(results[0].scores.per_query)
    rows = [["setting", *names, "ms/query"]]
    for result in results:
        estimates = result.scores.estimates()
        cells = [
            f"{estimates[name].value:.4f} [{estimates[name].low:.3f}, {estimates[name].high:.3f}]" for name in names
        ]
        rows.append([result.setting.label, *cells, f"{result.setting.search_ms_per_query:.2f}"])
    say(table(rows))
    for result in results:
        if (by := result.setting.reranked_by) is not None:
            said = f"the {by.depth} documents it sees hold {by.first_stage_recall:.4f} of the relevant ones"
            say(f"{result.setting.label}: {said}")


def _notes(results: Sequence[Result]) -> list[str]:
    """What a reader of the figures has to know, one sentence each."""
    first = results[0].setting
    said = []
    if first.data.documents_rejected:
        said.append(
            f"{first.data.documents_rejected} documents could not be indexed (empty or malformed) and cannot be found"
        )
    if first.data.queries_unknown:
        said.append(f"{first.data.queries_unknown} judged queries have no text in the queries file and are left out")
    for result in results:
        if result.setting.data.queries_missing:
            said.append(
                f"{result.setting.data.queries_missing} judged queries are missing from the run of "
                f"{result.setting.label} and count as 0"
            )
    return [*said, *dict.fromkeys(note for result in results for note in result.notes)]
