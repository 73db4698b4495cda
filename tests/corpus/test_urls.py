"""URLs as they are shown and kept, and what libraries say of them, without what is secret."""

from __future__ import annotations

import pytest

from searchapp.corpus.remote import RemoteFile, listing
from searchapp.corpus.urls import has_secrets, is_url, shown_url, without_secrets
from searchapp.errors import CorpusError

SIGNED = "https://ghp_TOKEN123:pw-9@host/a.pdf?sig=aB%2Bx%2Fy%3D&n=1"


def test_urls_as_they_are_shown() -> None:
    url = "https://me:pw@host:8080/a/b.pdf?x=1#page=2"
    assert shown_url(url).startswith("https://host:8080/a/b.pdf#q=") and len(shown_url(url)) == 34
    assert shown_url(shown_url(url)) == shown_url(url) != shown_url(url.replace("x=1", "x=2"))
    assert shown_url("s3://bucket/folder") == "s3://bucket/folder"
    assert "pw" not in repr(RemoteFile(url, shown_url(url), "", "1"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ghp_TOKEN123@host/a.md", "https://host/a.md"),
        ("HTTP://ghp_TOKEN123@host:80/a.md", "http://host:80/a.md"),
        ("https://:ghp_TOKEN123@host/a.md", "https://host/a.md"),
        ("https://a@b:ghp_TOKEN123@host/a.md", "https://host/a.md"),
        ("https://me:ghp/TOKEN123@host/a.md", "https://…"),  # a password that is not escaped
        ("https://me:ghp?TOKEN123@host/a.md", "https://…"),
        ("https://me:ghp#TOKEN123@host/a.md", "https://…"),
        ("https://[ghp_TOKEN123/a.md", "https://…"),
        ("sftp://me:ghp_TOKEN123@host/notes/", "sftp://me@host/notes"),
        ("abfs://container@account/a", "abfs://container@account/a"),
        ("s3://arn:aws:s3:eu-west-1:123:accesspoint/a", "s3://arn:aws:s3:eu-west-1:123:accesspoint/a"),
        ("s3://AKIA:SEC/ghp_TOKEN123@bucket/x", "s3://…"),
        ("webdav://me:ghp#TOKEN123@host/x", "webdav://…"),
        ("github://org:repository@main/docs", "github://org:repository@main/docs"),
        ("s3://bucket/a#1.txt", "s3://bucket/a#1.txt"),
        ("simplecache::https://me:ghp_TOKEN123@host/x", "simplecache::https://host/x"),
        ("zip://a.txt::https://me:ghp_TOKEN123@host/x.zip", "zip://a.txt::https://host/x.zip"),
    ],
)
def test_who_asks_is_a_part_of_the_address_or_a_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown == shown_url(shown) and is_url(url)


def test_a_password_that_is_not_escaped_is_refused_with_what_to_do() -> None:
    with pytest.raises(CorpusError, match="https://…: is no URL; write .* as %40"):
        listing("https://me:p/w@host/a.md")


@pytest.mark.parametrize(
    "text",
    [
        "404, message='Not Found', url='https://host/a.pdf?sig=aB%2Bx/y%3D&n=1'",
        "404, url=URL('https://ghp_TOKEN123:pw-9@host/a.pdf?sig=aB%2Bx/y%3D&n=1')",
        "led to https://other/b?X-Signature=aB%2Bx and https://pw-9@other/",
        "Max retries exceeded with url: /a.pdf?sig=aB%2Bx%2Fy%3D&n=1 (Caused by x)",
        "query sig=aB+x/y=&n=1 is refused, aB+x/y= too",
        "no user ghp_TOKEN123 with pw-9",
        "headers: Basic Z2hwX1RPS0VOMTIzOnB3LTk=",
        "Cannot connect to proxy http://proxy:pw-9@10.0.0.1:3128",
        f"given was {SIGNED}.",
        "sent to login?next=https%3A%2F%2Fghp_TOKEN123%3A then b'\\nghp_TOKEN123', ghp_TOKEN123_x",
    ],
)
def test_what_a_library_says_has_no_secret(text: str) -> None:
    said = without_secrets(SIGNED, text)
    for secret in ("ghp_TOKEN123", "pw-9", "aB", "x/y", "y%3D", "Z2hw"):
        assert secret not in said
    assert said.split()[0] == text.split()[0]  # the rest stays


def test_secrets_of_the_surroundings_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pytest.importorskip("fsspec.config")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr+EXAMPLE")
    monkeypatch.setitem(config.conf, "sftp", {"password": "of-settings", "host": "example"})
    said = without_secrets("s3://bucket/a", "SignatureDoesNotMatch: wJalr+EXAMPLE; of-settings at example")
    assert said == "SignatureDoesNotMatch: …; … at example"


def test_what_is_no_secret_stays() -> None:
    text = "404, message='me and 1 more', url='https://host/a.pdf'"
    assert without_secrets("https://u1:x9@host/a.pdf?n=1", text) == text


def test_what_has_secrets() -> None:
    for source in (
        SIGNED,
        "https://me@host/a",
        "https://host/a?x=1",
        "simplecache::https://me:pw@h/a",
        "sftp://me:pw@host/a",
        "https://[host/a",
    ):
        assert has_secrets(source)
    for source in (
        "https://host/a@b",
        "sftp://me@host/a/",
        "s3://bucket/a",
        "github://a:b@main/c",
        "file:///a?b",
        "notes/a?b",
        "a@b",
    ):
        assert not has_secrets(source)
