"""Subtitles (.srt, .vtt): what is said, in paragraphs that know when they begin.

Source: WebVTT (W3C 2019). Left out: styles, positions, notes, and lines that the next caption repeats.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.charsets import decoded
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable

_TIME = r"(?:([0-9]{1,3}):)?([0-9]{1,2}):([0-9]{2})[.,]([0-9]{1,3})"
_CUE = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>")
_TAG = re.compile(r"</?[a-zA-Z0-9][^>]{0,200}>|\{\\[^}]{0,200}\}")
_SENTENCE = (".", "!", "?", "…", "。", "！", "？", '."', ".”", "♪")  # noqa: RUF001
_PAUSE = 4.0  # seconds of silence that end a paragraph
_LONG, _LONGEST = 300, 600  # characters from which on a paragraph ends at a sentence, or at any caption


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a file of captions, then its paragraphs with ``{"time": "00:01:02"}``, when they begin."""
    lines = decoded(path.read_bytes()).splitlines()
    is_vtt = bool(lines) and lines[0].startswith("WEBVTT")
    if not is_vtt and not any(_CUE.match(line) for line in lines[:1_000]):
        raise Unreadable("damaged: no captions (no line with “-->”)")
    yield Facts(mime="text/vtt" if is_vtt else "application/x-subrip")
    composer = Composer(limits)
    held: list[str] = []
    began = ended = 0.0
    for begin, end, captions in _captions(lines):
        text = " ".join(held)
        pause = begin - ended > _PAUSE
        long = len(text) > _LONGEST or (len(text) > _LONG and text.endswith(_SENTENCE))
        if held and (pause or long):
            yield composer.block(BlockKind.TEXT, text, where={"time": _clock(began)})
            held = []
        if not held:
            began = begin
        held += [line for line in captions if line not in held[-2:]]
        ended = end
    if held:
        yield composer.block(BlockKind.TEXT, " ".join(held), where={"time": _clock(began)})


def _captions(lines: list[str]) -> Iterator[tuple[float, float, list[str]]]:
    """Yield begin and end of each caption in seconds, and its lines."""
    place = 0
    while place < len(lines):
        cue = _CUE.match(lines[place])
        place += 1
        if not cue:
            continue
        found: list[str] = []
        while place < len(lines) and lines[place].strip() and not _CUE.match(lines[place]):
            if text := _spoken(lines[place]):
                found.append(text)
            place += 1
        if place < len(lines) and _CUE.match(lines[place]) and found and found[-1].isdecimal():
            found.pop()  # the number of the next caption, without a blank line before it
        if found:
            yield _seconds(cue.groups()[:4]), _seconds(cue.groups()[4:]), found


def _spoken(line: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", _VOICE.sub(r"\1: ", line))).split())


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, rest = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{rest}")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
