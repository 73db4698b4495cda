"""Folders of notes that are edited, moved and added again: what an index holds afterwards, and what it encodes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from searchapp.corpus import Document, open_source
from searchapp.corpus.source import find_source
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index import VectorIndex, verify
from searchapp.index.intake.files import cutter_of
from searchapp.index.intake.names import named
from searchapp.index.storage.snapshot import Snapshot
from tests.index import handed
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, compact, delete, repair
from tests.index.power import Unsynced
from tests.index.test_build import Stop, StoppingDisk


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.index.handed.make_disk", Unsynced)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "many.md").write_text("".join(f"# Part {n}\nWhat part {n} says.\n" for n in range(20)))
    (folder / "one.txt").write_text("One note.\n")
    return folder


def held(root: Path) -> dict[str, Document]:
    """What an index holds, by id; an id that stands twice fails."""
    snapshot = Snapshot.open(root)
    rows = [row for row in range(snapshot.manifest.rows) if not snapshot.deleted[row]]
    found = {document.id: document for document in map(snapshot.documents.read, rows)}
    assert len(found) == len(rows)
    return found


def expected(folder: Path) -> dict[str, Document]:
    """What a folder holds now, cut by the rule of the tests' encoder."""
    records = open_source(str(folder)).records(cutter_of(HashEncoder()))
    return {record.item.id: record.item for record in records if isinstance(record.item, Document)}


def accounted(done) -> bool:
    files = done.files
    return files.read + files.refused + files.skipped == files.walked


def test_a_line_on_top_encodes_one_passage_and_leaves_none_behind(notes: Path, tmp_path: Path) -> None:
    encoder = HashEncoder()
    build([str(notes)], tmp_path / "ix", encoder)
    (notes / "many.md").write_text("New on top.\n" + (notes / "many.md").read_text())
    done = add([str(notes)], tmp_path / "ix", encoder)
    assert (done.added, done.changed, done.encoded, done.removed) == (1, 20, 1, 0)
    assert held(tmp_path / "ix") == expected(notes)
    assert (done.files.read, done.files.unopened, accounted(done)) == (2, 1, True)


def test_a_changed_file_leaves_nothing_of_its_former_text(notes: Path, tmp_path: Path) -> None:
    encoder = HashEncoder()
    build([str(notes)], tmp_path / "ix", encoder)
    (notes / "one.txt").write_text("Another note.\n")
    (notes / "many.md").write_text("# Part 3\nWhat part 3 says.\n")
    done = add([str(notes)], tmp_path / "ix", encoder)
    assert (done.added, done.encoded, done.removed) == (1, 1, 20)
    assert held(tmp_path / "ix") == expected(notes) and len(expected(notes)) == 2
    (notes / "many.md").write_text("\n")  # nothing is left of it
    done = add([str(notes)], tmp_path / "ix", encoder)
    assert (done.removed, done.files.refused, dict(done.files.reasons["refused"])) == (1, 1, {"empty text": 1})
    assert held(tmp_path / "ix") == expected(notes)
    assert not verify(tmp_path / "ix")


def test_a_renamed_and_a_copied_file_copy_their_vectors(notes: Path, tmp_path: Path) -> None:
    encoder = HashEncoder()
    build([str(notes)], tmp_path / "ix", encoder)
    before = expected(notes)
    (notes / "many.md").rename(notes / "moved.md")
    shutil.copy(notes / "one.txt", notes / "two.txt")
    done = add([str(notes)], tmp_path / "ix", encoder)
    assert (done.added, done.encoded, done.removed, done.missing) == (21, 0, 0, ("notes/many.md",))
    assert held(tmp_path / "ix") == before | expected(notes), "what is gone stays"
    done = add([str(notes)], tmp_path / "ix", encoder, sync=True)
    assert (done.added, done.encoded, done.removed, done.missing) == (0, 0, 20, ())
    assert held(tmp_path / "ix") == expected(notes)
    index = VectorIndex.open(tmp_path / "ix")
    for row in range(index.manifest.rows):
        document = index.rows.read(row)
        text = f"{document.title} {document.text}" if document.title else document.text
        assert abs(float(index.vectors.gather(np.array([row]))[0] @ encoder.vector(text)[0]) - 1) < 1e-3, (
            "the vector of its text"
        )


