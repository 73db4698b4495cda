"""``searchapp evaluate explain``: why a document stands where it stands."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import BOLD, DIM, GREEN, RED, notice, say, say_json, style, table, width
from searchapp.cli.option_fields import option
from searchapp.cli.search_options import FusionOptions, RerankOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import EVALUATION, INSTRUCTION, LITERAL, SEARCH
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.evaluate.explain import Explanation

WORDS = 8  # listed below the text, those that carry the score most


@dataclass(frozen=True)
class ExplainOptions:
    """How the document was searched for, and how far that is looked into."""

    fusing: FusionOptions = FusionOptions()
    reranking: RerankOptions = RerankOptions()
    instruction: str | None = option(None, INSTRUCTION, SEARCH)
    depth: int = option(1_000, "How far down each step is followed.", EVALUATION, min=1)
    literal: bool = option(False, LITERAL, SEARCH)
    spans: int = option(64, "Stretches of words that are taken out, one after the other.", EVALUATION, min=1)


@command(
    "searchapp evaluate explain 'parse html' html.parser --index indexes/python-stdlib",
    "searchapp evaluate explain 'parse html' html.parser --index indexes/python-stdlib --mode dense --spans 32",
)
@options_from("asked", ExplainOptions())
def explain(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question.", show_default=False)],
    document: Annotated[str, typer.Argument(metavar="DOC", help="A document's id.", show_default=False)],
    index: Annotated[
        Path,
        typer.Option("--index", help="The index it is in.", show_default=False, rich_help_panel=SEARCH),
    ],
    asked: ExplainOptions,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Show a document's exact score, its rank after each step, and which of its words carry the score."""
    from searchapp.evaluate.explain import explain as explain_document
    from searchapp.search import Index, Plan

    if not query.strip():
        raise SearchAppError("the query is empty; give at least one word")
    opened = Index.open(index, device=device)
    mode, fusion = asked.fusing.chosen(opened.vectors)
    plan = Plan(
        k=asked.depth,
        fusion=fusion,
        dense=mode != "bm25",
        reranker=asked.reranking.load(device),
        rerank_depth=asked.reranking.rerank_depth,
        compressed=True,
    )
    found = explain_document(
        opened.vectors, opened.encoder, query, document, plan, instruction=asked.instruction, spans=asked.spans,
        literal=asked.literal,
    )  # fmt: skip
    for text in found.notices:
        notice(f"notice: {text}")
    if json:
        say_json({"results": [found.to_json()]})
    else:
        _show(found)


def _show(found: Explanation) -> None:
    from searchapp.evaluate.explain import shades

    say(style(f"» {found.query}", BOLD))
    say(f"{found.document}: cosine {found.score:.4f}, rank {found.rank:,} of {found.documents:,} by it")
    rows = [["step", "rank", "score"]]
    for step in found.steps:
        rank = f"{step.rank:,}" if step.rank is not None else f"not among the first {step.width:,}"
        rows.append([step.stage, rank, f"{step.score:.4f}" if step.score is not None else ""])
    say(table(rows))
    say()
    codes = {2: (BOLD, GREEN), 1: (GREEN,), 0: (), -1: (RED,)}
    marks = dict(zip(((span.start, span.end) for span in found.spans), shades(found.spans), strict=True))
    pieces = []
    for (start, end), shade in marks.items():
        words = found.text[start:end]
        pieces.append(style(words, *codes[shade]) if shade else words)
    for line in textwrap.wrap(" ".join(pieces), width() + 20, break_long_words=False, break_on_hyphens=False):
        say(line)
    strongest = sorted(found.spans, key=lambda span: -abs(span.effect))[:WORDS]
    say()
    say(style(f"what the cosine of {found.base:.4f} loses without these words (green: for, red: against):", DIM))
    for span in strongest:
        words = " ".join(found.text[span.start : span.end].split())
        say(f"  {span.effect:+.4f}  {words if len(words) <= 80 else words[:79] + '…'}")
    if found.terms:
        say(style("what each term of the query adds to its BM25 score:", DIM))
        say("  " + ", ".join(f"{term} {weight:.2f}" for term, weight in found.terms))
