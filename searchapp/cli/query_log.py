"""A log of queries, kept where it is asked for: a line of JSON for each, which a test collection can be made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.errors import SearchAppError, reason_of

if TYPE_CHECKING:
    from searchapp.search import Answer


def append(path: Path, answers: Iterable[Answer]) -> None:
    """Add a line for each answer: when, the query, how it was answered, and the ids that were found.

    Raises SearchAppError where the file cannot be written.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [
        json.dumps(
            {
                "at": at, "query": answer.query, "mode": answer.mode, "hits": [hit.id for hit in answer.hits],
                "milliseconds": round(1000 * (answer.encode_seconds + answer.search_seconds), 1),
            },
            ensure_ascii=False,
        )
        for answer in answers
    ]  # fmt: skip
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise SearchAppError(f"--log {path} cannot be written: {reason_of(error)}; give another file") from error
