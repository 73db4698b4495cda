"""Tables of results in a Markdown file that people write too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.errors import EvaluationError

if TYPE_CHECKING:
    from searchapp.evaluate.reranking import Reranked
    from searchapp.evaluate.retrieval import Result
    from searchapp.evaluate.settings import RetrievalSetting


def put_section(path: Path, title: str, body: str, head: str = "# Results\n") -> None:
    """Put ``body`` under the heading ``## title``, in the place of what stood there; the rest of the file stays.

    A file that is not there begins with ``head``.

    Raises EvaluationError where the file cannot be read or written.
    """
    section = f"## {title}\n\n{body.strip()}\n"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else head
        found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if found is None:
            text = f"{text.rstrip()}\n\n{section}"
        else:
            rest = text[found.end() :]
            text = text[: found.start()] + section + ("\n" + rest if rest else "")
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(
            f"--markdown {path} cannot be written ({error}); give a text file you can write"
        ) from error


def retrieval_section(results: Sequence[Result]) -> str:
    """One table for each model: a row for each collection and setting, a column for each metric."""
    lines = []
    for model in dict.fromkeys(result.setting.model for result in results):
        own = [result for result in results if result.setting.model == model]
        metrics = list(own[0].scores.per_query)
        lines += [f"Model: `{Path(model).name}`.", ""]
        lines += _head(["collection", "documents", "queries", "search", *metrics])
        for result in own:
            setting = result.setting
            lines.append(
                _row(
                    [
                        f"{setting.collection} ({setting.split})",
                        f"{setting.data.documents:,}",
                        str(setting.queries),
                        _search(setting),
                        *_cells(result),
                    ]
                )
            )
        lines += [
            "",
            *dict.fromkeys(f"- {result.setting.collection}: {note}" for result in own for note in result.notes),
        ]
        lines.append("")
    return "\n".join([*lines, "In brackets: 95 % bootstrap interval over the queries."])


def reranking_section(results: Sequence[Reranked]) -> str:
    """A row for each collection and order."""
    metrics = list(results[0].scores.per_query)
    lines = _head(["collection", "queries", "candidates each", "order", *metrics])
    for result in results:
        setting = result.setting
        lines.append(
            _row(
                [
                    f"{setting.collection} ({setting.split})",
                    str(setting.queries),
                    f"{setting.candidates:.1f}",
                    setting.label,
                    *_cells(result),
                ]
            )
        )
    notes = dict.fromkeys(f"- {result.setting.collection}: {note}" for result in results for note in result.notes)
    return "\n".join([*lines, "", *notes, *([""] if notes else []), "In brackets: 95 % bootstrap interval."])


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cells(result: Result | Reranked) -> list[str]:
    return [f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in result.scores.estimates().values()]


def _search(setting: RetrievalSetting) -> str:
    words = {"dense": "dense", "bm25": "BM25", "hybrid": "fusion"}[setting.method]
    if setting.method != "bm25" and setting.index.pca:
        words += f", PCA {setting.index.pca}"
    return words + (f" → {Path(setting.reranked_by.reranker).name}" if setting.reranked_by else "")
