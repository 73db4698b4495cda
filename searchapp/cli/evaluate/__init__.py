"""``searchapp evaluate``: how good the search is."""

from __future__ import annotations

import typer

from searchapp.cli.evaluate import compare, rerank, retrieval

app = typer.Typer(help="Measure how good search and reranking are, and compare runs.", rich_markup_mode=None)
app.command("retrieval")(retrieval.retrieval)
app.command("rerank")(rerank.rerank)
app.command("compare")(compare.compare)


@app.callback()
def evaluate() -> None:
    """Measure how good search and reranking are, and compare runs."""
