"""Subtitles: what is said once, with the time at which it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus.formats.reading import Limits, Unreadable
from searchapp.corpus.formats.subtitles import read
from tests.corpus.formats import packages


def said(tmp_path: Path, data: bytes) -> list[tuple[str, object]]:
    (tmp_path / "a.srt").write_bytes(data)
    return [(b.text.rstrip(), (b.where or {})["time"]) for b in packages.read(read, tmp_path / "a.srt")[1]]


def test_captions_are_joined_until_a_pause(tmp_path: Path) -> None:
    srt = (
        "1\n00:00:01,000 --> 00:00:02,500\n<i>Bees</i> fly\nand {\\an8}hum.\n\n"
        "2\n00:00:03,000 --> 00:00:04,000\n4\n3\n00:00:04,000 --> 00:00:05,000\nYes &amp; no.\n\n"
        "4\n01:02:03,000 --> 01:02:04,000\nLater\n"
    )
    expected = [("Bees fly and hum. 4 Yes & no.", "00:00:01"), ("Later", "01:02:03")]
    assert said(tmp_path, srt.encode()) == expected
    assert said(tmp_path, srt.replace("\n", "\r\n").encode("utf-16")) == expected


def test_web_captions(tmp_path: Path) -> None:
    vtt = (
        "WEBVTT - title\n\nNOTE a --> note\nof two lines\n\nSTYLE\n::cue { color: red }\n\nintro\n00:01.000 --> 00:02.000 align:start\n"
        "<v.loud Ann>Hello <c.x>there</c>\n\n00:02.000 --> 00:03.000\nHello again\n\n00:03.000 --> 00:04.000\nHello again\nnew\n"
    )
    assert said(tmp_path, vtt.encode()) == [("Ann: Hello there Hello again new", "00:00:01")]


def test_a_long_speech_is_parted_at_sentences_or_at_last_anywhere(tmp_path: Path) -> None:
    srt = "".join(
        f"{n}\n00:00:{n:02},000 --> 00:00:{n + 1:02},000\nword{n} {'x' * 90}{'.' * (n % 2)}\n\n" for n in range(40)
    )
    parts = said(tmp_path, srt.encode())
    assert all(300 < len(text) <= 700 for text, _ in parts[:-1])
    assert all(text.endswith(".") for text, _ in parts[:-1])
    assert " ".join(text for text, _ in parts).count("word") == 40
    run = srt.replace(".\n", "\n")
    assert all(600 < len(text) < 800 for text, _ in said(tmp_path, run.encode())[:-1])


def test_old_encodings(tmp_path: Path) -> None:
    assert said(tmp_path, "00:00:01,000 --> 00:00:02,000\ncafé".encode("latin-1")) == [("café", "00:00:01")]


@pytest.mark.parametrize("data", [b"", b"text\n", bytes(100)])
def test_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.srt").write_bytes(data)
    with pytest.raises(Unreadable, match="no captions"):
        list(read(tmp_path / "a.srt", Limits()))
