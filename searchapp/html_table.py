"""Tables as notebooks show them: rows of named values, as a list that a DataFrame takes, with HTML beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST = 300  # characters of a value that are shown
MOST = 100  # rows that are shown


class Table(list[dict[str, Any]]):
    """Rows as mappings of the same names: ``pandas.DataFrame(table)`` and ``polars.DataFrame(table)`` take it.

    >>> Table([{"run": "bm25", "nDCG@10": 0.5}])._repr_html_()
    '<table><tr><th>run</th><th>nDCG@10</th></tr><tr><td>bm25</td><td>0.5000</td></tr></table>'
    """

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for row in self for name in row))
        return html_table(names, ([row.get(name, "") for name in names] for row in self))


def html_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as HTML, every value escaped; the first ``MOST`` rows, and long values cut."""
    from html import escape

    lines = ["".join(f"<th>{escape(name)}</th>" for name in head)]
    rest = 0
    for number, row in enumerate(rows):
        if number < MOST:
            lines.append("".join(f"<td>{escape(shown(value))}</td>" for value in row))
        else:
            rest += 1
    if rest:
        lines.append(f'<td colspan="{len(head)}">{rest:,} more rows</td>')
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def shown(value: Any) -> str:
    """A value as text: numbers to four digits, mappings as ``key: value``, and what is long cut."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, Mapping):
        value = ", ".join(f"{key}: {part}" for key, part in value.items())
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
