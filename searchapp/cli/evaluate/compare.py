"""``searchapp evaluate compare``: runs against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli.console import DIM, notice, say, say_json, style, table, width
from searchapp.cli.evaluate.options import METRIC, REPORT, check_metrics, check_outputs
from searchapp.cli.option_fields import option
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import EVALUATION, OUTPUT
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.evaluate.compare import Comparison, Pair


@dataclass(frozen=True)
class CompareOptions:
    """By what runs are compared, and what is shown of it."""

    metric: tuple[str, ...] = option((), METRIC, EVALUATION)
    intersect: bool = option(False, "Compare on the queries and judgements that all share.", EVALUATION)
    queries: Path | None = option(None, "A queries.jsonl, for the texts of the queries.", EVALUATION)
    dataset: Path | None = option(None, "A BEIR folder, for the same.", EVALUATION)
    permutations: int = option(10_000, "Draws of the randomisation test.", EVALUATION, min=1)
    seed: int = option(0, "Of the draws.", EVALUATION, min=0)
    most: int = option(5, "Queries to show of those that moved most.", OUTPUT, min=0)
    report: Path | None = option(None, REPORT, OUTPUT)
    json: bool = option(False, "Write JSON to standard output, and nothing else.", OUTPUT)


@command(
    "searchapp evaluate compare runs/dense.trec runs/hybrid.trec --qrels scifact/qrels/test.tsv --dataset scifact",
    "searchapp evaluate compare a.trec b.trec c.trec --qrels qrels.tsv --metric nDCG@10 --metric R@100 --report report",
)
@options_from("asked", CompareOptions())
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_A RUN_B...", help="TREC runs.", show_default=False)],
    qrels: Annotated[
        list[Path],
        typer.Option(
            "--qrels",
            help="The judgements; repeat it to give each run its own.",
            show_default=False,
            rich_help_panel=EVALUATION,
        ),
    ],
    asked: CompareOptions,
) -> None:
    """Compare runs on the same queries: differences with intervals, randomisation test, the queries that moved most."""
    from searchapp.evaluate import read_qrels, read_run
    from searchapp.evaluate.collection import read_query_texts
    from searchapp.evaluate.compare import compare as compare_runs

    metrics = check_metrics(asked.metric)
    check_outputs(report=asked.report)
    if len(runs) < 2:
        raise SearchAppError(f"found {len(runs)} run, expected at least two to compare; give another file")
    if len(qrels) not in (1, len(runs)):
        raise SearchAppError(
            f"--qrels was given {len(qrels)} times for {len(runs)} runs, expected once, or once for each run"
        )
    pools = [read_qrels(path) for path in qrels]
    place = asked.queries or asked.dataset
    texts = read_query_texts(place) if place is not None else {}
    named = {name: read_run(path) for name, path in zip(run_names(runs), runs, strict=True)}
    found = compare_runs(
        named, pools, metrics, intersect=asked.intersect, permutations=asked.permutations, seed=asked.seed
    )
    for sentence in found.dropped:
        notice(sentence)
    if asked.report is not None:
        from searchapp.evaluate.report import comparison_report

        notice(f"report written to {comparison_report(asked.report, found, texts)}")
    if asked.json:
        content = found.to_json()
        for result, pair in zip(content["results"], found.pairs, strict=True):
            result["moved"] = [
                {"query_id": query, "query": texts.get(query), "metric": metrics[0], "run_a": before, "run_b": after}
                for query, before, after in found.moved(pair, metrics[0], asked.most)
            ]
        say_json(content)
        return
    _show_runs(found, list(metrics))
    for pair in found.pairs:
        _show_pair(found, pair, texts, metrics[0], asked.most)


def run_names(paths: list[Path]) -> list[str]:
    """The files' names without suffixes; with their folders, where two would be called the same."""
    short = [path.name.removesuffix(".gz").rsplit(".", 1)[0] or path.name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SearchAppError(f"run {twice} is given twice, expected different files; give each once")
    return names


def _show_runs(found: Comparison, metrics: list[str]) -> None:
    names = list(found.scores)
    shown = list(found.scores[names[0]].per_query)
    say(f"{len(found.queries)} queries")
    rows = [["run", *shown]]
    for name, scores in found.scores.items():
        rows.append([name, *(f"{scores.estimate(metric).value:.4f}" for metric in shown)])
    say(table(rows))


def _show_pair(found: Comparison, pair: Pair, texts: dict[str, str], metric: str, most: int) -> None:
    say()
    say(f"{pair.second} - {pair.first}")
    several = len(found.pairs) > 1
    rows = [["metric", "difference", "95 % interval", "p", *(["p (Holm)"] if several else []), "wins/ties/losses"]]
    for name, one in pair.metrics.items():
        rows.append(
            [
                name,
                f"{one.value:+.4f}",
                f"[{one.low:+.4f}, {one.high:+.4f}]",
                f"{one.p:.4f}",
                *([f"{one.p_holm:.4f}"] if several else []),
                f"{one.wins}/{one.ties}/{one.losses}",
            ]
        )
    say(table(rows))
    say(
        f"p: paired randomisation test, two-sided, {found.permutations:,} draws; interval: bootstrap over the queries"
        + (f"; Holm over {len(found.pairs)} pairs in each metric" if several else "")
    )
    moved = found.moved(pair, metric, most)
    if not moved:
        return
    say(f"moved most in {metric} ({pair.first} → {pair.second}):")
    for query, before, after in moved:
        text = texts.get(query, "")
        line = f"  {after - before:+.4f}  {before:.4f} → {after:.4f}  {query}"
        room = max(20, width() - len(line) - 2)
        cut = text if len(text) <= room else text[: room - 1] + "…"
        say(line + (f"  {style(cut, DIM)}" if cut else ""))
