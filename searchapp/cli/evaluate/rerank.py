"""``searchapp evaluate rerank``: the order a model gives to candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli.console import notice, say, say_json, table
from searchapp.cli.evaluate.options import METRIC, OutputOptions, check_distinct, check_metrics, write_per_query
from searchapp.cli.option_fields import option
from searchapp.cli.options import EncoderOptions
from searchapp.cli.search_options import FusionOptions, RerankOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import EVALUATION, KINDS, RERANKING
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.evaluate.candidates import Candidates
    from searchapp.evaluate.reranking import Reranked
    from searchapp.rerank import Reranker

CANDIDATES = "Candidates"


@dataclass(frozen=True)
class RerankingOptions:
    """Who puts the candidates in order, where they come from, and how the order is judged."""

    encoder: EncoderOptions = EncoderOptions()
    reranker: str | None = option(
        None, "Score with this reranker, not with the model's cosine.", RERANKING, flags=("--rerank",)
    )
    kind: str = option("auto", KINDS, RERANKING, flags=("--reranker-kind",))
    depth: int = option(
        100, "Candidates of each query to rerank; 0: all of them.", RERANKING, flags=("--depth", "-k"), min=0
    )
    words: bool = option(False, "BM25 and both fused too.", RERANKING, flags=("--hybrid",))
    fusing: FusionOptions = FusionOptions()
    top_ranked: Path | None = option(None, "A TREC run, ours or another's, that brings the candidates.", CANDIDATES)
    index: Path | None = option(None, "Take the candidates from this index.", CANDIDATES)
    split: str | None = option(None, "The split; default: test, else dev, or the only one.", EVALUATION)
    metric: tuple[str, ...] = option((), METRIC, EVALUATION)

    def load(self, datasets: Sequence[Path]) -> list[Candidates]:
        """The candidates of every dataset. Raises SearchAppError."""
        from searchapp.evaluate.candidates import load_candidates

        if self.index is not None:
            return [_from_index(datasets[0], self.index, self)]
        return [load_candidates(dataset, self.split, run=self.top_ranked) for dataset in datasets]

    def scorer(self) -> tuple[Reranker, str | None]:
        """Who scores, and the instruction it is given: the model by its cosine, where no reranker is named."""
        reranking = RerankOptions(rerank=self.reranker, reranker_kind=self.kind)
        if (reranker := reranking.load(self.encoder.device)) is not None:
            return reranker, self.encoder.query_instruction
        from searchapp.rerank.biencoder import BiEncoder

        encoder = self.encoder.load()
        instruction = encoder.settings.query_instruction
        return BiEncoder(encoder, instruction), instruction


@command(
    "searchapp evaluate rerank pairs.jsonl --rerank models/reranker",
    "searchapp evaluate rerank scifact --index indexes/scifact --rerank models/reranker --depth 50",
    "searchapp evaluate rerank scifact --top-ranked bm25.trec --model models/mine --hybrid --run reranked.trec",
)
@options_from("asked", RerankingOptions(), without=("attention", "backend", "cache", "mode", "hybrid", "fusion_depth"))
@options_from("output", OutputOptions())
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
    asked: RerankingOptions,
    output: OutputOptions,
) -> None:
    """Put candidates in a model's order and measure it, before and after where a first stage brought them."""
    from searchapp.cli.progress import Bar
    from searchapp.evaluate.reranking import DEFAULT_METRICS, evaluate_reranking

    if (asked.top_ranked or asked.index) and len(datasets) > 1:
        raise SearchAppError(
            f"--top-ranked and --index bring the candidates of one collection, found {len(datasets)} datasets; "
            "give them one by one"
        )
    if asked.top_ranked and asked.index:
        raise SearchAppError("--top-ranked and --index both bring candidates, expected one of them; leave one out")
    metrics = check_metrics(asked.metric, DEFAULT_METRICS)
    output.check()
    loaded = asked.load(datasets)
    check_distinct([candidates.name for candidates in loaded])
    fused = replace(asked.fusing, hybrid=asked.words).of(None)
    if fused is not None and fused.is_absolute:
        raise SearchAppError("--fusion spread looks scores up in an index; fuse two orders by rrf, weighted or zscore")
    scorer, instruction = asked.scorer()
    results: list[Reranked] = []
    for candidates in loaded:
        seen = (asked.depth or None) if candidates.before is not None else None  # a given list is scored whole
        with Bar() as bar:
            results += evaluate_reranking(
                candidates, scorer, metrics, instruction=instruction, depth=seen, fusion=fused, progress=bar
            )
    _write(results, loaded, output)
    if output.json:
        say_json({"results": [result.to_json() for result in results]})
    else:
        _show(results)


def _from_index(dataset: Path, path: Path, asked: RerankingOptions) -> Candidates:
    """Search an index for the candidates, as ``search`` does."""
    from searchapp.evaluate import load_collection
    from searchapp.evaluate.candidates import load_candidates
    from searchapp.search import Index

    collection = load_collection(dataset, asked.split)
    opened = Index.open(path, device=asked.encoder.device)
    queries = [query.text for query in collection.queries]
    answers = opened.answer(queries, asked.depth or 1_000, instruction=asked.encoder.query_instruction)
    found = {
        query.id: {hit.id: hit.score for hit in answer.hits}
        for query, answer in zip(collection.queries, answers, strict=True)
    }
    return load_candidates(dataset, asked.split, run=found)


def _write(results: Sequence[Reranked], loaded: Sequence[Candidates], output: OutputOptions) -> None:
    """Write the files that were asked for."""
    from searchapp.evaluate import write_run
    from searchapp.evaluate.markdown import reranking_section
    from searchapp.evaluate.names import distinct_names
    from searchapp.evaluate.report import reranking_report
    from searchapp.evaluate.retrieval import run_path

    if output.run is not None:
        after = [result for result in results if result.name == "reranked"]
        for result in after:
            place = run_path(output.run, result.setting.collection, alone=len(after) == 1)
            write_run(place, result.run, "searchapp-reranked")
            notice(f"run written to {place}")
    if output.per_query is not None:
        texts = {(candidates.name, query.id): query.text for candidates in loaded for query in candidates.queries}
        write_per_query(output.per_query, zip(distinct_names(results), results, strict=True), texts)
    output.write_tables(
        "Reranking",
        lambda: reranking_section(results),
        lambda folder: reranking_report(folder, results, loaded),
    )


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