def test_two_folders_with_files_of_one_name_live_side_by_side(tmp_path: Path) -> None:
    for name in ("apples", "pears", "old/apples"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "README.md").write_text(f"The project of {name}.")
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(tmp_path / "apples"), str(tmp_path / "pears")], root, encoder)
    both = expected(tmp_path / "apples") | expected(tmp_path / "pears")
    assert held(root) == both and len(both) == 2
    with pytest.raises(CorpusError, match="are both named 'apples', which their ids begin with; give one of them"):
        add([str(tmp_path / "old" / "apples")], root, encoder)
    assert held(root) == both
    done = add([str(tmp_path / "old" / "apples")], root, encoder, names=("old-apples",))
    assert done.added == 1 and len(held(root)) == 3
    with pytest.raises(CorpusError, match="are both named 'apples'"):
        build([str(tmp_path / "apples"), str(tmp_path / "old" / "apples")], tmp_path / "other", encoder)
    with pytest.raises(CorpusError, match="2 names are given for 1 sources"):
        add([str(tmp_path / "pears")], root, encoder, names=("a", "b"))
    with pytest.raises(CorpusError, match="is the source 'pears' of this index, not 'plums'"):
        add([str(tmp_path / "pears")], root, encoder, names=("plums",))


def test_a_source_that_was_moved_goes_on_under_its_name(notes: Path, tmp_path: Path) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(notes)], root, encoder)
    before = held(root)
    (tmp_path / "new").mkdir()
    moved = notes.rename(tmp_path / "new" / "notes")
    with pytest.raises(CorpusError, match="--name notes$"):
        add([str(moved)], root, encoder)
    done = add([str(moved)], root, encoder, names=("notes",))
    assert (done.unchanged, done.files.unopened) == (21, 2) and held(root) == before
    assert [source.path for source in done.manifest.sources] == [str(moved)]


def test_tables_of_one_name_need_no_other_name(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    for folder, ids in (("a", ["1", "2"]), ("b", ["3"])):
        (tmp_path / folder).mkdir()
        rows = [json.dumps({"id": name, "text": f"text {name}"}) for name in ids]
        (tmp_path / folder / "docs.jsonl").write_text("\n".join(rows))
    build([str(tmp_path / "a" / "docs.jsonl"), str(tmp_path / "b" / "docs.jsonl")], tmp_path / "ix", hash_encoder)
    assert sorted(held(tmp_path / "ix")) == ["1", "2", "3"]


def test_what_a_table_does_not_have_any_more_stays_until_it_is_synced(tmp_path: Path) -> None:
    encoder, root, path = HashEncoder(), tmp_path / "ix", tmp_path / "docs.jsonl"

    def put(*ids: str) -> None:
        path.write_text("".join(json.dumps({"id": name, "text": f"text {name}"}) + "\n" for name in ids))

    put("a", "b", "c")
    build([str(path)], root, encoder)
    put("b", "c", "d")
    assert add([str(path)], root, encoder).removed == 0 and sorted(held(root)) == ["a", "b", "c", "d"]
    done = add([str(path)], root, encoder, sync=True)
    assert (done.removed, done.unchanged, done.files.unopened) == (1, 3, 1) and sorted(held(root)) == ["b", "c", "d"]
    put("b", "c")
    add([str(path)], root, encoder)
    put("b", "c", "e")
    assert add([str(path)], root, encoder, sync=True).removed == 1 and sorted(held(root)) == ["b", "c", "e"]
    put("b", "e")
    add([str(path)], root, encoder)
    put("b", "c", "e")
    assert add([str(path)], root, encoder, sync=True).removed == 0 and sorted(held(root)) == ["b", "c", "e"]


def test_sync_refuses_to_empty_an_index(notes: Path, tmp_path: Path) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(notes)], root, encoder)
    before = held(root)
    (notes / "many.md").unlink()
    with pytest.raises(IndexStoreError, match="20 of 21 passages that .* has of notes would go, more than half"):
        add([str(notes)], root, encoder, sync=True)
    assert held(root) == before
    done = add([str(notes)], root, encoder, sync=True, prune=True, dry_run=True)
    assert done.removed == 20 and held(root) == before
    gone = notes.rename(tmp_path / "unmounted")
    with pytest.raises(CorpusError, match="no such file or folder"):
        add([str(notes)], root, encoder)
    with pytest.raises(IndexStoreError, match="Nothing was removed from .*; is a disk not mounted"):
        add([str(notes)], root, encoder, sync=True)
    notes.mkdir()  # an empty mount point
    with pytest.raises((CorpusError, IndexStoreError), match="no text file|more than half"):
        add([str(notes)], root, encoder, sync=True)
    assert held(root) == before
    notes.rmdir()
    gone.rename(notes)
    assert add([str(notes)], root, encoder, sync=True, prune=True).removed == 20
    shutil.rmtree(notes)
    assert add([str(notes)], root, encoder, sync=True, prune=True).removed == 1 and held(root) == {}


