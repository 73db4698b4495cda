"""Several queries at once: read from a file, and what was found written as a TREC run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.cli.console import notice, plural
from searchapp.cli.lists import listed
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.search import Answer

TAG = "searchapp"


def queries_in(path: Path) -> dict[str, str]:
    """The queries of a file by their ids: a ``queries.jsonl``, else a query a line, numbered from 1.

    Raises SearchAppError where there is none, or the file cannot be read.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        from searchapp.evaluate.collection import read_query_texts

        found = read_query_texts(path)
    else:
        lines = listed(path, "--queries", "a query")
        found = {str(number): text.strip() for number, text in enumerate(lines, 1)}
    if not found:
        raise SearchAppError(f"--queries {path} is empty; give a query a line, or a queries.jsonl")
    return found


def write_answers(path: Path, ids: Sequence[str], answers: Sequence[Answer]) -> None:
    """Write what was found as a TREC run. Raises SearchAppError for ids that cannot stand in one."""
    from searchapp.evaluate.run import write_run

    run = {query: [(hit.id, hit.score) for hit in answer.hits] for query, answer in zip(ids, answers, strict=True)}
    write_run(path, run, TAG)
    notice(f"{path}: {plural(sum(map(len, run.values())), 'hit')} of {len(run):,} queries")
