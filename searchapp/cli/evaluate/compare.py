"""``searchapp evaluate compare``: runs against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import DIM, notice, say, say_json, style, table, width
from searchapp.cli.evaluate.options import Metrics, Report, check_metrics, check_outputs
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.evaluate.compare import Comparison, Pair


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_A RUN_B...", help="TREC runs.", show_default=False)],
    qrels: Annotated[
        list[Path],
        typer.Option("--qrels", help="The judgements; repeat it to give each run its own.", show_default=False),
    ],
    metric: Metrics = None,
    intersect: Annotated[
        bool, typer.Option("--intersect", help="Compare on the queries and judgements that all share.")
    ] = False,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="A queries.jsonl, for the texts of the queries.")
    ] = None,
    dataset: Annotated[Path | None, typer.Option("--dataset", help="A BEIR folder, for the same.")] = None,
    most: Annotated[int, typer.Option("--most", help="Queries to show of those that moved most.", min=0)] = 5,
    permutations: Annotated[int, typer.Option(help="Draws of the randomisation test.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the draws.", min=0)] = 0,
    report: Report = None,
    json: options.Json = False,
) -> None:
    """Compare runs on the same queries: differences with intervals, randomisation test, the queries that moved most."""
    from searchapp.evaluate import read_qrels, read_run
    from searchapp.evaluate.collection import read_query_texts
    from searchapp.evaluate.compare import compare as compare_runs

    metrics = check_metrics(metric)
    check_outputs(report=report)
    if len(runs) < 2:
        raise SearchAppError(f"found {len(runs)} run, expected at least two to compare; give another file")
    if len(qrels) not in (1, len(runs)):
        raise SearchAppError(
            f"--qrels was given {len(qrels)} times for {len(runs)} runs, expected once, or once for each run"
        )
    pools = [read_qrels(path) for path in qrels]
    place = queries or dataset
    texts = read_query_texts(place) if place is not None else {}
    named = {name: read_run(path) for name, path in zip(run_names(runs), runs, strict=True)}
    found = compare_runs(named, pools, metrics, intersect=intersect, permutations=permutations, seed=seed)
    for sentence in found.dropped:
        notice(sentence)
    if report is not None:
        from searchapp.evaluate.report import comparison_report

        notice(f"report written to {comparison_report(report, found, texts)}")
    if json:
        content = found.to_json()
        for result, pair in zip(content["results"], found.pairs, strict=True):
            result["moved"] = [
                {"query_id": query, "query": texts.get(query), "metric": metrics[0], "run_a": before, "run_b": after}
                for query, before, after in found.moved(pair, metrics[0], most)
            ]
        say_json(content)
        return
    _show_runs(found, list(metrics))
    for pair in found.pairs:
        _show_pair(found, pair, texts, metrics[0], most)


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