def test_a_sync_takes_an_edited_text_as_it_is(tmp_path: Path) -> None:
    """Passages that were written anew are not gone, however many."""
    notes, encoder, root = tmp_path / "notes", HashEncoder(), tmp_path / "ix"
    notes.mkdir()
    (notes / "a.md").write_text("# One\nFirst.\n# Two\nSecond.\n")
    build([str(notes)], root, encoder)
    (notes / "a.md").write_text("# Three\nAll is new.\n")
    done = add([str(notes)], root, encoder, sync=True)
    assert (done.added, done.removed) == (1, 2) and held(root) == expected(notes)


def test_front_matter_keeps_its_own_source(tmp_path: Path) -> None:
    notes, encoder, root = tmp_path / "notes", HashEncoder(), tmp_path / "ix"
    notes.mkdir()
    (notes / "a.md").write_text("---\nsource: https://example.org\ntags: [bees]\n---\n# One\nFirst.\n")
    build([str(notes)], root, encoder)
    [document] = held(root).values()
    assert (document.metadata["source"], document.metadata["tags"]) == ("https://example.org", ["bees"])
    [name] = Snapshot.open(root).manifest.ledger
    (root / "data" / name).write_bytes(b"damaged")
    repair(root, lambda _: encoder)
    assert [entry.key for entry in Snapshot.open(root).ledger()] == [("notes", "a.md")]


def test_a_dry_run_says_what_an_add_then_does_and_writes_nothing(notes: Path, tmp_path: Path) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(notes)], root, encoder)
    (notes / "many.md").write_text((notes / "many.md").read_text().replace("part 3", "the third part"))
    (notes / "new.txt").write_text("New.")
    files = sorted((path.name, path.stat().st_mtime_ns) for path in root.rglob("*") if path.name != "LOCK")
    encoder.encoded.clear()
    dry = add([str(notes)], root, encoder, sync=True, dry_run=True)
    assert files == sorted((path.name, path.stat().st_mtime_ns) for path in root.rglob("*") if path.name != "LOCK")
    assert not encoder.encoded
    done = add([str(notes)], root, encoder, sync=True)
    for name in ("added", "changed", "unchanged", "removed", "encoded", "rejected"):
        assert getattr(dry, name) == getattr(done, name), name


