"""Options that the commands of ``searchapp evaluate`` share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.cli.console import notice
from searchapp.cli.option_fields import option
from searchapp.cli.wording import OUTPUT
from searchapp.errors import EvaluationError

if TYPE_CHECKING:
    from searchapp.evaluate.names import Named

METRIC = "A measure as ir-measures spells it, e.g. nDCG@10; repeat it for more."
REPORT = "Write a page with tables and plots into this folder."


@dataclass(frozen=True)
class OutputOptions:
    """Where results are written."""

    run: Path | None = option(None, "Write a TREC run here.", OUTPUT)
    per_query: Path | None = option(None, "Write every query's values here, as lines of JSON.", OUTPUT)
    report: Path | None = option(None, REPORT, OUTPUT)
    markdown: Path | None = option(None, "Write the table into this file, in the place of the one before.", OUTPUT)
    json: bool = option(False, "Write JSON to standard output, and nothing else.", OUTPUT)

    def check(self) -> None:
        """Raise EvaluationError, before anything is computed, for what cannot be written."""
        check_outputs(self.run, self.per_query, self.markdown, self.report)

    def write_tables(self, title: str, section: Callable[[], str], page: Callable[[Path], Path]) -> None:
        """Write the report and the Markdown table, where they are asked for. Raises EvaluationError."""
        if self.report is not None:
            notice(f"report written to {page(self.report)}")
        if self.markdown is not None:
            from searchapp.evaluate.markdown import put_section

            put_section(self.markdown, title, section())
            notice(f"table written to {self.markdown}")


def check_metrics(given: Sequence[str], usual: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The metrics asked for, or the usual ones. Raises EvaluationError for one that is not known."""
    from searchapp.evaluate import DEFAULT_METRICS
    from searchapp.evaluate.metrics import check_metric

    metrics = tuple(dict.fromkeys(given or usual or DEFAULT_METRICS))
    for name in metrics:
        check_metric(name)
    return metrics


def check_distinct(names: list[str]) -> None:
    """Raise EvaluationError for two datasets of one name, which tables and files could not tell apart."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EvaluationError(f"two datasets are called {twice}, expected different names; evaluate them one by one")


def check_outputs(
    run: Path | None = None, per_query: Path | None = None, markdown: Path | None = None, report: Path | None = None
) -> None:
    """Raise EvaluationError, before anything is computed, for what cannot be written."""
    from searchapp.evaluate.page import make_folder
    from searchapp.evaluate.retrieval import check_writable

    if report is not None:
        make_folder(report)

    for path, flag in ((run, "--run"), (per_query, "--per-query"), (markdown, "--markdown")):
        if path is not None:
            check_writable(path, flag)


def write_per_query(path: Path, results: Iterable[tuple[str, Named]], texts: Mapping[tuple[str, str], str]) -> None:
    """Write a line of JSON for each setting and query; ``texts`` are by collection and id.

    Raises EvaluationError where the file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8") as file:
            for name, result in results:
                columns = result.scores.per_query
                for query in next(iter(columns.values())):
                    values = {metric: column[query] for metric, column in columns.items()}
                    line = {
                        "setting": name,
                        "collection": result.setting.collection,
                        "query_id": query,
                        "query": texts.get((result.setting.collection, query)),
                        "metrics": values,
                    }
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise EvaluationError(
            f"--per-query {path} cannot be written: {error.strerror or error}; give a file in a folder you can write to"
        ) from error
    notice(f"values of each query written to {path}")
