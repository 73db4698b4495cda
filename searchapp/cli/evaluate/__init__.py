"""``searchapp evaluate``: how good the search is."""

from __future__ import annotations

import typer

from searchapp.cli.lazy import Entry, lazy_group

COMMANDS = {
    "retrieval": Entry(
        "searchapp.cli.evaluate.retrieval",
        "retrieval",
        "Search test collections and score the results, with 95 % bootstrap intervals over the queries.",
    ),
    "rerank": Entry(
        "searchapp.cli.evaluate.rerank",
        "rerank",
        "Put candidates in a model's order and measure it, before and after where a first stage brought them.",
    ),
    "compare": Entry(
        "searchapp.cli.evaluate.compare",
        "compare",
        "Compare runs on the same queries: differences with intervals, randomisation test, the queries that moved "
        "most.",
    ),
    "explain": Entry(
        "searchapp.cli.evaluate.explain",
        "explain",
        "Show a document's exact score, its rank after each step, and which of its words carry the score.",
    ),
    "overlap": Entry(
        "searchapp.cli.evaluate.overlap",
        "overlap",
        "Say which queries and judged documents stand in the training data, and score a model without them.",
    ),
    "tune-fusion": Entry(
        "searchapp.cli.evaluate.tune",
        "tune",
        "Fuse vectors and BM25 in many ways, and say which one is best on queries kept for tuning.",
    ),
    "models": Entry(
        "searchapp.cli.evaluate.models",
        "models",
        "Compare models on the documents of an index: quality with intervals, speed and size.",
    ),
    "init": Entry(
        "searchapp.cli.evaluate.own",
        "init",
        "Draw a test collection from an index: documents, queries, and a pool of documents to judge.",
    ),
    "judge": Entry(
        "searchapp.cli.evaluate.own",
        "judge",
        "Judge the pool in the terminal, one document after the other; what is said is kept at once, so stop any time.",
    ),
}
app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="Measure how good search and reranking are, compare runs, make a test collection.",
    rich_markup_mode=None,
)


@app.callback()
def evaluate() -> None:
    """Measure how good search and reranking are, compare runs, make a test collection."""
