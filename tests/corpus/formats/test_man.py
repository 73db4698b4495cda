"""Manual pages of both macro packages; the expected texts are what groff prints of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from searchapp.corpus.formats.man import is_page, plain, read, split
from searchapp.corpus.formats.reading import Limits, Unreadable
from tests.corpus.formats import packages
from tests.corpus.formats.packages import SHORT

MAN = r"""'\" t
.\" a comment
.TH BEES 1 2024-05-06 "Bee tools"
.de URL
\fI\\$2\fP
.  .
.ie \n(.g .ds Aq \(aq
.SH NAME
bees \- keep them
.SH "SEE ALSO"
.BR bees (1),
.I honey
\(lqwax\(rq it\(aqs \fBbold\fR caf\['e]\&.
.PP
Next.
.TP
.B \-v , \-\-verbose
Say more.
.IP
Second.
.TP
\fB\-q\fP
Say less.
.PP
.sp
\fB\-x\fP
.RS 4
Asciidoctor.
.RE
.sp
After.
.nf
  code   here
.fi
.IP \(bu 2
one
.TS
l l.
a	b
.TE
.SS Sub
.so man1/other.1
end \e
"""
MDOC = r""".Dd May 6, 2024
.Dt BEES 8
.Sh NAME
.Nm bees
.Nd keep them
.Sh OPTIONS
.Nm
.Op Fl v Ar level
.Bl -tag
.It Fl q , Fl Fl quiet
Say less, see
.Xr honey 1 .
.El
Done.
"""


def page(tmp_path: Path, text: str | bytes) -> list[str]:
    (tmp_path / "a.1").write_bytes(text.encode() if isinstance(text, str) else text)
    blocks = packages.read(read, tmp_path / "a.1")[1]
    return [f"{SHORT[b.kind]}{b.level or ''}{'/1' if b.depth else ''} {b.text.rstrip()}" for b in blocks]


def test_man(tmp_path: Path) -> None:
    expected = [
        "H1 bees(1)", "H2 NAME", "T bees - keep them", "H2 SEE ALSO", "T bees(1), honey “wax” it's bold café.", "T Next.",
        "S -v , --verbose", "T/1 Say more.", "T/1 Second.", "S -q", "T/1 Say less.", "S -x", "T/1 Asciidoctor.",
        "T After.", "C   code   here", "L1 • one", "R a | b", "H3 Sub", "T end \\",
    ]  # fmt: skip
    assert page(tmp_path, MAN) == expected
    facts = packages.read(read, tmp_path / "a.1")[0]
    assert (facts.title, facts.date) == ("bees(1)", "2024-05-06")
    assert page(tmp_path, gzip.compress(MAN.encode())) == expected


def test_mdoc(tmp_path: Path) -> None:
    assert page(tmp_path, MDOC) == [
        "H1 bees(8)", "H2 NAME", "T bees — keep them", "H2 OPTIONS", "T bees [-v level]", "S -q, --quiet",
        "T/1 Say less, see honey 1.", "T Done.",
    ]  # fmt: skip


def test_refused(tmp_path: Path) -> None:
    for data in (b"just text", gzip.compress(b".TH A 1\n")[:12], gzip.compress(b" " * 70_000_000)):
        (tmp_path / "a.1").write_bytes(data)
        with pytest.raises(Unreadable, match="damaged|no manual page|unpacks to more"):
            list(read(tmp_path / "a.1", Limits()))
    assert not is_page(b"ELF a library called .so.1")


@pytest.mark.parametrize(
    ("text", "words"), [('a "b c" d', ["a", "b c", "d"]), ('"open', ["open"]), (r"a\ b", ["a\u00a0b"]), ('a \\" b', ["a"])]
)  # fmt: skip
def test_split(text: str, words: list[str]) -> None:
    assert split(text) == words


@pytest.mark.parametrize(
    ("text", "result"), [(r"\[u00E9]\[uD800]", "é"), (r"\s+2big\s0", "big"), (r"a\h'2n'b", "ab"), ("\\", "\\"), (r"a\"b", "a")]
)  # fmt: skip
def test_plain(text: str, result: str) -> None:
    assert plain(text) == result
