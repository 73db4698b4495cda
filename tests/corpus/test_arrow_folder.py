"""Data sets that were saved on disk, written by the library `datasets` itself and by hand, and columns by name."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from searchapp.corpus import Document, open_source
from searchapp.corpus.column_names import ColumnNames
from searchapp.corpus.cut_rule import CutRule, estimate
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.memory import FieldNames
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import Source
from searchapp.errors import CorpusError

ROWS = [
    {"question": f"what is {n}?", "context": [f"it is {n}", "a number"], "key": f"k{n}", "text": "own", "n": n}
    for n in range(5)
]


def saved(
    folder: Path, *parts: list[dict[str, object]], split: str | None = None, as_file: bool = False, **state: object
) -> Path:
    folder.mkdir(parents=True)
    names = []
    for number, rows in enumerate(parts):
        names.append(f"data-{number:05d}-of-{len(parts):05d}.arrow")
        table = pa.Table.from_pylist(rows)
        make = pa.ipc.new_file if as_file else pa.ipc.new_stream
        with make(str(folder / names[-1]), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    content = {"_data_files": [{"filename": name} for name in names], "_split": split, **state}
    (folder / "state.json").write_text(json.dumps(content))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def documents(source: Source) -> list[Document]:
    items = [record.item for file in source.listed() for record in file.records()]
    assert items == [record.item for record in source.records()]
    assert all(isinstance(item, Document) for item in items), items
    return [item for item in items if isinstance(item, Document)]


def test_what_the_library_saves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    train = datasets.Dataset.from_list(ROWS[:3])
    made = datasets.DatasetDict({"train": train, "test": datasets.Dataset.from_list(ROWS[3:])})
    made.save_to_disk(str(tmp_path / "qa"), num_shards={"train": 2, "test": 1})
    source = open_source(str(tmp_path / "qa"))
    found = documents(source)
    assert source.kind == "arrow" and source.label == "qa"
    assert [one.id for one in found] == ["train/0", "train/1", "train/2", "test/0", "test/1"]
    assert [one.metadata["split"] for one in found] == ["train"] * 3 + ["test"] * 2
    assert {one.text for one in found} == {"own"} and found[4].metadata["n"] == 4
    assert [file.path for file in source.listed()][-1] == "test/data-00000-of-00001.arrow"
    train.select([2, 0]).save_to_disk(str(tmp_path / "chosen"))
    assert [one.metadata["n"] for one in documents(open_source(str(tmp_path / "chosen")))] == [2, 0]


@pytest.mark.parametrize("as_file", [False, True])
def test_columns_are_what_a_user_says(tmp_path: Path, as_file: bool) -> None:
    folder = saved(tmp_path / "qa", ROWS[:3], ROWS[3:], split="train", as_file=as_file)
    assert [one.id for one in documents(open_source(str(folder)))] == list("01234")
    wanted = Selection(columns="id=key,title=question,text=question+context")
    found = documents(open_source(str(folder), selection=wanted))[1]
    assert (found.id, found.title, found.text) == ("k1", "what is 1?", "what is 1?\n\nit is 1\na number")
    assert dict(found.metadata) == {"n": 1, "split": "train", "source.text": "own"}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    source = open_source(str(path), selection=wanted)
    assert [one.text for one in documents(source)][1] == found.text
    assert (
        next(iter(source.listed())).reader
        != next(iter(open_source(str(path), selection=Selection(columns="id=key")).listed())).reader
    )


def test_a_column_whose_name_another_takes_is_kept() -> None:
    row = {"id": 1, "_id": 2, "title": "t", "text": "own", "q": "why?", "key": "k", "n": 3}
    found = ColumnNames.parse("id=key,text=q").fields(row)
    assert found == {
        "id": "k",
        "text": "why?",
        "title": "t",
        "source.id": 1,
        "source._id": 2,
        "source.text": "own",
        "n": 3,
    }
    assert ColumnNames.parse("title=text,text=title").fields(row).items() >= {"title": "own", "text": "t"}.items()
    assert "source.text" not in ColumnNames.parse("text=text+q").fields(row)
    assert FieldNames(id="key", text="q").apply(row) == {
        "_id": "k", "text": "why?", "title": "t", "id": 1, "source._id": 2, "source.text": "own", "n": 3,
    }  # fmt: skip


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "qa", [{"question": "x", "key": 1}])
    with pytest.raises(CorpusError, match=r"no text column: found question, key.*--columns id=key,title=name"):
        open_source(str(folder))
    with pytest.raises(CorpusError, match="no column 'answer', which --columns names; its columns are question, key"):
        open_source(str(folder), selection=Selection(columns="text=answer"))
    for given in ("text", "text=", "body=a", "id=a,id=b"):
        with pytest.raises(CorpusError, match="is not understood"):
            ColumnNames.parse(given)
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    with pytest.raises(CorpusError, match="--columns goes with Parquet files and data sets"):
        open_source(str(tmp_path / "a.csv"), selection=Selection(columns="text=text"))
    with pytest.raises(CorpusError, match="flatten_indices"):
        open_source(str(saved(tmp_path / "chosen", ROWS, _indices_data_files=[{"filename": "indices.arrow"}])))


@pytest.mark.parametrize("name", ["../data.arrow", "/etc/passwd", "..", "", None])
def test_a_data_set_leads_nowhere_else(tmp_path: Path, name: str | None) -> None:
    folder = saved(tmp_path / "qa", ROWS)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(CorpusError, match=r"state\.json does not name its files"):
        open_source(str(folder))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    with pytest.raises(CorpusError, match=r"dataset_dict\.json does not name its splits"):
        open_source(str(folder))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "qa", ROWS)
    path = folder / "data-00000-of-00001.arrow"
    for data in (b"", b"no arrow data at all", path.read_bytes()[:-200]):
        path.write_bytes(data)
        with pytest.raises(CorpusError, match="cannot be read as Arrow data"):
            list(open_source(str(folder)).records())
    (folder / "state.json").write_text("{")
    with pytest.raises(CorpusError, match=r"state\.json cannot be read"):
        open_source(str(folder))


def test_columns_go_on_in_an_update(tmp_path: Path) -> None:
    wanted = Selection(columns="text=question")
    assert Selection.from_json(wanted.to_json()) == wanted and wanted.options() == "--columns text=question"
    source = open_source(str(saved(tmp_path / "qa", ROWS)), selection=wanted)
    assert source.selection == wanted and not source.is_cut
    assert len(list(source.records(Cutter(CutRule(), estimate)))) == 5
