"""Jupyter notebooks of the present and the old format, and files that only look like one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from searchapp.corpus.formats.notebook import read
from searchapp.corpus.formats.reading import Limits, Unreadable
from tests.corpus.formats import packages
from tests.corpus.formats.packages import shown


def notebook(tmp_path: Path, content: Any) -> list[str]:
    (tmp_path / "a.ipynb").write_text(json.dumps(content))
    return shown(packages.read(read, tmp_path / "a.ipynb")[1])


def test_format_4(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Bees\n", "\n", "They fly:\n", "- far\n"]},
        {"cell_type": "code", "source": "    x = 1\n", "outputs": [
            {"output_type": "stream", "text": ["\x1b[31mred\x1b[0m\n"]},
            {"output_type": "execute_result", "data": {"text/plain": "y" * 2000}},
            {"output_type": "display_data", "data": {"image/png": "iVBOR", "text/html": "<b>"}},
            {"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": ["long"]},
        ]},
        {"cell_type": "raw", "source": "raw"},
        {"cell_type": "markdown", "source": "more \ud800\u0000"},
        {"cell_type": "code", "source": ""},
        "no cell",
    ]  # fmt: skip
    about = {"title": "My Book", "authors": [{"name": "Ann"}, {"name": "Bob"}]}
    assert notebook(tmp_path, {"cells": cells, "metadata": about, "nbformat": 4}) == [
        "*H1 # Bees", "T They fly:", "L1 - far", "C     x = 1", "C red", "C KeyError: 'x'", "T raw", "*T more ?",
    ]  # fmt: skip
    facts, blocks = packages.read(read, tmp_path / "a.ipynb")
    assert (facts.title, facts.author, blocks[0].label, blocks[-1].where) == (
        "My Book",
        "Ann, Bob",
        "Bees",
        {"cell": 4},
    )


def test_format_3_has_worksheets_and_headings(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Bees"]},
        {"cell_type": "code", "input": ["x = 1"], "outputs": [{"output_type": "pyout", "text": ["1"]}]},
    ]
    assert notebook(tmp_path, {"worksheets": [{"cells": cells}], "nbformat": 3}) == ["*H2 Bees", "C x = 1", "C 1"]


@pytest.mark.parametrize("content", ['{"a": 1}', "[]", "no json", "[" * 100_000, ""])
def test_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(Unreadable, match="damaged|nested too deep"):
        list(read(tmp_path / "a.ipynb", Limits()))


def test_metadata_of_the_wrong_kind_is_passed_over(tmp_path: Path) -> None:
    cells = [{"cell_type": 7, "source": {"a": 1}}, {"outputs": 3, "source": None}]
    assert notebook(tmp_path, {"cells": cells, "metadata": [], "worksheets": "x"}) == []
