"""Documents in an index: what an add opens again, what goes with a text that changed, and a reader that is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from searchapp.corpus import reading_process
from searchapp.corpus.selection import Selection
from searchapp.errors import IndexStoreError
from searchapp.index import VectorIndex, build_run
from searchapp.index.storage.snapshot import Snapshot
from tests.corpus.pdfs import write_pages, write_scan
from tests.index import handed
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build
from tests.index.test_build import Stop, StoppingDisk


def texts(root: Path) -> list[str]:
    index = VectorIndex.open(root)
    return sorted(
        index.rows.read(row).text for row in range(index.manifest.rows) if index.alive is None or index.alive[row]
    )


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.html").write_text(f"<h1>Part</h1><p>page {number}</p>")
    write_pages(folder / "a.pdf", [["A first text."], ["A second text."]])
    write_scan(folder / "scan.pdf", ["words", "", ""])
    (folder / "note.md").write_text("a note")
    return folder


def test_an_unchanged_document_is_not_read_again(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    done = build([str(docs)], root, encoder)
    assert (done.files.walked, done.files.read) == (8, 8) and done.files.notes == {"pages without text": (2, 1)}
    before = texts(root)
    with monkeypatch.context() as patch:
        patch.setattr(reading_process.ReadingProcess, "_start", lambda _: pytest.fail("a document was opened"))
        again = add([str(docs)], root, encoder)
    assert (again.added, again.changed, again.removed, again.files.unopened) == (0, 0, 0, 8)
    assert again.files.notes == {"pages without text": (2, 1)}  # the ledger remembers
    (docs / "0.html").write_text("<h1>Part</h1><p>another text</p>")
    again = add([str(docs)], root, encoder)
    assert (again.added, again.removed, again.encoded) == (1, 1, 1)
    assert sorted([*before, "Part\n\nanother text"]) == sorted([*texts(root), "Part\n\npage 0"])


def test_a_document_that_is_a_scan_now_leaves_nothing_of_its_text(docs: Path, tmp_path: Path) -> None:
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(docs)], root, encoder)
    write_scan(docs / "a.pdf", ["", ""])
    done = add([str(docs)], root, encoder)
    assert done.removed == 1 and done.files.refused == 1 and not any("first text" in text for text in texts(root))
    [refused] = [entry for entry in Snapshot.open(root).ledger() if entry.path == "a.pdf"]
    assert refused.reason == "empty text: 2 pages without text (a scan?)"


def test_another_version_of_a_reader_reads_again(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from searchapp.corpus.formats import table

    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(docs)], root, encoder)
    monkeypatch.setattr(table, "_release", lambda _: "999")
    done = add([str(docs)], root, encoder)
    assert (done.files.unopened, done.encoded, done.unchanged) == (1, 0, 8)  # the note, and equal passages


def test_a_build_does_not_go_on_with_another_version_of_a_reader(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.corpus.formats import table

    commit = build_run.BuildRun._commit

    def stopping(self: build_run.BuildRun, *arguments: object) -> None:
        commit(self, *arguments)
        raise Stop

    monkeypatch.setattr(build_run.BuildRun, "_commit", stopping)
    with pytest.raises(Stop):
        build([str(docs)], tmp_path / "ix", HashEncoder(), segment_size=3)
    monkeypatch.undo()
    monkeypatch.setattr(table, "_release", lambda _: "999")
    with pytest.raises(
        IndexStoreError, match=r"0.html was read by html 1 selectolax [\d.]+; here is html 1 selectolax 999"
    ):
        build([str(docs)], tmp_path / "ix", HashEncoder(), segment_size=3)
    monkeypatch.undo()
    assert build([str(docs)], tmp_path / "ix", HashEncoder(), segment_size=3).files.read == 8


def test_a_build_goes_on_whenever_its_reader_is_killed(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "ix"
    build([str(docs)], tmp_path / "whole", HashEncoder())
    lines = reading_process.ReadingProcess.lines

    def killed(self: reading_process.ReadingProcess, request: reading_process.Request):
        if self._running is not None and request.path.name in ("1.html", "a.pdf"):
            os.kill(self._running.pid, signal.SIGKILL)
        yield from lines(self, request)

    monkeypatch.setattr(reading_process.ReadingProcess, "lines", killed)
    done = build([str(docs)], root, HashEncoder())
    assert done.files.refused == 0 and texts(root) == texts(tmp_path / "whole")


@pytest.mark.parametrize("step", [12, 25, 33])
def test_a_build_that_stops_anywhere_becomes_what_it_would_have_been(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    build([str(docs)], tmp_path / "whole", HashEncoder(), segment_size=3)
    monkeypatch.setattr(handed, "make_disk", lambda: StoppingDisk(step))
    with pytest.raises(Stop):
        build([str(docs)], tmp_path / "ix", HashEncoder(), segment_size=3)
    monkeypatch.undo()
    build([str(docs)], tmp_path / "ix", HashEncoder(), segment_size=3)
    rows = [
        [VectorIndex.open(root).rows.read(row) for row in range(8)] for root in (tmp_path / "ix", tmp_path / "whole")
    ]
    assert rows[0] == rows[1]


def test_what_is_ignored_since_is_missing_and_goes_with_sync(docs: Path, tmp_path: Path) -> None:
    (docs / "more").mkdir()
    (docs / "more" / "x.html").write_text("<p>in a folder</p>")
    encoder, root = HashEncoder(), tmp_path / "ix"
    build([str(docs)], root, encoder)
    (docs / ".searchappignore").write_text("more/\n")
    assert add([str(docs)], root, encoder).missing == ("docs/more/x.html",)
    done = add([str(docs)], root, encoder, sync=True)
    assert done.removed == 1 and "in a folder" not in texts(root)
    done = add([str(docs)], root, encoder, selection=Selection(ignores=False))
    assert done.added == 1 and "in a folder" in texts(root)


def test_what_was_refused_is_read_again_where_that_is_asked_for(docs: Path, tmp_path: Path) -> None:
    (docs / "broken.pdf").write_bytes(b"no pdf")
    root, encoder = tmp_path / "ix", HashEncoder()
    assert build([str(docs)], root, encoder).files.refused == 1
    asked: list[str] = []
    lines = reading_process.ReadingProcess.lines

    def counted(self: reading_process.ReadingProcess, request: reading_process.Request):
        asked.append(request.path.name)
        return lines(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_process.ReadingProcess, "lines", counted)
        assert add([str(docs)], root, encoder).files.refused == 1 and not asked
        assert add([str(docs)], root, encoder, retry_refused=True).files.refused == 1
    assert asked == ["broken.pdf"]
