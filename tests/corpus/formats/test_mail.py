"""E-mail: messages that the standard library composes, and those that only the field writes."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats import mbox
from searchapp.corpus.formats.mail import plain_body, read
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from tests.corpus.formats import packages
from tests.corpus.formats.packages import SHORT, shown

HEAD = "From: a@x\nTo: b@y\nSubject: Bees\nMessage-ID: <1@x>\nDate: Mon, 06 May 2024 10:00:00 +0200\n"


def message(tmp_path: Path, data: str | bytes) -> tuple[Facts, list[Block]]:
    (tmp_path / "a.eml").write_bytes(data.encode() if isinstance(data, str) else data)
    return packages.read(read, tmp_path / "a.eml")


def test_headers_become_metadata_and_the_heading(tmp_path: Path) -> None:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = "Über Bienen 🐝", "Änne Lee <a@x.org>", "b@y.org, c@z.org"
    made["Date"], made["Message-ID"] = "Mon, 06 May 2024 10:00:00 +0200", "<2@x>"
    made["References"], made["In-Reply-To"] = "<0@x> <1@x>", "<1@x>"
    made.set_content("Sie fliegen.\n\nSie summen.\n")
    facts, blocks = message(tmp_path, made.as_bytes())
    assert (facts.title, facts.author, facts.date) == (
        "Über Bienen 🐝",
        "Änne Lee <a@x.org>",
        "2024-05-06T10:00:00+02:00",
    )
    heading = "Über Bienen 🐝\nFrom: Änne Lee <a@x.org>\nTo: b@y.org, c@z.org\nDate: 2024-05-06T10:00:00+02:00"
    assert shown(blocks) == [f"*H1 {heading}", "T Sie fliegen.", "T Sie summen."]
    assert blocks[0].label == "Über Bienen 🐝"
    assert all(block.where == {
        "from": "Änne Lee <a@x.org>", "to": "b@y.org, c@z.org", "date": "2024-05-06T10:00:00+02:00", "message_id": "2@x",
        "thread": "0@x",
    } for block in blocks)  # fmt: skip


def test_of_alternatives_the_plain_text_and_of_html_alone_its_blocks(tmp_path: Path) -> None:
    made = EmailMessage()
    made["Subject"] = "s"
    made.set_content("plain\n")
    made.add_alternative("<p>rich</p>", subtype="html")
    assert shown(message(tmp_path, made.as_bytes())[1])[1:] == ["T plain"]
    html = "Subject: s\nContent-Type: text/html; charset=iso-8859-1\n\n<h1>caf\xe9<p>one<blockquote>two"
    assert shown(message(tmp_path, html.encode("latin-1"))[1])[1:] == ["T café", "T one", "Q two"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.\n\nOn Monday Ann wrote:\n> no\n> really\n\nBye\n", ["T Yes.", "Q On Monday Ann wrote:\n> no\n> really", "T Bye"]),
        ("Am 1. schrieb Änne:\n\n> nein\n", ["Q Am 1. schrieb Änne:\n> nein"]),
        ("She wrote:\nno quote\n", ["T She wrote:\nno quote"]),
        ("a\n-----Original Message-----\nFrom: x\n\nold\n", ["T a", "Q -----Original Message-----\nFrom: x\n\nold"]),
        ("list:\n- one\n- two\n", ["T list:", "L - one", "L - two"]),
        ("> q1\n\n> q2\nab\n", ["Q > q1\n> q2", "T ab"]),
    ],
)  # fmt: skip
def test_quotes_are_told_apart(text: str, expected: list[str]) -> None:
    assert [f"{SHORT[kind]} {text}" for kind, text, _ in plain_body(text)] == expected


def test_flowed_lines_are_joined(tmp_path: Path) -> None:
    text = HEAD + "Content-Type: text/plain; format=flowed\n\nThis goes \non.\nThis not.\n"
    assert shown(message(tmp_path, text)[1])[1:] == ["T This goes on.\nThis not."]


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("Content-Type: text/plain; charset=x-unknown", "gr\xfc\xdfe".encode(), "T grüße"),
        ("Content-Type: text/plain; charset=utf-8", "gr\xfc\xdfe".encode("latin-1"), "T grüße"),
        ("Content-Type: text/plain; charset=koi8-r", "привет".encode("koi8-r"), "T привет"),
        ("Content-Type: text/plain; charset=unicode_escape", b"a\\ud800b\xff", "T a?bÿ"),
        ("Content-Type: text/plain; charset=unicode_escape", b"a\\ud800b", "T a\\ud800b"),  # it is valid UTF-8
        ("Content-Type: text/plain; charset=utf-7", b"gr+APwA3w-e", "T grüße"),
        ("Content-Type: text/plain; charset=iso-2022-jp", "日本".encode("iso-2022-jp"), "T 日本"),
        ("Content-Type: text/plain", "日本".encode("utf-16"), "T 日本"),
        ("Content-Transfer-Encoding: x-made-up", b"text", "T text"),
        ("Content-Transfer-Encoding: base64", b"no base64 at all!", None),
        ("Content-Type: multipart/mixed", b"no boundary", "T no boundary"),
        ("Content-Type: multipart/alternative; boundary=x", b"--y\nanother", "T --y\nanother"),
        ("Content-Type: text/x-diff", b"a line", "T a line"),
    ],
)
def test_odd_bodies(tmp_path: Path, head: str, body: bytes, expected: str | None) -> None:
    blocks = message(tmp_path, f"Subject: s\n{head}\n\n".encode() + body)[1]
    assert expected is None or shown(blocks)[1:] == [expected]


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"gr\xc3\xbcn", "grün"),
        (b"gr\xfcn", "grün"),
        (b"=?utf-8?q?gr=C3=BCn?= =?utf-8?q?er?=", "grüner"),
        (b"=?x-none?q?gr=FCn?=", "grün"),
        (b"=?utf-8?b?!!!?=", "=?utf-8?b?!!!?="),
        (b"a\n b", "a b"),
    ],
)
def test_odd_headers(tmp_path: Path, raw: bytes, subject: str) -> None:
    assert message(tmp_path, b"Subject: " + raw + b"\nDate: yesterday\n\nx\n")[0].title == subject


def test_attachments_by_the_other_readers_and_messages_in_messages(tmp_path: Path) -> None:
    inner = EmailMessage()
    inner["Subject"], inner["Message-ID"] = "Inner", "<9@x>"
    inner.set_content("deep\n")
    made = EmailMessage()
    made["Subject"] = "Outer"
    made.set_content("see\n")
    made.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="größe.pdf")
    made.add_attachment(b"?", maintype="application", subtype="x", filename="other.bin")
    made.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(made.as_bytes())

    def attached(name: str, data: bytes) -> Iterator[Facts | Block]:
        if name.endswith(".pdf"):
            composer = Composer(Limits())
            yield Facts()
            yield composer.block(BlockKind.HEADING, data.decode(), level=1, label="L", whole=True, where={"page": 1})
            yield composer.block(BlockKind.TEXT, "words")

    blocks = packages.read(lambda path, limits: read(path, limits, attached), tmp_path / "a.eml")[1]
    assert shown(blocks) == ["*H1 Outer", "T see", "*H2 größe.pdf", "*H3 %PDF", "T words", "*H2 Inner", "T deep"]
    assert blocks[3].where == {"page": 1}
    assert blocks[5].where == {"message_id": "9@x", "thread": "9@x"}
    facts, blocks = packages.read(read, tmp_path / "a.eml")  # that is no PDF
    assert len(blocks) == 4
    assert facts.notes == {"attachments not read": 2}


def test_attachments_are_read_from_memory_by_the_readers_of_their_formats(tmp_path: Path) -> None:
    made = EmailMessage()
    made["Subject"] = "Outer"
    made.set_content("see\n")
    files = {
        "a.docx": packages.word(tmp_path / "a.docx", "<w:p><w:r><w:t>word</w:t></w:r></w:p>").read_bytes(),
        "b.odt": packages.odf(tmp_path / "b.odt", "<text:p>open</text:p>").read_bytes(),
        "c.epub": packages.book(tmp_path / "c.epub", "<html><body><p>book</p></body></html>").read_bytes(),
        "d.md": b"# mark\n\ndown\n",
        "e.mbox": f"{START}Subject: in\n\nbox\n".encode(),
        "f.srt": b"00:00:01,000 --> 00:00:02,000\nsaid",
        "g.py": b"def code(): pass\n",
        "h.html": b"<title>t</title><p>page",
        "i.docx": b"broken",
        "j.jsonl": b"{}",
    }
    for name, data in files.items():
        made.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    (tmp_path / "a.eml").write_bytes(made.as_bytes())
    facts, blocks = packages.read(read, tmp_path / "a.eml")
    found = [block.text.strip() for block in blocks if block.kind is not BlockKind.HEADING]
    assert found == ["see", "word", "open", "book", "down", "box", "said", "def code(): pass", "page"]
    assert facts.notes == {"attachments not read": 2}


def nested(count: int) -> bytes:
    data = b"Subject: last\n\nx\n"
    for number in range(count):
        data = b"Subject: %d\nContent-Type: message/rfc822\n\n" % number + data
    return data


def test_messages_in_messages_end_at_the_fifth(tmp_path: Path) -> None:
    assert len(message(tmp_path, nested(4))[1]) == 6
    assert [line[:5] for line in shown(message(tmp_path, nested(30))[1])] == [
        "*H1 2",
        "*H2 2",
        "*H3 2",
        "*H4 2",
        "*H5 2",
    ]


def test_absurd_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(nested(3000))
    with pytest.raises(Unreadable, match="nested too deep"):
        list(read(tmp_path / "a.eml", Limits()))


def test_what_is_no_message_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(b"\x00\x01 no message\n")
    with pytest.raises(Unreadable, match="no headers"):
        list(read(tmp_path / "a.eml", Limits()))


START = "From ann@x.org Mon May  6 10:00:00 2024\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mailbox_has_as_many_messages_as_were_put_in(tmp_path: Path, end: str) -> None:
    parts = [
        f"{START}{HEAD}\nhello\n\nFrom here on we walk.\n\nFrom the year 2024 on\n\n>From escaped\n\n",
        f"{START.strip()} +0200\nSubject: Re: Bees\nMessage-ID: <2@x>\nIn-Reply-To: <1@x>\n\nyes\n\nOn Monday a wrote:\n> hello\n\n",
        f"From MAILER-DAEMON Fri Jul  8 12:08 1999\nSubject: odd\nIn-Reply-To: <none@x>\n\n> kept\n{START}no start: no blank line before",
    ]  # fmt: skip
    (tmp_path / "a.mbox").write_bytes("".join(parts).replace("\n", end).encode())
    blocks = packages.read(mbox.read, tmp_path / "a.mbox")[1]
    assert sum(block.whole for block in blocks) == 3
    assert shown(blocks)[1:] == [
        "T hello", "T From here on we walk.", "T From the year 2024 on", "T From escaped",
        "*H1 Re: Bees", "T yes", "*H1 odd", "Q > kept", f"T {START}no start: no blank line before",
    ]  # fmt: skip


def test_what_is_no_mailbox_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_text("just text\n\nFrom here\n")
    with pytest.raises(Unreadable, match="no mailbox"):
        list(mbox.read(tmp_path / "a.mbox", Limits()))
    (tmp_path / "a.mbox").write_text("")
    assert len(list(mbox.read(tmp_path / "a.mbox", Limits()))) == 1
