"""Options that say how the files of a source are read: a build that has others is no other run of the first."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from searchapp.corpus.selection import Selection
from searchapp.errors import IndexStoreError
from tests.index.conftest import HashEncoder
from tests.index.handed import build
from tests.index.test_sources import held


@pytest.mark.parametrize("kind", ["table", "file", "folder"])
def test_a_build_that_reads_the_same_files_otherwise_is_no_other_run_of_the_first(kind: str, tmp_path: Path) -> None:
    folder, root = tmp_path / "notes", tmp_path / "ix"
    folder.mkdir()
    (folder / "a.txt").write_text("# head\n\nsome text\n")
    pq.write_table(pa.table({"id": ["a"], "q": ["question"], "text": ["answer"]}), tmp_path / "t.parquet")
    source = {"table": tmp_path / "t.parquet", "file": folder / "a.txt", "folder": folder}[kind]
    one = Selection(columns="text=q") if kind == "table" else Selection(include=("*.txt=markdown",))
    for first, second in ((one, Selection()), (Selection(), one)):
        build([str(source)], root, HashEncoder(), selection=first, overwrite=True)
        before = held(root)
        assert len(before) == 1
        build([str(source)], root, HashEncoder(), selection=first)
        with pytest.raises(
            IndexStoreError, match=f"made with .*{first.options()[-3:]}.*, this run has .*; give the same"
        ):
            build([str(source)], root, HashEncoder(), selection=second)
        assert held(root) == before