def test_an_unchanged_tree_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes"
    for number in range(300):
        path = notes / f"d{number % 7}" / f"{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Note {number}\nWhat it says.\n")
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(notes)], root, encoder)
    real = Path.open

    def guarded(self: Path, *arguments, **options):
        assert notes not in self.parents, f"{self} was opened"
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    done = add([str(notes)], root, encoder, sync=True)
    assert (done.unchanged, done.encoded, done.files.unopened) == (300, 0, 300)
    number = Snapshot.open(root).manifest.number
    assert add([str(notes)], root, encoder).manifest.number == number, "nothing is new, nothing is written"


def test_another_time_of_change_alone_changes_nothing(notes: Path, tmp_path: Path) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(notes)], root, encoder)
    os.utime(notes / "many.md", ns=(1, 1))
    done = add([str(notes)], root, encoder)
    assert (done.unchanged, done.changed, done.files.unopened) == (21, 0, 2)
    assert [entry.mtime_ns for entry in Snapshot.open(root).ledger() if entry.path == "many.md"] == [1]


def test_every_file_is_accounted_for(notes: Path, tmp_path: Path) -> None:
    (notes / "a.png").write_bytes(b"%PDF")
    (notes / "b.iso").write_bytes(b"PK")
    (notes / "bad.txt").write_bytes(b"\x81\xff not text")
    (notes / "empty.md").write_text("")
    encoder, root = HashEncoder(), tmp_path / "ix"
    done = build([str(notes)], root, encoder)
    files = done.files
    assert (files.walked, files.read, files.refused, files.skipped) == (6, 2, 2, 2)
    assert dict(files.reasons["skipped"]) == {"no reader for .png": 1, "no reader for .iso": 1}
    rejected = [json.loads(line) for line in (root / "rejected.jsonl").read_text().splitlines()]
    assert sorted(Path(line["file"]).name for line in rejected) == ["bad.txt", "empty.md"]
    again = add([str(notes)], root, encoder)
    assert (again.files.walked, again.files.read, again.files.refused, again.files.skipped) == (6, 2, 2, 2)
    assert again.files.reasons == files.reasons
    assert [json.loads(line) for line in (root / "rejected.jsonl").read_text().splitlines()] == rejected
    (notes / "one.txt").write_bytes(b"\x81\xff now damaged")
    done = add([str(notes)], root, encoder, sync=True)
    assert (done.removed, done.files.refused) == (0, 3), "what cannot be read is not gone"
    assert len(held(root)) == 21


@pytest.mark.parametrize("stop_at", [*range(1, 40, 2)])
def test_a_build_that_stops_within_a_file_goes_on(notes: Path, tmp_path: Path, stop_at: int) -> None:
    root, whole = tmp_path / "ix", tmp_path / "whole"
    build([str(notes)], whole, HashEncoder(), segment_size=3)
    handed.make_disk = lambda: StoppingDisk(stop_at)
    try:
        build([str(notes)], root, HashEncoder(), segment_size=3)
    except Stop:
        pass
    handed.make_disk = Unsynced
    done = build([str(notes)], root, HashEncoder(), segment_size=3)
    assert held(root) == held(whole) == expected(notes)
    assert (done.files.walked, done.files.read) == (2, 2)
    entries = [(entry.key, entry.sha256, entry.ids.tolist()) for entry in Snapshot.open(root).ledger()]
    assert entries == [(entry.key, entry.sha256, entry.ids.tolist()) for entry in Snapshot.open(whole).ledger()]
    assert add([str(notes)], root, HashEncoder()).unchanged == 21


def test_documents_that_were_deleted_come_back_with_their_source(notes: Path, tmp_path: Path) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(notes)], root, encoder)
    delete(root, [next(iter(expected(notes)))])
    assert add([str(notes)], root, encoder).added == 1 and held(root) == expected(notes)
    compact(root)
    assert add([str(notes)], root, encoder).unchanged == 21


