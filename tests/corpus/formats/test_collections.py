"""Collections of documents in one file: TREC's, and web archives."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from searchapp.corpus.formats.reading import Limits, Unreadable
from searchapp.corpus.formats.trec import read as read_trec
from tests.corpus.formats import packages
from tests.corpus.formats.packages import shown

TREC = b"""
<DOC>
<DOCNO> AP-1 </DOCNO>
<HEAD>Bees &amp; wasps</HEAD>
<DATE>1999</DATE>
<TEXT>
They fly.
   They hum.

<P>
Caf\xe9.
</TEXT>
</DOC>
<DOC>
<DOCNO>AP-2</DOCNO>
<LP>No text field.</LP>
</DOC>
"""


@pytest.mark.parametrize("packed", [False, True])
def test_documents_of_trec(tmp_path: Path, packed: bool) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(TREC) if packed else TREC)
    blocks = packages.read(read_trec, tmp_path / "a")[1]
    assert shown(blocks) == [
        "*H1 Bees & wasps",
        "T They fly.",
        "T They hum.",
        "T Café.",
        "*H1 AP-2",
        "T No text field.",
    ]
    assert [block.where for block in blocks if block.whole] == [{"docno": "AP-1"}, {"docno": "AP-2"}]


def test_what_is_no_collection(tmp_path: Path) -> None:
    for data in (b"", b"<DOC>\nnever closed", gzip.compress(TREC)[:40], gzip.compress(b"<DOC>\n" + b" " * 9_000_000)):
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(Unreadable):
            list(read_trec(tmp_path / "a", Limits()))


def record(
    address: str, body: bytes, head: str = "HTTP/1.1 200 OK", type: str = "text/html", kind: str = "response"
) -> bytes:
    """A record by hand, after ISO 28500."""
    content = f"{head}\r\nContent-Type: {type}\r\n\r\n".encode() + body
    about = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {address}\r\nWARC-Date: 2024-05-06T10:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:0>\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return about.encode() + content + b"\r\n\r\n"


@pytest.mark.parametrize("packed", [False, True])
def test_pages_of_a_web_archive(tmp_path: Path, packed: bool) -> None:
    pytest.importorskip("warcio")
    from searchapp.corpus.formats.warc import read

    records = [
        record("http://x.org/a", b"<title>Bees</title><body><h1>Life</h1><p>They fly."),
        record("http://x.org/b", "<p>Größe".encode("cp1252"), type="text/html; charset=iso-8859-1"),
        record("http://x.org/none", b"<p>gone", head="HTTP/1.1 404 Not Found"),
        record("http://x.org/p.png", b"\x89PNG", type="image/png"),
        record("http://x.org/c", b"one\r\n\r\ntwo", type="text/plain"),
        record("http://x.org/ask", b"", kind="request"),
    ]
    data = b"".join(gzip.compress(one) if packed else one for one in records)
    (tmp_path / "a.warc").write_bytes(data)
    blocks = packages.read(read, tmp_path / "a.warc")[1]
    assert shown(blocks) == [
        "*H1 Bees",
        "H2 Life",
        "T They fly.",
        "*H1 http://x.org/b",
        "T Größe",
        "*H1 http://x.org/c",
        "T one",
        "T two",
    ]
    assert blocks[1].where == {"url": "http://x.org/a", "date": "2024-05-06T10:00:00Z"}


def test_no_web_archive(tmp_path: Path) -> None:
    pytest.importorskip("warcio")
    from searchapp.corpus.formats.warc import read

    for data in (b"noise\n" * 100, gzip.compress(record("http://x.org", b"<p>x"))[:60]):
        (tmp_path / "a.warc").write_bytes(data)
        with pytest.raises(Unreadable, match="damaged|no web archive"):
            list(read(tmp_path / "a.warc", Limits()))
