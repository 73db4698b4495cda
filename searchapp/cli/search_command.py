"""``searchapp search`` as typer reads it: its options, its help, and its examples."""

from __future__ import annotations

from searchapp.cli.search import Asked
from searchapp.cli.search import search as run
from searchapp.cli.signatures import command, options_from


@command(
    "searchapp search 'kill a child process'",
    "searchapp search indexes/notes",
    "searchapp search indexes/notes 'kill a child process' -k 5 --mode dense",
    "searchapp search http://127.0.0.1:8000/notes 'kill a child process'",
    "searchapp search indexes/notes --like notes/todo.md#1a2b3c4d5e",
    "searchapp search indexes/notes --queries queries.txt --run notes.run",
    "searchapp search indexes/notes --filter 'year >= 2020' --json < queries.txt",
)
@options_from("asked", Asked())
def search(asked: Asked) -> None:
    """Search an index. Without a query: a prompt; or queries line by line from standard input."""
    run(asked)
