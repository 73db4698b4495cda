"""The commands of the program, as typer reads them."""

from __future__ import annotations

import typer

from searchapp.cli.lazy import Entry, lazy_group

COMMANDS = {
    "build": Entry("searchapp.cli.build", "build", "Embed documents and build an index over them."),
    "search": Entry("searchapp.cli.search_command", "search", "Search an index."),
    "show": Entry("searchapp.cli.show", "show", "Print a document of an index, and what stands around it."),
    "add": Entry("searchapp.cli.update", "add", "Add documents to an index; one whose id is there takes its place."),
    "delete": Entry("searchapp.cli.update", "delete", "Delete documents by id, or all whose metadata pass a filter."),
    "compact": Entry(
        "searchapp.cli.update",
        "compact",
        "Drop what was deleted from an index, fold in what was added, and train it again.",
    ),
    "lexical": Entry(
        "searchapp.cli.lexical", "lexical", "Count the words of an index for BM25, complete or change them."
    ),
    "info": Entry("searchapp.cli.inspect", "info", "Show what an index holds and what made it."),
    "verify": Entry(
        "searchapp.cli.inspect",
        "verify",
        "Check every checksum and count of an index, and that a search finds what is stored.",
    ),
    "reindex": Entry(
        "searchapp.cli.tune",
        "reindex",
        "Make the reduction and the search index anew from the stored vectors; no document is encoded again.",
    ),
    "reembed": Entry(
        "searchapp.cli.reembed",
        "reembed",
        "Encode the documents of an index by another model, from its stored texts; the sources are not read.",
    ),
    "tune": Entry(
        "searchapp.cli.tune",
        "tune",
        "Measure recall@10 against exact search and time for many settings, print the curve, perhaps store one of "
        "them.",
    ),
    "serve": Entry("searchapp.cli.serve", "serve", "Search, embed and rerank over HTTP, with a page to search on."),
    "mcp": Entry(
        "searchapp.cli.mcp",
        "mcp",
        "Let an assistant search and read an index, over the Model Context Protocol on standard input and output.",
    ),
    "export": Entry(
        "searchapp.cli.export",
        "export",
        "Merge a model with its adapters into a checkpoint for sentence-transformers and for searchapp.",
    ),
    "export-index": Entry(
        "searchapp.cli.export_index",
        "export_index",
        "Write the documents and vectors of an index to a file that other programs read, and `build` without encoding.",
    ),
    "plan": Entry(
        "searchapp.cli.plan",
        "plan",
        "Say what a build of so many documents takes: hours, bytes, machines, what to pay for, and the commands.",
    ),
    "shard": Entry("searchapp.cli.shard", "app", "Do one part of a build on many machines."),
    "models": Entry(
        "searchapp.cli.models",
        "models",
        "List the models that can be used here: the shipped one, those in the hub's cache, those in folders.",
    ),
    "demo": Entry(
        "searchapp.cli.demo",
        "demo",
        "Build an index over the docstrings of the standard library, search it, and say what to type next.",
    ),
    "evaluate": Entry(
        "searchapp.cli.evaluate",
        "app",
        "Measure how good search and reranking are, compare runs, make a test collection.",
    ),
    "adapt": Entry(
        "searchapp.cli.adapt",
        "app",
        "Turn a decoder language model into an embedder: train it on your text and your pairs.",
    ),
    "bench": Entry("searchapp.cli.bench", "app", "Measure speed."),
}
app = typer.Typer(
    name="searchapp",
    cls=lazy_group(COMMANDS),
    help="Semantic search over your own documents: build an index, search it, measure it.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Semantic search over your own documents: build an index, search it, measure it."""
