r"""Rich Text Format (.rtf): paragraphs, headings, lists, tables and footnotes. Source: RTF Specification 1.9.1.

Left out: pictures, objects, fields' instructions, page headers and footers, deleted text, and destinations that are not
known (``\*``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.parts import Part, Parts, compose
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from searchapp.corpus.formats.rtf_words import CHARACTERS, CHARSETS, Mark, codec_of, marks, text_share
from searchapp.unicode import find_surrogate

MARK = b"{\\rtf"
# Destinations of which the text is no text of the document.
_SKIPPED = frozenset(
    "colortbl pict object header headerl headerr headerf footer footerl footerr footerf fldinst themedata datastore "
    "listtable listoverridetable rsidtbl generator latentstyles xmlnstbl bkmkstart bkmkend nonshppict private1 filetbl "
    "revtbl pgdsctbl colorschememapping template xe tc rxe txe atnid atnauthor annotation falt panose listpicture "
    "fchars lchars userprops operator company keywords comment doccomm "
    "manager category hlinkbase mmathPr wgrffmtfilter "
    "objdata objclass objname objsect shpinst sp sn sv ftnsep ftnsepc ftncn aftnsep aftnsepc aftncn pgptbl".split()
)
_KNOWN = frozenset(("shptxt", "fldrslt", "footnote", "listtext", "pntext", "stylesheet", "cs"))  # behind \*
_HEADING = re.compile(r"\s*heading ([1-9])\b", re.IGNORECASE)
_PLACES = {"fonttbl": "fonts", "stylesheet": "styles", "title": "title", "author": "author", "creatim": "date"}
_BREAKS = frozenset(("par", "sect", "page", "column"))


@dataclass(slots=True)
class _Group:
    """What holds inside braces; a group within begins with a copy."""

    codec: str = "cp1252"
    after_unicode: int = 1  # characters that stand for a \u where that is not understood
    place: str = "text"  # text, fonts, styles, title …, skipped
    hidden: bool = False
    style: int | None = None
    level: int = 0  # of a heading, from 1
    in_table: bool = False
    is_item: bool = False
    font: int = 0


@dataclass(slots=True)
class _Reader:
    """The document on its way to parts."""

    limits: Limits
    parts: Parts = field(default_factory=Parts)
    group: _Group = field(default_factory=_Group)
    outer: list[_Group] = field(default_factory=list)
    default: str = "cp1252"  # the code page of the document
    fonts: dict[int, str] = field(default_factory=dict)
    styles: dict[int, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    moment: dict[str, int] = field(default_factory=dict)  # when it was made
    text: list[str] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)  # of the group's code page
    skip: int = 0  # characters that stand for a \u before them
    high: int = 0  # the first half of a character beyond 16 bits
    star: bool = False  # the next word names a destination that may be passed over
    in_row: bool = False
    in_cell: bool = False
    notes: list[int] = field(default_factory=list)  # the depth of each footnote that is open

    def take(self, mark: Mark) -> None:
        """Take the next mark."""
        if mark.data:
            self._data(mark.data)
        elif mark.word == "{":
            self._flush()
            self.outer.append(self.group)
            if len(self.outer) > self.limits.depth:
                raise Unreadable(f"groups nested more than {self.limits.depth} deep")
            self.group = replace(self.group)
            self.star = False
        elif mark.word == "}":
            self._close()
        elif mark.word == "*":
            self.star = True
        else:
            self._flush()
            self._word(mark.word, mark.number)
            self.star = False

    def finish(self) -> None:
        """The end of the file: what is open is complete."""
        self._flush()
        while self.notes:
            self._end_note()
        self._paragraph()
        self._end_row()

    def _data(self, data: bytes) -> None:
        taken = min(self.skip, len(data))
        self.skip -= taken
        if taken < len(data):
            self.waiting.append(data[taken:])

    def _flush(self) -> None:
        """Decode the bytes that wait: a character may have two, written in any way."""
        if self.waiting:
            data = b"".join(self.waiting)
            self.waiting.clear()
            self._put(data.decode(self.group.codec, "replace"))

    def _put(self, text: str) -> None:
        group = self.group
        if group.place == "text" and not group.hidden:
            self.text.append(text)
        elif group.place in ("title", "author"):
            self.facts[group.place] = self.facts.get(group.place, "") + text
        elif group.place == "styles" and group.style is not None:
            self.styles[group.style] = self.styles.get(group.style, "") + text

    def _close(self) -> None:
        self._flush()
        self.skip = 0
        if self.notes and self.notes[-1] == len(self.outer):
            self._end_note()
        if self.outer:
            self.group = self.outer.pop()

    def _word(self, word: str, number: int | None) -> None:
        group = self.group
        if word in _PLACES:
            group.place, group.style = _PLACES[word], (0 if word == "stylesheet" else group.style)
        elif word in _SKIPPED or (self.star and word not in _KNOWN):
            group.place = "skipped"
        elif group.place == "skipped":
            pass
        elif word == "u" and number is not None:
            self._unicode(number % 65_536)
        elif word in CHARACTERS:
            self._put(CHARACTERS[word])
        elif group.place == "date":
            if number is not None:
                self.moment[word] = number
        elif not self._set(word, number if number is not None else 1):
            self._structure(word, number)

    def _unicode(self, code: int) -> None:
        self.skip = self.group.after_unicode
        if 0xD800 <= code < 0xDC00:
            self.high = code
        elif 0xDC00 <= code < 0xE000 and self.high:
            self._put(chr(0x10000 + ((self.high - 0xD800) << 10) + code - 0xDC00))
            self.high = 0
        else:
            self._put(chr(code))

    def _set(self, word: str, number: int) -> bool:
        """A word that sets what holds in the group; whether it is one."""
        group = self.group
        match word:
            case "uc":
                group.after_unicode = max(0, number)
            case "v":
                group.hidden = number != 0
            case "deleted":
                group.hidden = True
            case "s":
                group.style = number
            case "outlinelevel":
                group.level = number + 1 if number < 9 else 0
            case "intbl":
                group.in_table = True
            case "ls":
                group.is_item = True
            case "listtext" | "pntext":
                group.place = "skipped"
                if self.outer:
                    self.outer[-1].is_item = True
            case _:
                return self._set_codec(word, number)
        return True

    def _set_codec(self, word: str, number: int) -> bool:
        """A word that says what bytes mean; whether it is one."""
        group = self.group
        match word:
            case "ansicpg":
                self.default = group.codec = codec_of(number)
            case "mac" | "pc" | "pca":
                self.default = group.codec = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word]
            case "f":
                group.font = number
                if group.place != "fonts":
                    group.codec = self.fonts.get(number, self.default)
            case "fcharset":
                if number in CHARSETS and number != 0:
                    self.fonts[group.font] = CHARSETS[number]
            case "plain":
                group.hidden, group.codec = False, self.default
            case _:
                return False
        return True

    def _structure(self, word: str, number: int | None) -> None:
        """A word that begins or ends a paragraph, a cell, a row."""
        group = self.group
        if word == "pard":
            group.style, group.level, group.in_table, group.is_item = None, 0, False, False
        elif word in _BREAKS and group.place == "text":
            self._paragraph()
        elif word in ("cell", "nestcell"):
            self._open_cell()
            self._paragraph()
            self.parts.close_cell()
            self.in_cell = False
        elif word == "row":
            self._end_row()
        elif word == "footnote":
            self.notes.append(len(self.outer))
            self.text.append("\0")  # where the paragraph goes on behind the note

    def _paragraph(self) -> None:
        """The paragraph at hand is complete."""
        text = "".join(self.text)
        self.text.clear()
        kind, level = BlockKind.TEXT, 0
        if heading := _HEADING.match(self.styles.get(self.group.style or 0, "")):
            kind, level = BlockKind.HEADING, int(heading[1])
        elif self.group.level:
            kind, level = BlockKind.HEADING, self.group.level
        elif self.group.is_item:
            kind, level = BlockKind.LIST_ITEM, 1
        if self.group.in_table:
            self._open_cell()
            kind, level = BlockKind.TEXT, 0
        else:
            self._end_row()
        lines = [" ".join(line.split()) for line in text.replace("\0", "").split("\n")]
        if found := "\n".join(line for line in lines if line):
            if kind is BlockKind.HEADING:
                found = found.replace("\n", " ")
            self.parts.put(Part(kind, found, level))

    def _end_note(self) -> None:
        """A footnote is complete: it stands as a paragraph behind the one it is a note to, hence before its end."""
        self.notes.pop()
        text = "".join(self.text)
        before, _, note = text.rpartition("\0")
        note = " ".join(note.split())
        self.text[:] = [f"{before.rstrip()} ({note})" if note else before]

    def _open_cell(self) -> None:
        if not self.in_row:
            self.parts.open_table()
            self.parts.open_row()
        if not self.in_cell:
            self.parts.open_cell()
        self.in_row = self.in_cell = True

    def _end_row(self) -> None:
        if self.in_cell:
            self.parts.close_cell()
        if self.in_row:
            self.parts.close_row()
            self.parts.close_table()
        self.in_row = self.in_cell = False


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a document, then its blocks. Raises Unreadable where it is none, or nested too deep."""
    data = path.read_bytes()
    if not data.lstrip()[:5] == MARK:
        raise Unreadable("damaged, or no RTF")
    if len(data) > limits.characters:
        limits.check_expected(text_share(data) * len(data))
    reader = _Reader(limits)
    composer = Composer(limits)
    told = False
    for mark in marks(data):
        reader.take(mark)
        if reader.parts.ready and not told:
            yield _facts(reader)
            told = True
        if len(reader.parts.ready) > 100:
            yield from compose(_clean(reader.parts.take()), composer)
    reader.finish()
    if not told:
        yield _facts(reader)
    yield from compose(_clean(reader.parts.take()), composer)


def _facts(reader: _Reader) -> Facts:
    moment = [reader.moment.get(name, 0) for name in ("yr", "mo", "dy")]
    date = "-".join(f"{part:02d}" for part in moment) if all(moment) else ""
    title, author = (" ".join(reader.facts.get(name, "").split()) for name in ("title", "author"))
    return Facts(title, author, date, mime="application/rtf")


def _clean(parts: list[Part]) -> list[Part]:
    """Parts without NULs and halves of characters."""
    return [
        part
        if "\0" not in part.text and find_surrogate(part.text) is None
        else part._replace(text=part.text.replace("\0", "").encode("utf-8", "replace").decode())
        for part in parts
    ]
