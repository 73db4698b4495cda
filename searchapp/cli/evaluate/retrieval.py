"""``searchapp evaluate retrieval``: any number of models, reductions and steps on any number of collections."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli.console import notice, say, say_json, table
from searchapp.cli.evaluate.dimensions import DimensionsOptions, measure
from searchapp.cli.evaluate.options import (
    METRIC,
    OutputOptions,
    check_distinct,
    check_metrics,
    write_per_query,
)
from searchapp.cli.option_fields import option
from searchapp.cli.options import EncoderOptions
from searchapp.cli.search_options import FusionOptions, RerankOptions
from searchapp.cli.served import ServedIndex, mode_of, open_searchable
from searchapp.cli.signatures import command, options_from
from searchapp.cli.which import URL
from searchapp.cli.wording import CANDIDATES, EVALUATION, FACTORY, INDEX, MODEL, OUTPUT, SEARCH
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.evaluate import Collection
    from searchapp.evaluate.retrieval import IndexConfig, Request, Result
    from searchapp.search import Index

THREE = ("hybrid", "dense", "bm25")  # ways to search, that of a plain search first
SETTLED = (
    "models", "adapter", "pca", "factory", "pooling", "max_length", "document_max_length", "bidirectional", "dtype",
    "backend",
)  # fmt: skip


@dataclass(frozen=True)
class RetrievalOptions:
    """What is evaluated: the models and the indexes to compare, and how results are judged."""

    models: tuple[str, ...] = option(
        ("bundled",),
        "A checkpoint directory, a hub id, or `bundled`; repeat it for several.",
        MODEL,
        flags=("--model", "-m"),
    )
    encoder: EncoderOptions = EncoderOptions()
    index: str | None = option(
        None, "Evaluate this index, or that of a server's address, instead of building one.", INDEX
    )
    token_file: Path | None = option(
        None, "A file with the token that a server asks for; else SEARCHAPP_TOKEN of the environment.", INDEX
    )
    pca: tuple[int, ...] = option((), "Dimensions to reduce to; repeat it to compare several. 0: none.", INDEX)
    factory: tuple[str, ...] = option((), f"{FACTORY}; repeat it for several.", INDEX, default="auto")
    dims: str | None = option(
        None,
        "Measure instead what these dimensions cost, such as 32,64,128: by PCA, cut off, and as int8 and 1-bit codes.",
        INDEX,
    )
    candidates: int | None = option(None, CANDIDATES, SEARCH, min=0)
    words: bool = option(
        False, "The same as --mode hybrid: fused, vectors alone and BM25 alone.", SEARCH, flags=("--hybrid",)
    )
    fusing: FusionOptions = FusionOptions()
    reranking: RerankOptions = RerankOptions()
    split: str | None = option(None, "The judgements to use; default: test, or the only ones.", EVALUATION)
    metric: tuple[str, ...] = option((), METRIC, EVALUATION)
    self_documents: str = option("auto", "Documents with the query's id: auto, drop or keep.", EVALUATION)
    duplicates: str = option("keep", "Documents of the same text: keep, or collapse into one.", EVALUATION)
    depth: int = option(1_000, "Documents retrieved for each query.", EVALUATION, min=1)
    plot: Path | None = option(None, "Draw what --dims measures into this PNG file.", OUTPUT)

    def configs(self) -> list[IndexConfig]:
        """The indexes to compare for each model."""
        from searchapp.evaluate.retrieval import IndexConfig

        dims: Sequence[int | None] = self.pca or [None]  # None: as the rule has it
        return [IndexConfig(dim, kind, self.candidates) for dim in dims for kind in self.factory or ["auto"]]

    def request(self, metrics: tuple[str, ...], index: Index | ServedIndex | None) -> Request:
        """What is wanted of every setting. Raises SearchAppError."""
        from searchapp.evaluate.retrieval import Request

        fusing = replace(self.fusing, hybrid=self.words)
        mode, fusion = mode_of(index, fusing) if index is not None else fusing.chosen(None)
        return Request(
            metrics,
            self.encoder.query_instruction,
            self.depth,
            fusion,
            None if isinstance(index, ServedIndex) else self.reranking.load(self.encoder.device),
            self.reranking.rerank_depth,
            self.self_documents,
            self.duplicates,
            dense=mode != "bm25",
        )

    def dimensions(self, dims: str) -> DimensionsOptions:
        """Those of them that measuring dimensions takes. Raises SearchAppError for a server, which gives no vectors."""
        own = {item.name: getattr(self, item.name) for item in fields(DimensionsOptions) if item.name != "dims"}
        if isinstance(own["index"], str):
            if URL.match(own["index"]):
                raise SearchAppError("--dims needs the vectors of an index, which a server does not give; leave it out")
            own["index"] = Path(own["index"])
        return DimensionsOptions(dims, **own)


@command(
    "searchapp evaluate retrieval path/to/beir-folder",
    "searchapp evaluate retrieval scifact nfcorpus -m bundled -m models/mine --pca 0 --pca 128 --report report",
    "searchapp evaluate retrieval my-collection --index indexes/notes --rerank models/reranker --run runs/notes.trec",
    "searchapp evaluate retrieval scifact --dims 32,64,128 --plot dims.png",
)
@options_from("asked", RetrievalOptions(), without=("model", "attention", "hybrid"))
@options_from("output", OutputOptions())
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
    asked: RetrievalOptions,
    output: OutputOptions,
) -> None:
    """Search test collections and score the results, with 95 % bootstrap intervals over the queries."""
    from searchapp.evaluate import load_collection
    from searchapp.evaluate.retrieval import check_run_ids

    if asked.index is not None:
        _refuse_settled(context, datasets)
    if asked.encoder.adapter and len(asked.models) > 1:
        raise SearchAppError(
            f"--adapter was given with {len(asked.models)} models, expected one; evaluate the adapted model by itself"
        )
    collections = [load_collection(dataset, asked.split) for dataset in datasets]
    check_distinct([collection.name for collection in collections])
    if asked.dims is not None:
        measure(context, collections, asked.dimensions(asked.dims), json=output.json)
        return
    if asked.plot is not None:
        raise SearchAppError("--plot draws what --dims measures; add --dims 32,64,128, or give --report instead")
    metrics = check_metrics(asked.metric)
    output.check()
    opened = None
    if asked.index is not None:
        place = asked.index if URL.match(asked.index) else Path(asked.index)
        opened = open_searchable(place, asked.encoder.device, asked.token_file)
    elif asked.token_file is not None:
        raise SearchAppError("--token-file is for a server; give its address by --index, or leave it out")
    if output.run is not None:
        for collection in collections:
            check_run_ids(collection, None if isinstance(opened, ServedIndex) or opened is None else opened.vectors)
    request = asked.request(metrics, opened)
    results = _of_index(collections[0], opened, asked, request) if opened else _of_models(collections, asked, request)
    if not asked.words:
        results = _default_first(results)
    _write(results, output, collections, named=asked.words)
    if output.json:
        say_json({"results": [result.to_json() for result in results]})
    else:
        _show(results)


def _of_index(
    collection: Collection, opened: Index | ServedIndex, asked: RetrievalOptions, request: Request
) -> list[Result]:
    if isinstance(opened, ServedIndex):
        from searchapp.evaluate.served import evaluate_served

        name = opened.reranker(asked.reranking)
        return evaluate_served(collection, opened.client, request, candidates=asked.candidates, reranker=name)
    from searchapp.evaluate.retrieval import evaluate_index

    opened.encoder.keep(asked.encoder.cache)
    return evaluate_index(collection, opened.vectors, opened.encoder, request, candidates=asked.candidates)


def _of_models(collections: Sequence[Collection], asked: RetrievalOptions, request: Request) -> list[Result]:
    results: list[Result] = []
    configs = asked.configs()
    for name in asked.models:
        encoder = replace(asked.encoder, model=name).load()
        for collection in collections:
            results += _evaluate(collection, encoder, configs, request)
        notice(f"model {name}: {encoder.description}")
    return results


def _evaluate(
    collection: Collection, encoder: Encoder, configs: Sequence[IndexConfig], request: Request
) -> list[Result]:
    from searchapp.cli.progress import Bar
    from searchapp.evaluate.retrieval import evaluate_collection

    with tempfile.TemporaryDirectory(prefix="searchapp-") as work, Bar() as bar:
        return evaluate_collection(collection, encoder, configs, Path(work) / "index", request, progress=bar)


def _refuse_settled(context: typer.Context, datasets: Sequence[Path]) -> None:
    """Raise SearchAppError for options, given on the command line, that an index has settled when it was built."""
    spelled = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    given = [
        spelled[name]
        for name in SETTLED
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]
    if given:
        flags = ", ".join(given)
        raise SearchAppError(
            f"{flags} cannot go with --index: the index was built with a model and settings of its own; "
            f"leave out {flags}, or leave out --index to build one"
        )
    if len(datasets) > 1:
        raise SearchAppError(
            f"--index was given with {len(datasets)} datasets, expected one; an index holds one collection"
        )


def _default_first(results: Sequence[Result]) -> list[Result]:
    """The results of each collection and model with what a plain search does before the others."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        setting = result.setting
        groups.setdefault((setting.collection, setting.split, setting.model), []).append(result)
    return [
        result for group in groups.values() for result in sorted(group, key=lambda one: one.setting.method != "hybrid")
    ]


def _write(results: Sequence[Result], output: OutputOptions, collections: Sequence[Collection], *, named: bool) -> None:
    """Write the files that were asked for.

    One run is written where ``--run`` says, and of the three ways to search one collection that of a plain search;
    ``named`` gives all of several runs names of their own.
    """
    from searchapp.evaluate import write_run
    from searchapp.evaluate.markdown import retrieval_section
    from searchapp.evaluate.names import distinct_names
    from searchapp.evaluate.report import retrieval_report
    from searchapp.evaluate.retrieval import run_path

    names = distinct_names(results)
    if output.run is not None:
        first = len(results) == 1 or (not named and [one.setting.method for one in results] == list(THREE))
        for number, (name, result) in enumerate(zip(names, results, strict=True)):
            place = run_path(output.run, name, alone=first and number == 0)
            write_run(place, result.run, f"searchapp-{result.name}")
            notice(f"run written to {place}")
    if output.per_query is not None:
        texts = {(collection.name, query.id): query.text for collection in collections for query in collection.queries}
        write_per_query(output.per_query, zip(names, results, strict=True), texts)
    output.write_tables(
        "Retrieval",
        lambda: retrieval_section(results),
        lambda folder: retrieval_report(folder, results, collections),
    )


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
