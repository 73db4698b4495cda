"""``searchapp evaluate``: how good the search is."""

from __future__ import annotations

import typer

from searchapp.cli.evaluate import compare, explain, own, rerank, retrieval, tune

app = typer.Typer(
    help="Measure how good search and reranking are, compare runs, make a test collection.", rich_markup_mode=None
)
app.command("retrieval")(retrieval.retrieval)
app.command("rerank")(rerank.rerank)
app.command("compare")(compare.compare)
app.command("explain")(explain.explain)
app.command("tune-fusion")(tune.tune)
app.command("init")(own.init)
app.command("judge")(own.judge)


@app.callback()
def evaluate() -> None:
    """Measure how good search and reranking are, compare runs, make a test collection."""
