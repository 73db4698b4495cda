"""Files of untrusted formats: what is read beside the caller, and what becomes of a file that kills its parser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from searchapp.corpus import isolation, reading_process
from searchapp.corpus.block_lines import message, to_item, to_line
from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.file_state import FileState, Seen
from searchapp.corpus.formats.reading import Facts, Unreadable
from searchapp.corpus.formats.table import FORMATS
from searchapp.corpus.isolation import Readers
from searchapp.corpus.reading_process import ReadingProcess, Request
from tests.corpus.pdfs import bomb, write_pages


@pytest.fixture
def readers():
    made = Readers()
    yield made
    made.close()


def page(path: Path, text: str) -> Request:
    path.write_text(f"<html><title>T</title><body><p>{text}</p></body></html>")
    return Request(path, "html", path.stat().st_size)


def texts(readers: Readers, request: Request) -> list[str]:
    facts, *blocks = readers.read(request)
    assert isinstance(facts, Facts)
    return [item.text.strip() for item in blocks if isinstance(item, Block)]


def test_blocks_and_facts_travel_as_lines() -> None:
    block = Block(
        BlockKind.CODE, "a\n\\u0000 ü\n", 1, 2, 0, 9, 3, "l", 1, 7, "x y", True, {"slide": 3, "time": "0:01"}, 8
    )
    assert to_item(to_line(block)) == block
    facts = Facts("t", "a", "2020-01-01", "de", "text/html", 0, {"from": "x"}, {"pages without text": 2})
    assert to_item(to_line(facts)) == facts
    broken = Block(BlockKind.TEXT, "a\0b\ud800c\\\0", 1, 1, 0, 5)
    found = to_item(to_line(broken))
    assert isinstance(found, Block) and found.text == "a\ufffdb\ufffdc\\\ufffd"
    assert message("\\u0000") == b'"\\\\u0000"\n'


def test_files_are_read_in_any_order_whatever_was_expected(tmp_path: Path, readers: Readers) -> None:
    requests = [page(tmp_path / f"{number}.html", f"page {number}") for number in range(12)]
    readers.expect(requests[:8])
    for number in (0, 2, 3, 7, 11, 0, 1, 8):  # some passed over, some never expected, one twice
        assert texts(readers, requests[number]) == [f"page {number}"]
    readers.close()
    assert texts(readers, requests[4]) == ["page 4"]  # it starts again


def test_what_is_said_of_a_file_is_what_it_was_when_it_was_read(tmp_path: Path, readers: Readers) -> None:
    wanted = page(tmp_path / "a.html", "old")
    before = FileState.of(wanted.path)
    readers.expect([wanted])
    until = time.monotonic() + 20
    while not readers._jobs[0].finished and time.monotonic() < until:
        time.sleep(0.01)
    page(wanted.path, "new")
    seen = Seen()
    facts, *blocks = readers.read(wanted, seen)
    assert [block.text.strip() for block in blocks if isinstance(block, Block)] == ["old"]
    assert before is not None and seen.state == before != FileState.of(wanted.path)
    list(readers.read(wanted, seen))
    assert seen.state == FileState.of(wanted.path)


def test_a_reader_that_is_left_in_the_middle_reads_on(tmp_path: Path, readers: Readers) -> None:
    requests = [page(tmp_path / f"{number}.html", "</p><p>".join(map(str, range(2_000)))) for number in range(3)]
    readers.expect(requests)
    started = readers.read(requests[0])
    next(started)
    started.close()
    assert len(texts(readers, requests[2])) == 2_000


def test_files_are_read_ahead_and_what_waits_is_bounded(
    tmp_path: Path, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "AHEAD", 50_000)
    monkeypatch.setattr(isolation, "WHOLE", 20_000)
    requests = [page(tmp_path / f"{number}.html", "words " * 2_000) for number in range(20)]
    readers.expect(requests)
    assert texts(readers, requests[0])
    until = time.monotonic() + 5
    while readers._held < 40_000 and time.monotonic() < until:
        time.sleep(0.01)
    assert 40_000 <= readers._held <= 50_000 + 15_000  # the caller did nothing, and one file is 12 kB
    assert all(texts(readers, request) for request in requests[1:])


def test_one_process_reads_many_files(tmp_path: Path, readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_process, "FILES", 3)
    started: list[int] = []
    start = ReadingProcess._start

    def counted(self: ReadingProcess) -> subprocess.Popen[bytes]:
        process = start(self)
        started.append(process.pid)
        return process

    monkeypatch.setattr(ReadingProcess, "_start", counted)
    for number in range(7):
        assert texts(readers, page(tmp_path / f"{number}.html", str(number))) == [str(number)]
    assert len(started) == 3


def test_a_process_that_is_killed_by_others_is_started_again(tmp_path: Path, readers: Readers) -> None:
    first = page(tmp_path / "a.html", "one")
    assert texts(readers, first) == ["one"]
    process = readers._process._running
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert texts(readers, page(tmp_path / "b.html", "two")) == ["two"]


def test_a_file_during_which_the_process_is_killed_is_read_again_and_refused_the_second_time(
    tmp_path: Path, readers: Readers
) -> None:
    os.mkfifo(tmp_path / "a.html")  # the process waits for somebody to write
    request = Request(tmp_path / "a.html", "html")
    pids: list[int] = []

    def kill() -> None:
        while len(pids) < 2:
            process = readers._process._running
            if process is not None and process.pid not in pids:
                time.sleep(0.3)
                pids.append(process.pid)
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Unreadable, match="its reader was killed"):
        list(readers.read(request))
    killer.join()
    assert texts(readers, page(tmp_path / "b.html", "two")) == ["two"]


def test_a_file_that_takes_too_long_is_refused(
    tmp_path: Path, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "a.html")
    monkeypatch.setattr(Request, "seconds", 0.4)
    with pytest.raises(Unreadable, match="took more than 0 s to read"):
        list(readers.read(Request(tmp_path / "a.html", "html")))
    monkeypatch.setattr(Request, "seconds", 20.0)
    assert texts(readers, page(tmp_path / "b.html", "two")) == ["two"]


def test_seconds_grow_with_the_file() -> None:
    assert [Request(Path("a"), "pdf", size).seconds for size in (0, 5_000_000, 10**9)] == [15.0, 35.0, 300.0]


def test_a_bomb_is_refused_and_the_next_file_is_read(tmp_path: Path, readers: Readers) -> None:
    (tmp_path / "bomb.pdf").write_bytes(bomb(2_000))
    write_pages(tmp_path / "good.pdf", [["good"]])
    with pytest.raises(Unreadable, match="needs more than 1 GB of memory to read"):
        list(readers.read(Request(tmp_path / "bomb.pdf", "pdf", 2_000_000)))
    assert texts(readers, Request(tmp_path / "good.pdf", "pdf")) == ["good"]


@pytest.mark.slow
def test_a_page_of_300_mb_of_text_is_read_or_refused_in_time(tmp_path: Path, readers: Readers) -> None:
    (tmp_path / "bomb.pdf").write_bytes(bomb(300, b"(aaaaaaaaaaaaaaa) Tj T* ", b"BT /F1 9 Tf 12 TL "))
    write_pages(tmp_path / "good.pdf", [["good"]])
    began = time.monotonic()
    try:
        list(readers.read(Request(tmp_path / "bomb.pdf", "pdf", 800_000)))
    except Unreadable as error:
        assert "1 GB" in str(error) or "took more than 18 s" in str(error)
    assert time.monotonic() - began < 60
    assert texts(readers, Request(tmp_path / "good.pdf", "pdf")) == ["good"]


def test_a_file_that_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    formats = [format for format in FORMATS if format.largest]
    assert {"html", "rtf", "sheet", "mail", "notebook", "code"} < {format.name for format in formats}
    process = ReadingProcess()
    try:
        for format in formats:
            path = tmp_path / f"a{(format.endings or ('.json',))[0]}"
            path.touch()
            os.truncate(path, format.largest + 1_000_000)  # sparse
            began = time.monotonic()
            assert list(process.lines(Request(path, format.name))) == [], path.name
            assert process.reason == (
                f"too large: {format.largest // 10**6 + 1:,} MB; at most {format.largest // 10**6:,} MB of "
                f"{format.label} are read"
            )
            assert time.monotonic() - began < 10
            path.unlink()
    finally:
        process.end()


def test_what_is_not_there_is_refused(tmp_path: Path, readers: Readers) -> None:
    with pytest.raises(Unreadable, match="cannot be read: No such file or directory"):
        list(readers.read(Request(tmp_path / "a.html", "html")))


def test_the_process_may_write_no_file_and_takes_no_module_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken')")
    (tmp_path / "selectolax.py").write_text("raise SystemExit('taken')")
    request = page(tmp_path / "a.html", "read")
    code = (
        "import sys, pathlib; from searchapp.corpus.isolation import Readers, Request\n"
        "r = Readers(); print([i.text for i in list(r.read(Request(pathlib.Path('a.html'), 'html')))[1:]]); r.close()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert "read" in done.stdout and request.path.exists()
    limits = (
        "import resource, searchapp.corpus.worker as w; w._limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", limits], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout in (f"{1 << 30} 0\n", "")


def test_the_process_is_light() -> None:
    code = (
        "import sys, searchapp.corpus.worker, searchapp.corpus.formats.html, searchapp.corpus.formats.pdf\n"
        "bad = {'torch', 'numpy', 'pyarrow', 'transformers', 'faiss'} & set(sys.modules)\n"
        "raise SystemExit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_what_the_caller_has_in_memory_is_not_counted_as_the_readers(tmp_path: Path) -> None:
    """A process inherits the record of what the one that started it had; a program with a model has more than 300 MB."""
    program = (
        "import sys; from pathlib import Path; from searchapp.corpus import isolation, reading_process\n"
        "held = bytearray(400 << 20)\n"
        "started = []\n"
        "start = reading_process.ReadingProcess._start\n"
        "reading_process.ReadingProcess._start = lambda self: started.append(1) or start(self)\n"
        "readers = isolation.Readers()\n"
        "for path in sys.argv[1:]:\n"
        "    list(readers.read(reading_process.Request(Path(path), 'html', 1)))\n"
        "readers.close()\n"
        "print(len(started))\n"
    )
    files = [str(page(tmp_path / f"{number}.html", "text").path) for number in range(3)]
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr
