"""Sources named by URL: fetched when they are read, known by their marks, and what is secret in a URL kept nowhere."""

from __future__ import annotations

import base64
import io
import logging
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from searchapp.corpus import Document, Rejected, open_source, remote
from searchapp.corpus.remote import RemoteFile, listing
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import Source, find_source
from searchapp.corpus.urls import local_path, shown_url
from searchapp.errors import CorpusError
from searchapp.index.intake import names
from searchapp.index.storage import manifest
from searchapp.index.storage.snapshot import Snapshot
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, repair
from tests.index.test_sources import held

fsspec = pytest.importorskip("fsspec")
PAGE = b"<html><title>Bees</title><body><h1 id='b'>Bees</h1><p>Bees live in hives.</p></body></html>"


class Server(ThreadingHTTPServer):
    """A server of a few files: path, content, headers. It counts what is asked for, and wants what a URL must have."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.asked: list[str] = []
        self.leads: dict[str, str] = {}  # to another path, when a file is fetched
        self.wanted = ""  # credentials
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, path: str, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if (path := self.server.leads.get(self.path)) is not None:
            self.send_response(302)
            self.send_header("Location", path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        found = self.server.files.get(self.path)
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if self.server.wanted and base64.b64decode(given).decode() != self.server.wanted:
            found = None
        data, headers = found or (b"not here", {})
        self.send_response(200 if found else 404)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def documents(source: Source) -> list[Document]:
    items = [record.item for file in source.listed() for record in file.records()]
    return [item for item in items if isinstance(item, Document)]


def test_a_folder_is_read_by_the_readers_of_its_files(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in {
        "a.md": b"# Foxes\nFoxes jump.\n",
        "sub/bees.html": PAGE,
        "x.png": b"x",
        ".h/c.md": b"x",
        "d.md": b"drafts",
    }.items():
        memory.pipe(f"/docs/{name}", data)
    fetched: list[str] = []
    real = RemoteFile.fetched
    monkeypatch.setattr(RemoteFile, "fetched", lambda self: (fetched.append(self.relative), real(self))[1])
    root, encoder = tmp_path / "ix", HashEncoder()
    chosen = Selection(exclude=("d.md",))
    done = build(["memory://docs"], root, encoder, selection=chosen)
    assert (done.files.read, done.files.skipped, sorted(fetched)) == (2, 2, ["a.md", "sub/bees.html"])
    assert sorted(one.rpartition("#")[0] for one in held(root)) == ["docs/a.md", "docs/sub/bees.html"]
    fetched.clear()
    done = add(["memory://docs"], root, encoder)
    assert (done.unchanged, done.files.unopened, fetched) == (2, 2, [])
    memory.pipe("/docs/a.md", b"# Foxes\nFoxes sleep.\n")
    memory.rm("/docs/sub/bees.html")
    done = add(["memory://docs/"], root, encoder, sync=True)
    assert (done.added, done.removed, fetched) == (1, 2, ["a.md"])
    [name] = Snapshot.open(root).manifest.ledger
    (root / "data" / name).write_bytes(b"damaged")
    repair(root, lambda _: encoder)
    assert {(entry.source, entry.path) for entry in Snapshot.open(root).ledger()} == {("docs", "a.md")}
    assert not [path for path in Path(os.environ.get("TMPDIR", "/tmp")).glob("searchapp-*/a.md")]  # noqa: S108


def test_a_page_is_read_by_its_kind_and_known_by_its_mark(server: Server, tmp_path: Path) -> None:
    server.files["/start"] = (PAGE, {"ETag": '"1"', "Content-Type": "text/html; charset=utf-8"})
    root, encoder, url = tmp_path / "ix", HashEncoder(), server.url("start")
    source = open_source(url)
    assert not server.asked  # it was looked at alone
    (found,) = documents(source)
    assert (found.title, found.metadata["url"], found.metadata["anchor"]) == ("Bees", url, "b")
    assert found.metadata["mime"] == "text/html" and "modified" not in found.metadata
    build([url], root, encoder)
    server.asked.clear()
    assert add([url], root, encoder).unchanged == 1 and not server.asked
    server.files["/start"] = (PAGE.replace(b"hives", b"trees"), {"ETag": '"2"', "Content-Type": "text/html"})
    assert add([url], root, encoder).added == 1


def test_a_table_and_a_text_are_read(server: Server) -> None:
    changed = {"Last-Modified": "Mon, 06 May 2024 10:00:00 GMT"}
    server.files["/a.jsonl"] = (b'{"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n', changed)
    server.files["/b.txt"] = (b"some words\n", changed)
    assert [one.id for one in documents(open_source(server.url("a.jsonl")))] == ["1", "2"]
    (found,) = documents(open_source(server.url("b.txt")))
    assert found.id.startswith("b.txt#") and found.text.strip() == "some words"
    file = next(iter(open_source(server.url("b.txt")).listed()))
    assert file.mtime_ns == 1_714_989_600 * 10**9


def test_columns_of_a_table_are_named(server: Server, memory: Any) -> None:
    sink = io.BytesIO()
    parquet.write_table(pa.table({"id": ["1"], "q": ["why?"], "text": ["own"]}), sink)
    server.files["/a.parquet"] = (sink.getvalue(), {"ETag": "1"})
    server.files["/a.jsonl"] = (b'{"id": "1", "q": "one"}\n', {"ETag": "1"})
    memory.pipe("/docs/a.md", b"x")
    chosen = Selection(columns="text=q")
    (found,) = documents(find_source(server.url("a.parquet"), selection=chosen))
    assert (found.text, found.metadata["source.text"]) == ("why?", "own")
    readers = {next(find_source(server.url("a.parquet"), selection=one).listed()).reader for one in (None, chosen)}
    assert len(readers) == 2
    for url, kind in ((server.url("a.jsonl"), "JSONL"), ("memory://docs", "a folder")):
        with pytest.raises(CorpusError, match=f"data sets saved on disk, not with {kind} at a URL"):
            find_source(url, selection=chosen)


def test_what_tells_no_change_or_is_not_there_is_refused(server: Server, memory: Any) -> None:
    server.files["/a.txt"] = (b"x", {})
    server.files["/b.bin"] = (b"x", {"ETag": "1", "Content-Type": "application/x-odd"})
    for name, reason in (
        ("a.txt", "gives no ETag"),
        ("b.bin", "no reader for application/x-odd"),
        ("c.txt", "nothing is there|404"),
    ):
        with pytest.raises(CorpusError, match=reason):
            open_source(server.url(name))
    with pytest.raises(CorpusError, match="nothing is there"):
        open_source("memory://none")
    with pytest.raises(CorpusError, match="expected e.g. https:// or s3://"):
        open_source("nosuch://x/y")
    with pytest.raises(CorpusError, match="one URL in another"):
        open_source("zip://a.txt::http://127.0.0.1/x.zip")
    with pytest.raises(CorpusError, match="is no folder"):
        from searchapp.corpus.watching import Watcher

        memory.pipe("/docs/a.md", b"x")
        Watcher([find_source("memory://docs")], Path(), threading.Event())


def test_a_file_that_is_gone_cut_off_or_too_large_is_refused_alone(
    memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("a.html", "b.md", "c.md", "d.md"):
        memory.pipe(f"/docs/{name}", PAGE if name == "a.html" else b"x" * (90 if name == "c.md" else 9))
    source = find_source("memory://docs")
    memory.rm("/docs/a.html")
    memory.pipe("/docs/b.md", b"longer than before")
    monkeypatch.setattr(remote, "MOST", 50)
    done = build([source], tmp_path / "ix", HashEncoder())
    assert (done.files.read, done.files.refused) == (1, 3)
    reasons = " ".join(done.manifest.build.reasons)
    assert "cannot be fetched" in reasons and "bytes came" in reasons and "more than N bytes" in reasons


def test_what_is_secret_is_used_and_kept_nowhere(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.wanted = "me:s3same"
    server.files["/a.txt?token=t0ken&page=1"] = (b"some words\n", {"ETag": "1"})
    server.files["/a.txt?token=t0ken&page=2"] = (b"other words\n", {"ETag": "1"})
    urls = [server.url(f"a.txt?token=t0ken&page={page}", "me:s3same@") for page in (1, 2)]
    root, encoder = tmp_path / "ix", HashEncoder()
    with caplog.at_level(logging.DEBUG, logger="searchapp"):
        build(urls, root, encoder, names=("one", "two"))
        assert add(urls, root, encoder).unchanged == 2
        server.files.clear()
        with pytest.raises(CorpusError) as error:
            add(urls, root, encoder)
    said = caplog.text + str(error.value) + shown_url(urls[0])
    kept = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    for secret in ("s3same", "t0ken"):
        assert secret not in said and secret.encode() not in kept
    assert b"http://127.0.0.1" in kept and b"me@127.0.0.1" not in kept


def test_what_is_secret_is_not_in_what_a_library_says(server: Server, tmp_path: Path) -> None:
    """A query as the library writes it, and that of an address to which the server leads."""
    leading, failing = "a.txt?sig=aB%2Bx%2Fy%3D&u=1", "/b.txt?X-Signature=zZ9%2Bother"
    server.files["/a.txt?sig=aB%2Bx/y%3D&u=1"] = server.files[f"/{leading}"] = (b"words", {"ETag": "1"})
    source, root = find_source(server.url(leading, "ghp_TOKEN123@")), tmp_path / "ix"
    (tmp_path / "b.md").write_text("words\n")
    for found in list(server.files):
        server.leads[found] = failing
    done = build([source, str(tmp_path / "b.md")], root, HashEncoder())
    said = " ".join(done.manifest.build.reasons)
    kept = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file()).decode(errors="replace")
    assert "cannot be fetched" in said and f"cannot be fetched: {server.url('a.txt')}#q=" in kept
    for secret in ("aB%2B", "aB+", "x/y", "y%3D", "zZ9", "other", "ghp_TOKEN123"):
        assert secret not in said + kept


def test_an_index_that_has_a_user_name_finds_its_source_and_forgets_the_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/a.html"] = (PAGE, {"ETag": "1"})
    root, encoder, url = tmp_path / "ix", HashEncoder(), server.url("a.html", "ghp_TOKEN123@")

    def as_before(url: str) -> str:
        return url

    with monkeypatch.context() as patch:
        for module in (remote, names, manifest):
            patch.setattr(module, "shown_url", as_before)
        build([url], root, encoder)
        assert Snapshot.open(root).manifest.sources[0].path == url and held(root).popitem()[1].metadata["url"] == url
    assert Snapshot.open(root).manifest.sources[0].path == server.url("a.html")
    done = add([url], root, encoder, sync=True)
    assert (done.added, done.removed, len(held(root))) == (0, 0, 1)
    assert held(root).popitem()[1].metadata["url"] == server.url("a.html")
    [name] = Snapshot.open(root).manifest.ledger
    assert b"ghp_TOKEN123" not in (root / "data" / name).read_bytes()
    assert add([server.url("a.html")], root, encoder).files.unopened == 1


def test_a_file_url_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("words\n")
    source = open_source((tmp_path / "a b.txt").as_uri())
    assert source.name == str(tmp_path / "a b.txt") == local_path((tmp_path / "a b.txt").as_uri())


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(CorpusError, match=r"pip install 'searchapp\[remote\]'"):
        listing("https://127.0.0.1/x")


def test_rejections_name_what_is_shown(memory: Any) -> None:
    memory.pipe("/docs/a.pdf", b"no pdf")
    items = [record.item for record in find_source("memory://docs").listed().__next__().records()]
    assert isinstance(items[0], Rejected) and items[0].file == "memory://docs/a.pdf"