def as_first_scheme(folder: Path, root: Path, encoder: HashEncoder) -> None:
    """An index over a folder as versions before ids by content left it."""
    rows = []
    for record in open_source(str(folder)).records():
        item = record.item
        rows.append(json.dumps({"id": item.id, "title": item.title, "text": item.text, **item.metadata}))
    source = folder.parent / "old.jsonl"
    source.write_text("\n".join(rows))
    build([str(source)], root, encoder)
    for path in root.glob("manifest-*"):
        content = json.loads(path.read_bytes().partition(b"\n")[2])
        for name in ("scheme", "cut", "sources"):
            content.pop(name)
        for name in content.pop("ledger"):
            content["files"].pop(name)
        for name in ("partial", "reach"):
            content["build"].pop(name)
        content["build"]["sources"] = [{"name": str(folder), "kind": "folder", "identity": "0"}]
        content["format"] = 2
        body = json.dumps(content).encode()
        path.write_bytes(hashlib.blake2b(body, digest_size=16).hexdigest().encode() + b"\n" + body)


def test_an_index_of_the_first_scheme_goes_on_with_it_until_it_is_renewed(notes: Path, tmp_path: Path) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    as_first_scheme(notes, root, encoder)
    assert "many.md#L3" in held(root) and "one.txt" in held(root)
    done = add([str(notes)], root, encoder)
    assert (done.unchanged, done.encoded, done.manifest.scheme) == (21, 0, 1)
    (notes / "new.txt").write_text("New.")
    assert add([str(notes)], root, encoder).added == 1 and "new.txt" in held(root)
    other = tmp_path / "other.txt"
    other.write_text("Other.")
    with pytest.raises(IndexStoreError, match=f"needs all of its sources for that: add {notes}"):
        add([str(other)], root, encoder, sync=True)
    done = add([str(notes)], root, encoder, sync=True)
    assert done.manifest.scheme == 2 and held(root) == expected(notes)
    assert done.encoded <= 2, "the passages under headings keep their vectors"
    assert add([str(notes)], root, encoder).unchanged == 22
    assert not verify(root)


def test_a_lost_ledger_is_made_again_from_the_documents(notes: Path, tmp_path: Path) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(notes)], root, encoder)
    [name] = Snapshot.open(root).manifest.ledger
    (root / "data" / name).write_bytes(b"damaged")
    assert verify(root)
    repair(root, lambda _: encoder)
    assert not verify(root)
    (notes / "one.txt").write_text("Another note.\n")
    done = add([str(notes)], root, encoder)
    assert (done.encoded, done.removed) == (1, 1) and held(root) == expected(notes)


WORDS = [f"word{number}" for number in range(40)]


