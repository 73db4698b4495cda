"""``searchapp evaluate overlap``: whether test collections are in the data that a model was trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.cli.console import DIM, notice, say, say_json, style, table
from searchapp.cli.evaluate.options import METRIC, check_distinct, check_metrics
from searchapp.cli.option_fields import option
from searchapp.cli.options import EncoderOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import EVALUATION, INDEX, MODEL, OUTPUT
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.adapt.data import TrainingPair
    from searchapp.evaluate import Collection
    from searchapp.evaluate.overlap import CleanScores, Overlap, Side, TrainingFile, TrainingRead

TRAINING = "Training data"
METRICS = ("nDCG@10",)
SHOWN = 200  # characters of a shared passage


@dataclass(frozen=True)
class OverlapOptions:
    """The training data that is looked through, and what is shown of what it shares with the collections."""

    text: tuple[Path, ...] = option(
        (), "Training texts: .txt, .jsonl (also .gz) or .parquet; repeat it for more.", TRAINING
    )
    pairs: tuple[Path, ...] = option(
        (), "Training pairs: .jsonl (also .gz) with query and positive; repeat it for more.", TRAINING
    )
    scored_model: str | None = option(
        None, "Also score this model with what overlaps and without.", MODEL, flags=("--model", "-m")
    )
    encoder: EncoderOptions = EncoderOptions()
    index: Path | None = option(None, "Score this index of the collection instead of a model.", INDEX)
    split: str | None = option(None, "The judgements to use; default: test, or the only ones.", EVALUATION)
    metric: tuple[str, ...] = option((), METRIC, EVALUATION, default="nDCG@10")
    most: int = option(3, "Queries and documents to show of those that share most.", OUTPUT, min=0)
    json: bool = option(False, "Write JSON to standard output, and nothing else.", OUTPUT)


@command(
    "searchapp evaluate overlap scifact --text corpus.txt.gz --pairs pairs.jsonl.gz",
    "searchapp evaluate overlap scifact nfcorpus --text a.txt --text b.txt --model bundled --json",
)
@options_from("asked", OverlapOptions(), without=("model",))
def overlap(
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...",
            help="BEIR folders: corpus.jsonl, queries.jsonl, qrels/ (also .gz).",
            show_default=False,
        ),
    ],
    asked: OverlapOptions,
) -> None:
    """Say which queries and judged documents stand in the training data, and score a model without them."""
    from searchapp.evaluate import load_collection
    from searchapp.evaluate.overlap import UNKNOWABLE, find_overlap

    _check(asked, datasets)
    metrics = check_metrics(asked.metric, METRICS)
    collections = [load_collection(dataset, asked.split) for dataset in datasets]
    check_distinct([collection.name for collection in collections])
    found, read = find_overlap(collections, training_files(asked.text, asked.pairs), _tell)
    scored = _scores(collections, found, asked, metrics)
    if asked.json:
        results = [one.to_json(asked.most) for one in found]
        for result, scores in zip(results, scored, strict=True):
            result["scores"] = [one.to_json() for one in scores]
        say_json({"training": asdict(read), "unknowable": UNKNOWABLE, "results": results})
        return
    _show(found, read, scored, asked.most)


def training_files(texts: Sequence[Path], pairs: Sequence[Path]) -> list[TrainingFile]:
    """The files of texts and of pairs, whose queries, positives and negatives are texts too.

    Raises AdaptError for one that is missing or of another kind.
    """
    from searchapp.adapt.data import PairFile, read_pairs, read_texts
    from searchapp.evaluate.overlap import TrainingFile

    files = []
    for path in texts:
        read_texts([path])  # it is looked at here, and read when all is known to be there
        files.append(TrainingFile(str(path), lambda path=path: read_texts([path])))  # type: ignore[misc]
    for path in pairs:
        read_pairs(PairFile(path))
        files.append(TrainingFile(str(path), lambda path=path: _pair_texts(read_pairs(PairFile(path)))))  # type: ignore[misc]
    return files


def _pair_texts(pairs: Iterator[TrainingPair]) -> Iterator[str]:
    for pair in pairs:
        yield from (pair.query, *pair.positives, *pair.negatives)


def _check(asked: OverlapOptions, datasets: Sequence[Path]) -> None:
    if not asked.text and not asked.pairs:
        raise SearchAppError("no training data was given; give --text FILE, --pairs FILE, or both")
    if asked.index is not None and asked.scored_model is not None:
        raise SearchAppError("--index was built with a model of its own; leave out --model, or leave out --index")
    if asked.index is not None and len(datasets) > 1:
        raise SearchAppError(
            f"--index was given with {len(datasets)} datasets, expected one; an index holds one collection"
        )


def _tell(name: str) -> None:
    notice(f"reading {name}")


def _scores(
    collections: Sequence[Collection], found: Sequence[Overlap], asked: OverlapOptions, metrics: tuple[str, ...]
) -> list[list[CleanScores]]:
    """For each collection the scores with and without what overlaps; none where no model or index is given."""
    from searchapp.evaluate.overlap import clean_scores
    from searchapp.evaluate.retrieval import IndexConfig, Request, evaluate_collection, evaluate_index

    request = Request(metrics, asked.encoder.query_instruction)
    if asked.index is not None:
        from searchapp.search import Index

        opened = Index.open(asked.index, device=asked.encoder.device)
        [result, *_] = evaluate_index(collections[0], opened.vectors, opened.encoder, request)
        return [clean_scores(found[0], result.run, result.qrels, metrics)]
    if asked.scored_model is None:
        return [[] for _ in collections]
    encoder = replace(asked.encoder, model=asked.scored_model).load()
    scored = []
    for collection, one in zip(collections, found, strict=True):
        with tempfile.TemporaryDirectory(prefix="searchapp-") as work:
            config = IndexConfig(0, "Flat")
            [result] = evaluate_collection(collection, encoder, [config], Path(work) / "index", request)
        scored.append(clean_scores(one, result.run, result.qrels, metrics))
    return scored


def _show(
    found: Sequence[Overlap],
    read: TrainingRead,
    scored: Sequence[Sequence[CleanScores]],
    most: int,
) -> None:
    from searchapp.evaluate.overlap import RULE, UNKNOWABLE

    size = read.bytes / 1e6
    say(f"{read.texts:,} training texts, {size:,.1f} MB, {size / max(1e-9, read.cpu_seconds):,.1f} MB a second of CPU")
    say(RULE)
    say(UNKNOWABLE)
    rows = [["collection", "", "all", "overlap", "share", f"by {_words()}", "by sentence", "too short"]]
    for one in found:
        rows += [_row(f"{one.collection} ({one.split})", "queries", one.queries)]
        rows += [_row("", "judged documents", one.documents)]
    say(table(rows))
    for one, scores in zip(found, scored, strict=True):
        if one.missing:
            say(f"{one.collection}: {one.missing} judged documents have no text in the corpus")
        _show_worst(one, most)
        if scores:
            _show_scores(one, scores)


def _words() -> str:
    from searchapp.evaluate.shared_text import NGRAM

    return f"{NGRAM} words"


def _row(name: str, what: str, side: Side) -> list[str]:
    told: dict[str, Any] = side.to_json(0)
    return [
        name,
        what,
        f"{told['count']:,}",
        f"{told['overlapping']:,}",
        *(f"{told[key]:.1%}" for key in ("share", "share_by_ngram", "share_by_sentence")),
        f"{told['too_short']:,}",
    ]


def _show_worst(one: Overlap, most: int) -> None:
    for what, side in (("query", one.queries), ("document", one.documents)):
        for text, shared in side.worst(most):
            say(
                f"{one.collection}, {what} {text.id}: {shared.covered} of {shared.words} words shared, "
                f"first with text {shared.place:,} of {shared.source}"
            )
            passage = shared.passage if len(shared.passage) <= SHOWN else shared.passage[: SHOWN - 1] + "…"
            say(style(f"  {passage}", DIM))


def _show_scores(one: Overlap, scores: Sequence[CleanScores]) -> None:
    metrics = list(scores[0].scores.per_query) if scores[0].scores else []
    rows = [[f"{one.collection} without", "dropped", "queries", *metrics]]
    for line in scores:
        estimates = line.scores.estimates() if line.scores else {}
        cells = [
            f"{estimates[name].value:.4f} [{estimates[name].low:.3f}, {estimates[name].high:.3f}]"
            if name in estimates
            else ""
            for name in metrics
        ]
        rows.append([line.name, f"{line.dropped:,}", f"{line.queries:,}", *cells])
    say(table(rows))
