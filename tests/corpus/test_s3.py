"""A folder of S3 as a source, over a server of this machine; skipped without `s3fs` and `moto[server]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from searchapp.corpus.source import find_source
from searchapp.errors import CorpusError
from searchapp.index.storage.snapshot import Snapshot
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build
from tests.index.test_sources import held

s3fs = pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")
SECRET = "s3cret+of/S3="  # noqa: S105 - of a server that takes any


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The file system of a server with an empty bucket."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    yield system
    system.rm("bucket", recursive=True)  # another server would have it: what it holds is the process's
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_folder_of_a_bucket_is_read_and_what_changed_is_read_again(bucket: Any, tmp_path: Path) -> None:
    for name, text in (
        ("a.md", "# Foxes\nFoxes jump.\n"),
        ("sub/b.html", "<p>Bees live in hives.</p>"),
        ("c.bin", "x"),
    ):
        bucket.pipe_file(f"bucket/docs/{name}", text.encode())
    bucket.pipe_file("bucket/other/d.md", b"not below the folder")
    root, encoder, url = tmp_path / "ix", HashEncoder(), "s3://bucket/docs/"
    done = build([url], root, encoder)
    assert (done.files.read, done.files.skipped) == (2, 1)
    found = {one.rpartition("#")[0]: document for one, document in held(root).items()}
    assert found.keys() == {"docs/a.md", "docs/sub/b.html"}
    assert found["docs/a.md"].metadata["url"] == "s3://bucket/docs/a.md"
    assert found["docs/sub/b.html"].text.strip() == "Bees live in hives."
    done = add([url], root, encoder)
    assert (done.unchanged, done.files.unopened) == (2, 2)
    bucket.pipe_file("bucket/docs/a.md", b"# Foxes\nFoxes sleep.\n")
    bucket.rm_file("bucket/docs/sub/b.html")
    done = add(["s3://bucket/docs"], root, encoder, sync=True)
    assert (done.added, done.removed) == (1, 2)
    assert [document.text.strip() for document in held(root).values()] == ["# Foxes\nFoxes sleep."]
    assert [source.path for source in Snapshot.open(root).manifest.sources] == ["s3://bucket/docs"]


def test_a_file_of_a_bucket_is_read(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe_file("bucket/rows.jsonl", b'{"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n')
    done = build(["s3://bucket/rows.jsonl"], tmp_path / "ix", HashEncoder())
    assert held(tmp_path / "ix").keys() == {"1", "2"} and done.files.read == 1


def test_what_is_not_there_is_said_in_one_line_without_keys(bucket: Any) -> None:
    for url in ("s3://bucket/none", "s3://nobucket/docs"):
        with pytest.raises(CorpusError) as error:
            find_source(url)
        said = str(error.value)
        assert said.startswith(url) and "\n" not in said and SECRET not in said