class Tree:
    """A folder of notes under random edits, and what an index of it has to hold: what each file said when last added."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.indexed: dict[str, dict[str, Document]] = {}
        folder.mkdir()
        self.create()

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def place(self) -> Path:
        name = (
            f"{self.random.choice(['', 'a/', 'a/b/'])}n{self.random.randrange(8)}{self.random.choice(['.md', '.txt'])}"
        )
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self) -> str:
        return " ".join(self.random.choices(WORDS, k=self.random.randrange(1, 12))) + "."

    def create(self) -> None:
        sections = [f"# {self.random.choice(WORDS)}\n{self.text()}\n\n{self.text()}\n" for _ in range(4)]
        self.place().write_text("".join(sections))

    def edit(self) -> None:
        path = self.random.choice(self.files)
        lines = path.read_text().splitlines(keepends=True)
        place = self.random.randrange(len(lines) + 1)
        if self.random.random() < 0.5:
            lines[place:place] = [f"{self.text()}\n"]
        else:
            del lines[place : place + 2]
        path.write_text("".join(lines))

    def rename(self) -> None:
        path = self.random.choice(self.files)
        path.rename(self.place())

    def copy(self) -> None:
        source, target = self.random.choice(self.files), self.place()
        if source != target:
            shutil.copy(source, target)

    def remove(self) -> None:
        if len(self.files) > 1:
            self.random.choice(self.files).unlink()

    def added(self, *, sync: bool) -> None:
        """Note that the folder was added."""
        now: dict[str, dict[str, Document]] = {path.relative_to(self.folder).as_posix(): {} for path in self.files}
        for identifier, document in expected(self.folder).items():
            now[document.metadata["file"]][identifier] = document
        self.indexed = now if sync else self.indexed | now

    @property
    def documents(self) -> dict[str, Document]:
        return {name: document for found in self.indexed.values() for name, document in found.items()}


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(1, 40), (2, 40), *(pytest.param(seed, 200, marks=pytest.mark.slow) for seed in range(3, 13))],
)
def test_random_histories_leave_what_a_model_says(tmp_path: Path, seed: int, steps: int) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    tree = Tree(tmp_path / "notes", seed)
    build([str(tree.folder)], root, encoder, segment_size=4)
    tree.added(sync=True)
    for step in range(steps):
        what = tree.random.choice(
            ["edit"] * 3 + ["create", "rename", "copy", "remove"] + ["add"] * 3 + ["sync", "stop", "compact"]
        )
        if what in ("add", "sync", "stop"):
            if not expected(tree.folder):
                tree.create()
            sync = what == "sync" or (what == "stop" and tree.random.random() < 0.5)
            if what == "stop":
                stop_at = tree.random.randrange(1, 20)
                handed.make_disk = lambda stop_at=stop_at: StoppingDisk(stop_at)
                try:
                    add([str(tree.folder)], root, encoder, sync=sync, prune=sync, segment_size=4)
                except Stop:
                    pass
                handed.make_disk = Unsynced
            done = add([str(tree.folder)], root, encoder, sync=sync, prune=sync, segment_size=4)
            tree.added(sync=sync)
            assert accounted(done)
            assert done.files.walked == len(tree.files)
        elif what == "compact":
            compact(root)
        else:
            getattr(tree, what)()
        assert held(root) == tree.documents, f"step {step}: {what}"
        assert {name: dict(item.metadata) for name, item in held(root).items()} == {
            name: dict(item.metadata) for name, item in tree.documents.items()
        }
    assert not verify(root)


def test_tables_of_one_name_in_a_folder_whose_name_is_not_utf_8(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    folder = tmp_path / os.fsdecode(b"od\xffd")
    folder.mkdir()
    for place, name in ((tmp_path, "a"), (folder, "b")):
        (place / "docs.jsonl").write_text(json.dumps({"id": name, "text": f"text {name}"}))
    build([str(tmp_path / "docs.jsonl")], tmp_path / "ix", hash_encoder)
    for _ in range(2):
        done = add([str(folder / "docs.jsonl")], tmp_path / "ix", hash_encoder)
    assert (done.unchanged, done.files.unopened, sorted(held(tmp_path / "ix"))) == (1, 1, ["a", "b"])
    assert {entry.source for entry in Snapshot.open(tmp_path / "ix").ledger()} == {
        "docs.jsonl", str(tmp_path / "od\\xffd" / "docs.jsonl").replace("\\xff", "\\udcff"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "urls",
    [
        ("https://alice:pw1@host/x", "https://bob:pw2@host/x"),
        ("sftp://me:pw1@host/x", "sftp://me:pw2@host/x"),
    ],
)
def test_sources_that_differ_by_secrets_alone_are_refused(tmp_path: Path, urls: tuple[str, str]) -> None:
    """Else the second was left out without a word."""
    (tmp_path / "d.jsonl").write_text('{"_id": "a", "text": "b"}\n')
    source = find_source(str(tmp_path / "d.jsonl"))
    one, other = (replace(source, name=url) for url in urls)
    with pytest.raises(CorpusError, match="two sources are .* but for what is secret") as error:
        named([one, other], [])
    assert "pw" not in str(error.value)
    assert len(named([one, one, replace(one, name=f"{one.name}/") if urls[0][0] == "s" else one], [])) == 1
    repositories = [replace(source, name=f"github://org:{name}@main/docs") for name in "ab"]
    assert len(named([replace(one, label=str(n)) for n, one in enumerate(repositories)], [])) == 2
