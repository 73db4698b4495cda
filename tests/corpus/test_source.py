from __future__ import annotations

import gzip
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from searchapp.corpus import Document, open_source
from searchapp.corpus.cut_rule import CutRule, estimate
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.selection import Selection
from searchapp.errors import CorpusError
from tests.corpus.records import read


@pytest.mark.parametrize(
    ("name", "documents", "empty"),
    [("scifact", 5183, []), ("cranfield", 1398, ["471", "995"]), ("npl", 11429, []), ("xquad-en", 240, [])],
)
def test_real_collections(shared: Path, name: str, documents: int, empty: list[str]) -> None:
    folder = shared / "data" / "retrieval" / name
    found, rejected = read(folder)
    assert open_source(str(folder)).kind == "beir"
    assert len(found) == documents
    assert [(item.id, item.reason) for item in rejected] == [(id, "empty text") for id in empty]
    assert [item.line for item in rejected] == [int(id) for id in empty]
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kept = [(row["_id"], row["title"], row["text"]) for row in rows if row["_id"] not in empty or name != "cranfield"]
    assert [(document.id, document.title, document.text) for document in found] == kept


def test_a_beir_folder_may_hold_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": ""}\n')
    (tmp_path / "readme.md").write_text("not read")
    found, rejected = read(tmp_path)
    assert (found, rejected[0].file) == ([], str(tmp_path / "corpus.jsonl"))


@pytest.mark.parametrize("name", ["no.jsonl", "no/such/folder", "", "x\0y", "z" * 5000, "python:nothing"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError) as caught:
        open_source(str(tmp_path / name) if name and ":" not in name else name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a", "a.gz", "a.jsonl.bz2"])
def test_what_is_of_no_known_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(CorpusError) as caught:
        open_source(str(tmp_path / name))
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert ".jsonl.gz" in message
    assert "python:stdlib" in message


def test_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(CorpusError, match="neither a file nor a folder"):
        open_source(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt", "a.parquet", "folder"])
def test_what_may_not_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.write_text("x")
    path.chmod(0)
    try:
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(CorpusError, match="cannot be read: Permission denied"):
            open_source(str(path))
    finally:
        path.chmod(0o700)


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    assert read(tmp_path / "a.jsonl") == ([], [])


def test_endings_are_read_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL").write_text('{"id": 1, "text": "x"}')
    assert [document.id for document in read(tmp_path / "A.JSONL")[0]] == ["1"]


def test_a_file_that_goes_away_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "x"}')
    source = open_source(str(path))
    path.unlink()
    with pytest.raises(CorpusError, match="No such file"):
        list(source.records())
    with pytest.raises(CorpusError, match="was it moved"):
        source.identity()


def test_a_source_can_be_read_twice_and_travels(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "x"}\n{"id": 2, "text": "y"}')
    source = open_source(str(path))
    twin = pickle.loads(pickle.dumps(source))
    assert list(source.records()) == list(source.records()) == list(twin.records())
    assert source.identity() == twin.identity()
    assert (source.name, source.kind) == (str(path), "jsonl")


def test_identity_changes_with_names_sizes_and_times(tmp_path: Path) -> None:
    def identity() -> str:
        return open_source(str(tmp_path)).identity()

    seen = set()
    (tmp_path / "a.md").write_text("one")
    os.utime(tmp_path / "a.md", ns=(1, 1))
    seen.add(identity())
    assert identity() in seen
    (tmp_path / "ignored.bin").write_text("x")
    assert identity() in seen
    os.utime(tmp_path / "a.md", ns=(1, 2))
    seen.add(identity())
    (tmp_path / "a.md").write_text("longer")
    os.utime(tmp_path / "a.md", ns=(1, 2))
    seen.add(identity())
    (tmp_path / "b.md").write_text("two")
    seen.add(identity())
    (tmp_path / "b.md").rename(tmp_path / "c.md")
    seen.add(identity())
    assert len(seen) == 5


def test_importing_the_room_is_cheap() -> None:
    program = "import sys, searchapp.corpus; print([m for m in ('pyarrow', 'numpy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["a.org", "a.adoc", "a.tex", "a.log", "a.out"])
def test_a_single_text_of_any_format_opens(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("some words\n")
    source = open_source(str(path), selection=Selection(include=("*.out=text",)))
    assert source.is_document  # no index of the first scheme can have it
    found = [record.item for record in source.records(Cutter(CutRule(), estimate))]
    assert [item.text.strip() for item in found if isinstance(item, Document)] == ["some words"]
