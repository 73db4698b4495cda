"""Sources as users name them by mistake, files as they should not be, and what an index of them must not lose."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from searchapp.cli.describe import describe_cut, describe_files
from searchapp.corpus.file_state import CHANGED
from searchapp.corpus.isolation import Readers
from searchapp.corpus.source_file import SourceFile
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index import verify
from searchapp.index.intake.files import FileReader, kind_of_reason
from searchapp.index.storage.snapshot import Snapshot
from tests.index import handed
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, repair
from tests.index.power import Unsynced
from tests.index.test_build import Stop, StoppingDisk
from tests.index.test_sources import accounted, as_first_scheme, expected, held


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.index.handed.make_disk", Unsynced)


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "many.md").write_text("".join(f"# Part {n}\nWhat part {n} says.\n" for n in range(20)))
    (path / "one.txt").write_text("One note.\n")
    return path


def table(path: Path, *ids: str) -> None:
    path.write_text("".join(json.dumps({"id": name, "text": f"{name} in {path.name}"}) + "\n" for name in ids))


def test_a_source_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    notes, root, encoder = folder(tmp_path / "notes"), tmp_path / "ix", HashEncoder()
    done = build([str(notes), f"{notes}/"], root, encoder)
    assert (done.files.walked, done.files.read) == (2, 2)
    (notes / "one.txt").write_text("Another note.\n")
    done = add([str(notes), str(notes / ".." / "notes")], root, encoder)
    assert (done.files.walked, done.removed, accounted(done)) == (2, 1, True) and held(root) == expected(notes)
    with pytest.raises(CorpusError, match="is the source 'a' of this index, not 'b'"):
        build([str(notes), str(notes)], tmp_path / "other", encoder, names=("a", "b"))


@pytest.mark.parametrize("name", ["a/b", "/", "a#b", " a", "", "a\nb"])
def test_a_name_that_could_be_a_place_in_another_source_is_refused(tmp_path: Path, name: str) -> None:
    notes = folder(tmp_path / "notes")
    with pytest.raises(CorpusError, match="cannot be named"):
        build([str(notes)], tmp_path / "ix", HashEncoder(), names=(name,))


def test_the_way_out_of_two_equal_names_works_as_it_is_said(tmp_path: Path) -> None:
    first, second, third = (folder(tmp_path / name / "my notes") for name in "abc")
    encoder, root = HashEncoder(), tmp_path / "ix"
    with pytest.raises(CorpusError, match="--name 'my notes' --name 'my notes-2';"):
        build([str(first), str(second)], root, encoder)
    build([str(first), str(second)], root, encoder, names=("my notes", "my notes-2"))
    with pytest.raises(CorpusError, match="--name 'my notes-3';"):
        add([str(third)], root, encoder)
    for sources in ([second, third], [third, second], [third, tmp_path / "a" / "my notes"]):
        with pytest.raises(CorpusError, match=r"both named|is the source"):
            add([str(source) for source in sources], root, encoder, names=("my notes", "my notes"))
    assert len(held(root)) == 42


def test_a_folder_of_a_blank_name_has_a_name_in_ids(tmp_path: Path) -> None:
    build([str(folder(tmp_path / " "))], tmp_path / "ix", HashEncoder())
    assert all(name.startswith("source/") for name in held(tmp_path / "ix"))


def test_a_folder_that_was_emptied_is_emptied_in_the_index_by_prune_alone(tmp_path: Path) -> None:
    notes, root, encoder = folder(tmp_path / "notes"), tmp_path / "ix", HashEncoder()
    build([str(notes)], root, encoder)
    for path in notes.iterdir():
        path.unlink()
    (notes / "a.png").write_text("no text")
    with pytest.raises(CorpusError, match="no text file"):
        add([str(notes)], root, encoder)
    with pytest.raises(IndexStoreError, match="Nothing was removed .* give --sync --prune"):
        add([str(notes)], root, encoder, sync=True)
    assert len(held(root)) == 21
    done = add([str(notes)], root, encoder, sync=True, prune=True)
    assert (done.removed, done.files.skipped, accounted(done)) == (21, 1, True) and held(root) == {}


def test_names_go_to_the_sources_that_are_there(tmp_path: Path) -> None:
    gone, new, root, encoder = (
        folder(tmp_path / "notes"),
        folder(tmp_path / "x" / "notes"),
        tmp_path / "ix",
        HashEncoder(),
    )
    build([str(gone)], root, encoder)
    shutil.rmtree(gone)
    done = add([str(gone), str(new)], root, encoder, sync=True, prune=True, names=("notes", "new"))
    assert (done.removed, done.added) == (21, 21) and all(name.startswith("new/") for name in held(root))


def test_front_matter_that_is_no_unicode_refuses_its_file_alone(tmp_path: Path) -> None:
    notes, root, encoder = folder(tmp_path / "notes"), tmp_path / "ix", HashEncoder()
    for name, line in (("title", 'title: "\\uD800"'), ("other", 'other: "\\uD800"')):
        (notes / f"{name}.md").write_text(f"---\n{line}\n---\n# One\nBody.\n# Two\nBody.\n")
    done = build([str(notes)], root, encoder)
    assert (done.files.read, done.files.refused, done.manifest.build.rejected) == (2, 2, 2)
    assert all("a lone surrogate" in reason for reason in done.files.reasons["refused"])
    assert add([str(notes)], root, encoder).files.unopened == 2


@pytest.mark.parametrize("stop_at", [*range(1, 40, 2)])
def test_a_table_that_was_read_in_two_runs_keeps_its_rejections(tmp_path: Path, stop_at: int) -> None:
    path, root, whole, encoder = tmp_path / "d.jsonl", tmp_path / "ix", tmp_path / "whole", HashEncoder()
    table(path, *map(str, range(12)))
    path.write_text("{broken\n" + path.read_text())
    build([str(path)], whole, encoder, segment_size=3)
    handed.make_disk = lambda: StoppingDisk(stop_at)
    try:
        build([str(path)], root, encoder, segment_size=3)
    except Stop:
        pass
    handed.make_disk = Unsynced
    build([str(path)], root, encoder, segment_size=3)
    [resumed], [once] = Snapshot.open(root).ledger(), Snapshot.open(whole).ledger()
    assert resumed.equals(once)
    listed = (whole / "rejected.jsonl").read_text()
    done = add([str(path)], root, encoder)
    assert done.rejected == 1 and (root / "rejected.jsonl").read_text() == listed


def test_a_document_that_two_tables_have_goes_with_the_last_of_them(tmp_path: Path) -> None:
    first, second, root, encoder = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "ix", HashEncoder()
    table(first, "1", "2", "3", "4", "5")
    table(second, "5", "6", "7")
    build([str(first)], root, encoder)
    add([str(second)], root, encoder)
    table(first, "1", "2", "3", "4")
    assert add([str(first)], root, encoder, sync=True).removed == 0
    assert held(root)["5"].text == "5 in b.jsonl"
    assert add([str(second)], root, encoder).files.unopened == 1
    table(second, "6", "7")
    assert add([str(second)], root, encoder, sync=True).removed == 1
    assert sorted(held(root)) == ["1", "2", "3", "4", "6", "7"]


def test_a_ledger_with_one_wrong_byte_is_not_believed(tmp_path: Path) -> None:
    notes, root, encoder = folder(tmp_path / "notes"), tmp_path / "ix", HashEncoder()
    build([str(notes)], root, encoder)
    [name] = Snapshot.open(root).manifest.ledger
    path, sound = root / "data" / name, (root / "data" / name).read_bytes()
    for place in range(0, len(sound), 211):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(IndexStoreError, match="verify .* --repair"):
            add([str(notes)], root, encoder, sync=True)
    repair(root, lambda _: encoder)
    assert not verify(root) and add([str(notes)], root, encoder, sync=True).unchanged == 21


def test_an_index_of_the_first_scheme_is_not_renewed_from_a_part_of_its_text(tmp_path: Path) -> None:
    notes, root, encoder = folder(tmp_path / "notes"), tmp_path / "ix", HashEncoder()
    as_first_scheme(notes, root, encoder)
    before = held(root)
    (notes / "many.md").rename(tmp_path / "many.md")
    with pytest.raises(IndexStoreError, match="more than half would go; none was removed: give --prune"):
        add([str(notes)], root, encoder, sync=True)
    other = tmp_path / "other.txt"
    other.write_text("Other.\n")
    with pytest.raises(IndexStoreError, match="needs all of its sources .* gone for good, --prune"):
        add([str(other)], root, encoder, sync=True)
    assert held(root) == before
    done = add([str(other)], root, encoder, sync=True, prune=True)
    assert (done.manifest.scheme, done.removed, list(held(root))) == (2, 21, [next(iter(held(root)))])
    assert add([str(other)], root, encoder).files.unopened == 1


def test_a_sync_says_how_much_goes_before_it_goes(tmp_path: Path) -> None:
    notes, root, encoder = folder(tmp_path / "notes"), tmp_path / "ix", HashEncoder()
    build([str(notes)], root, encoder)
    (notes / "one.txt").unlink()

    class Said:
        stages: list[tuple[str, int]] = []  # noqa: RUF012 - with what the index holds at that time

        def stage(self, name: str, *_, **__) -> None:
            self.stages.append((name, len(held(root))))

        def advance(self, *_, **__) -> None: ...

        def expect(self, *_, **__) -> None: ...

    assert add([str(notes)], root, encoder, sync=True, progress=Said()).removed == 1
    assert ("removing 1 document that the sources do not have any more", 21) in Said.stages


def test_a_reason_keeps_the_ending_and_a_list_of_many_ends(tmp_path: Path) -> None:
    assert [kind_of_reason(f"no reader for .{ending}") for ending in ("7z", "mp3", "001", "002")] == [
        f"no reader for .{ending}" for ending in ("7z", "mp3", "N", "N")
    ]
    notes = folder(tmp_path / "notes")
    for number in range(100):
        (notes / f"file.q{chr(97 + number % 26)}{chr(97 + number // 26)}").touch()
    shown = describe_files(build([str(notes)], tmp_path / "ix", HashEncoder()).files)
    assert "100 skipped (" in shown and "92 others)" in shown and len(shown) < 200


def test_a_table_that_was_emptied_is_emptied_in_the_index_by_sync_alone(tmp_path: Path) -> None:
    notes, path, root, encoder = folder(tmp_path / "notes"), tmp_path / "a.jsonl", tmp_path / "ix", HashEncoder()
    table(path, "1", "2")
    build([str(notes), str(path)], root, encoder)
    path.write_text("damaged\n")
    assert add([str(notes), str(path)], root, encoder, sync=True).removed == 0, "what cannot be read is not gone"
    path.write_text("")
    assert add([str(path)], root, encoder).removed == 0 and len(held(root)) == 23
    with pytest.raises(IndexStoreError, match="2 of 2 passages .* would go"):
        add([str(path)], root, encoder, sync=True)
    assert add([str(notes), str(path)], root, encoder, sync=True).removed == 2 and held(root) == expected(notes)
    table(path, "1")
    assert add([str(path)], root, encoder, sync=True).added == 1


def test_a_text_that_became_a_link_to_a_folder_is_gone(tmp_path: Path) -> None:
    notes, root, encoder = folder(tmp_path / "notes"), tmp_path / "ix", HashEncoder()
    build([str(notes)], root, encoder)
    (notes / "one.txt").unlink()
    (notes / "one.txt").symlink_to(tmp_path)
    for _ in range(2):
        done = add([str(notes)], root, encoder)
        assert (done.removed, done.missing, accounted(done)) == (0, ("notes/one.txt",), True)
    assert add([str(notes)], root, encoder, sync=True).removed == 1 and held(root) == expected(notes)
    assert add([str(notes)], root, encoder, sync=True).missing == ()


def test_what_a_table_had_once_goes_with_the_table(tmp_path: Path) -> None:
    notes, path, root, encoder = folder(tmp_path / "notes"), tmp_path / "a.jsonl", tmp_path / "ix", HashEncoder()
    table(path, "1", "2", "3", "4", "5")
    build([str(notes), str(path)], root, encoder)
    table(path, "1", "2")
    add([str(path)], root, encoder)
    with pytest.raises(IndexStoreError, match="3 of 5 passages .* would go"):
        add([str(path)], root, encoder, sync=True)
    path.unlink()
    assert add([str(path)], root, encoder, sync=True, prune=True).removed == 5 and held(root) == expected(notes)


@pytest.mark.parametrize(("reach", "whole"), [(8, False), (15, False), (16, True), (400, True)])
def test_an_encoder_that_reads_less_than_a_passage_is_not_said_to_read_all(
    tmp_path: Path, reach: int, whole: bool
) -> None:
    notes, encoder = tmp_path / "notes", HashEncoder()
    notes.mkdir()
    (notes / "a.md").write_text("# A\n" + "many words stand in here " * 20)
    encoder.document_reach, encoder.settings = reach, replace(encoder.settings, max_length=reach)
    manifest = build([str(notes)], tmp_path / "ix", encoder).manifest
    said = " ".join(describe_cut(manifest))
    assert ("0 tokens beyond" in said) == whole and (f"reads {reach} of them" in said) != whole
    assert (manifest.build.reach.beyond > 0) != whole


def test_a_ledger_that_is_made_again_has_no_files_of_what_a_table_says(tmp_path: Path) -> None:
    notes, path, root, encoder = folder(tmp_path / "notes"), tmp_path / "a.jsonl", tmp_path / "ix", HashEncoder()
    row = {"id": "x#1", "text": "Of a table.", "source": "notes", "file": "gone.md"}
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "id": "x#2", "source": "other"}) + "\n")
    build([str(notes), str(path), str(notes / "one.txt")], root, encoder)
    files = {entry.key for entry in Snapshot.open(root).ledger() if entry.source != "a.jsonl"}
    [name] = Snapshot.open(root).manifest.ledger
    (root / "data" / name).write_bytes(b"damaged")
    repair(root, lambda _: encoder)
    assert {entry.key for entry in Snapshot.open(root).ledger()} == files
    assert add([str(notes)], root, encoder, sync=True).removed == 0 and len(held(root)) == 24


@pytest.mark.parametrize("name", ["notes.txt", "notes.jsonl"])
def test_a_file_that_changes_while_it_is_read_is_said_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path, root, encoder = tmp_path / name, tmp_path / "ix", HashEncoder()
    table(path, "a", "b")
    before = path.read_bytes()
    items = SourceFile.items

    def growing(self: SourceFile) -> Iterator[object]:
        yield from items(self)
        path.write_bytes(before + path.read_bytes().splitlines(keepends=True)[0].replace(b"a", b"c"))

    with monkeypatch.context() as patch:
        patch.setattr(SourceFile, "items", growing)
        done = build([str(path)], root, encoder)
    is_text = name.endswith(".txt")
    assert done.manifest.build.reasons == ({CHANGED: 1} if is_text else {})
    assert done.files.notes == ({} if is_text else {"files changed while they were read": (1, 1)})
    add([str(path)], root, encoder)
    assert held(root).keys() >= ({"c"} if not is_text else set()) and len(held(root)) == (1 if is_text else 3)
    done = add([str(path)], root, encoder)
    assert (done.rejected, done.files.unopened) == (0, 1)


def page(path: Path, text: str) -> None:
    path.write_text(f"<p>{text}</p>")


def texts(root: Path) -> list[str]:
    return sorted(document.text.strip() for document in held(root).values())


@pytest.mark.parametrize("verb", [build, add])
def test_a_document_that_changes_after_it_was_read_ahead_is_read_by_the_next_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[..., object]
) -> None:
    docs, root, encoder = tmp_path / "docs", tmp_path / "ix", HashEncoder()
    docs.mkdir()
    page(docs / "a.html", "first")
    if verb is add:
        build([str(docs)], root, encoder)
        page(docs / "a.html", "first again")
    page(docs / "b.html", "old")
    read_ahead, read, items = threading.Event(), Readers._read_at_rest, SourceFile.items

    def watched(self: Readers, job: Any, request: Any) -> None:
        read(self, job, request)
        if request.path.name == "b.html":
            read_ahead.set()

    def overtaken(self: SourceFile) -> Iterator[object]:
        if self.path == "a.html":
            assert read_ahead.wait(20)
            page(docs / "b.html", "new")
        yield from items(self)

    with monkeypatch.context() as patch:
        patch.setattr(Readers, "_read_at_rest", watched)
        patch.setattr(SourceFile, "items", overtaken)
        verb([str(docs)], root, encoder)
    done = add([str(docs)], root, encoder)
    assert texts(root) == ["first again" if verb is add else "first", "new"]
    assert (done.removed, done.files.unopened) == (1, 1)
    assert add([str(docs)], root, encoder).files.unopened == 2


@pytest.mark.parametrize("name", ["a.md", "a.html", "a.jsonl"])
def test_a_file_that_is_put_back_after_another_was_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path, root, encoder = tmp_path / name, tmp_path / "ix", HashEncoder()
    before, other = (
        json.dumps({"id": "1", "text": text}) if name == "a.jsonl" else f"<p>{text}</p>" for text in ("old", "new")
    )
    path.write_text(before)
    times = path.stat()
    read = FileReader.read

    def replaced(self: FileReader) -> Iterator[object]:  # between the list of files and its turn
        path.write_text(other)
        yield from read(self)

    with monkeypatch.context() as patch:
        patch.setattr(FileReader, "read", replaced)
        patch.setattr(Readers, "expect", lambda self, requests: None)
        build([str(path)], root, encoder)
    path.write_text(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "new" in texts(root)[0]
    add([str(path)], root, encoder)
    assert any("old" in text for text in texts(root))


def test_a_document_that_could_not_be_opened_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size and time of change may stay what they were, as when permission is given."""
    import searchapp
    from searchapp.corpus import isolation

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("ants dig")
    (docs / "b.html").write_text("<p>bees make honey</p>")
    with monkeypatch.context() as patch:

        def refuse(self, job, request):
            job.reason = "cannot be read: Permission denied"

        patch.setattr(isolation.Readers, "_read_at_rest", refuse)
        index = searchapp.build(str(docs), tmp_path / "ix", progress=False)
        assert [one.text for one in index] == ["ants dig"]
    index.add(str(docs), progress=False)
    assert sorted(one.text for one in searchapp.Index.open(tmp_path / "ix")) == ["ants dig", "bees make honey"]
