"""``searchapp evaluate rerank``: the order a model gives to candidates."""

from __future__ import annotations

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
    from searchapp.evaluate.candidates import Candidates
    from searchapp.evaluate.reranking import Reranked


def rerank(
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...",
            help='JSON lines {"query", "positive", "negative"} (a file, or a folder of SPLIT.jsonl[.gz]), or a BEIR '
            "folder whose candidates --top-ranked or --index brings.",
            show_default=False,
        ),
    ],
    model: options.Model = "bundled",
    adapter: options.Adapters = None,
    reranker: Annotated[
        str | None, typer.Option("--rerank", help="Score with this reranker, not with the model's cosine.")
    ] = None,
    kind: Annotated[str, typer.Option("--reranker-kind", help="auto, bi-encoder, head, yes-no or listwise.")] = "auto",
    hybrid: Annotated[bool, typer.Option("--hybrid", help="BM25 and both fused too.")] = False,
    fusion: options.FusionMethod = None,
    weight: options.Weight = None,
    top_ranked: Annotated[
        Path | None, typer.Option("--top-ranked", help="A TREC run, ours or another's, that brings the candidates.")
    ] = None,
    index: Annotated[Path | None, typer.Option("--index", help="Take the candidates from this index.")] = None,
    depth: Annotated[
        int, typer.Option("--depth", "-k", help="Candidates of each query to rerank; 0: all of them.", min=0)
    ] = 100,
    split: Annotated[str | None, typer.Option(help="The split; default: test, else dev, or the only one.")] = None,
    metric: Metrics = None,
    instruction: options.Instruction = None,
    run: Annotated[Path | None, typer.Option("--run", help="Write the reranked TREC run here.")] = None,
    per_query: PerQuery = None,
    report: Report = None,
    markdown: Markdown = None,
    pooling: options.Pooling = None,
    max_length: options.MaxLength = None,
    document_max_length: options.DocumentMaxLength = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Put candidates in a model's order and measure it, before and after where a first stage brought them."""
    from searchapp.cli.progress import Bar
    from searchapp.evaluate.candidates import load_candidates
    from searchapp.evaluate.reranking import DEFAULT_METRICS, evaluate_reranking

    if (top_ranked or index) and len(datasets) > 1:
        raise SearchAppError(
            f"--top-ranked and --index bring the candidates of one collection, found {len(datasets)} datasets; "
            "give them one by one"
        )
    if top_ranked and index:
        raise SearchAppError("--top-ranked and --index both bring candidates, expected one of them; leave one out")
    metrics = check_metrics(metric, DEFAULT_METRICS)
    check_outputs(run, per_query, markdown, report)
    if index is not None:
        loaded = [_from_index(datasets[0], split, index, depth, instruction, device)]
    else:
        loaded = [load_candidates(dataset, split, run=top_ranked) for dataset in datasets]
    check_distinct([candidates.name for candidates in loaded])
    fused = options.fusion_of(None, hybrid, fusion, weight)
    scorer = options.reranker_of(reranker, kind, device)
    if scorer is None:
        from searchapp.encoder import Encoder
        from searchapp.rerank.biencoder import BiEncoder

        encoder = Encoder.load(
            model,
            adapters=adapter,
            pooling=pooling,
            max_length=max_length,
            document_max_length=document_max_length,
            dtype=dtype,
            device=device,
        )
        instruction = encoder.settings.query_instruction if instruction is None else instruction
        scorer = BiEncoder(encoder, instruction)
    results: list[Reranked] = []
    for candidates in loaded:
        seen = (depth or None) if candidates.before is not None else None  # a given list is scored whole
        with Bar() as bar:
            results += evaluate_reranking(
                candidates, scorer, metrics, instruction=instruction, depth=seen, fusion=fused, progress=bar
            )
    _write(results, loaded, run, per_query, report, markdown)
    if json:
        say_json({"results": [result.to_json() for result in results]})
    else:
        _show(results)


def _from_index(
    dataset: Path, split: str | None, path: Path, depth: int, instruction: str | None, device: str
) -> Candidates:
    """Search an index for the candidates, as ``search`` does."""
    from searchapp.evaluate import load_collection
    from searchapp.evaluate.candidates import load_candidates
    from searchapp.search import Index

    collection = load_collection(dataset, split)
    opened = Index.open(path, device=device)
    answers = opened.answer([query.text for query in collection.queries], depth or 1_000, instruction=instruction)
    found = {
        query.id: {hit.id: hit.score for hit in answer.hits}
        for query, answer in zip(collection.queries, answers, strict=True)
    }
    return load_candidates(dataset, split, run=found)


def _write(
    results: Sequence[Reranked],
    loaded: Sequence[Candidates],
    run: Path | None,
    per_query: Path | None,
    report: Path | None,
    markdown: Path | None,
) -> None:
    """Write the files that were asked for."""
    from searchapp.evaluate import write_run
    from searchapp.evaluate.names import distinct_names
    from searchapp.evaluate.retrieval import run_path

    if run is not None:
        after = [result for result in results if result.name == "reranked"]
        for result in after:
            place = run_path(run, result.setting.collection, alone=len(after) == 1)
            write_run(place, result.run, "searchapp-reranked")
            notice(f"run written to {place}")
    if per_query is not None:
        texts = {(candidates.name, query.id): query.text for candidates in loaded for query in candidates.queries}
        write_per_query(per_query, zip(distinct_names(results), results, strict=True), texts)
    if report is not None:
        from searchapp.evaluate.report import reranking_report

        notice(f"report written to {reranking_report(report, results, loaded)}")
    if markdown is not None:
        from searchapp.evaluate.markdown import put_section, reranking_section

        put_section(markdown, "Reranking", reranking_section(results))
        notice(f"table written to {markdown}")


def _show(results: Sequence[Reranked]) -> None:

    names = list(results[0].scores.per_query)
    rows = [["collection", "order", *names]]
    for result in results:
        setting = result.setting
        estimates = result.scores.estimates()
        rows.append(
            [
                f"{setting.collection} ({setting.split})",
                setting.label,
                *(f"{one.value:.4f} [{one.low:.3f}, {one.high:.3f}]" for one in estimates.values()),
            ]
        )
    for sentence in dict.fromkeys(
        f"{result.setting.collection}: {note}" for result in results for note in result.notes
    ):
        say(sentence)
    say(table(rows))
    for result in results:
        if result.name == "before" and (first := result.setting.first_stage) is not None:
            say(f"recall@{first.depth} of the first stage: {first.recall:.4f}, the ceiling of what reranking can reach")
    say(f"queries: {', '.join(_sizes(results))}; in brackets: 95 % bootstrap interval over the queries")


def _sizes(results: Sequence[Reranked]) -> list[str]:
    sizes = {
        result.setting.collection: f"{result.setting.collection} {result.setting.queries} "
        f"with {result.setting.candidates:.1f} candidates each"
        for result in results
    }
    return list(sizes.values())
