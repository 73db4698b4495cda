"""Manual pages (.1 to .9, .man, also .gz): sections, options with what is said of them, examples.

Both macro packages are read, ``man`` (man(7)) and ``mdoc`` (mdoc(7)). No macro is run and no other page is included.
"""

from __future__ import annotations

import gzip
import re
import shlex
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.charsets import decoded
from searchapp.corpus.formats.parts import Part, compose
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from searchapp.errors import reason_of

MIME = "text/troff"
_FONTS = frozenset("B I R BI IB BR RB IR RI SM SB".split())
_PARAGRAPHS = frozenset("PP P LP HP Pp sp RE Lp Bl El".split())
_BEGIN_CODE, _END_CODE = frozenset(("nf", "EX", "EQ", "Bd", "TS")), frozenset(("fi", "EE", "EN", "Ed", "TE"))
# Macros of mdoc that may stand in a line, and what they put before and after their words.
_INLINE = {
    "Fl": ("-", ""), "Ar": ("", ""), "Nm": ("", ""), "Op": ("[", "]"), "Xr": ("", ""), "Pa": ("", ""), "Cm": ("", ""),
    "Ic": ("", ""), "Li": ("", ""), "Em": ("", ""), "Sy": ("", ""), "Dq": ("“", "”"), "Sq": ("‘", "’"),  # noqa: RUF001
    "Ql": ("‘", "’"), "Pq": ("(", ")"), "Bq": ("[", "]"), "Brq": ("{", "}"), "Aq": ("<", ">"), "Ev": ("", ""),  # noqa: RUF001
    "Va": ("", ""), "Vt": ("", ""), "Fa": ("", ""), "Fn": ("", "()"), "Ft": ("", ""), "Dv": ("", ""), "Er": ("", ""),
    "An": ("", ""), "Ns": ("", ""), "Ad": ("", ""), "Tn": ("", ""), "Bx": ("BSD ", ""), "Fx": ("FreeBSD ", ""),
    "Nx": ("NetBSD ", ""), "Ox": ("OpenBSD ", ""), "Ux": ("UNIX", ""), "At": ("AT&T UNIX ", ""), "St": ("", ""),
    "Qq": ('"', '"'), "Nd": ("— ", ""), "In": ("<", ">"), "Fd": ("", ""), "Lk": ("", ""), "Mt": ("", ""),
    "Oo": ("[", ""), "Oc": ("]", ""), "Po": ("(", ""), "Pc": (")", ""), "Bo": ("[", ""), "Bc": ("]", ""),
    "No": ("", ""), "Ao": ("<", ""), "Ac": (">", ""), "Do": ("“", ""), "Dc": ("”", ""), "Ms": ("", ""), "Cd": ("", ""),
}  # fmt: skip
_SIGNS = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "en": "–", "em": "—", "hy": "-", "bu": "•",  # noqa: RUF001
    "co": "©", "rg": "®", "tm": "™", "ti": "~", "ha": "^", "rs": "\\", "ga": "`", "lB": "[", "rB": "]", "lC": "{",
    "rC": "}", "la": "<", "ra": ">", "<=": "≤", ">=": "≥", "mu": "×", "+-": "±", "->": "→", "<-": "←", "ss": "ß",  # noqa: RUF001
    "Fo": "«", "Fc": "»", "at": "@", "sh": "#", "Do": "$", "ba": "|", "sl": "/", "ul": "_", "pc": "·", "de": "°",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:f(?:\[[^\]]*\]|\(..|.)|s(?:[-+]?[0-9]{1,2}|\[[^\]]*\]|\([-+]?..)|\*?\[(?P<long>[^\]]*)\]|\*?\((?P<short>..)"
    r"|\*.|[mM](?:\[[^\]]*\]|.)|[hvwNoDl]'(?P<arg>[^']*)'|(?P<one>.))"
)
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", "~": "\u0303", ",": "\u0327"}
_ONE = {
    "-": "-",
    "e": "\\",
    "\\": "\\",
    " ": " ",
    "~": " ",
    "0": " ",
    "'": "'",
    "`": "`",
    ".": ".",
    "t": "\t",
    "E": "\\",
}
_PAGE = re.compile(rb"^[.']\s*(?:TH|Dd|Dt|so)\b", re.MULTILINE)


def is_page(head: bytes) -> bool:
    """Whether the start of a file is that of a manual page: endings such as ``.1`` say little."""
    return _PAGE.search(head) is not None


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the title of a manual page, such as ``ls(1)``, then its blocks; an option is a definition."""
    data = _unpacked(path.read_bytes(), limits)
    if not is_page(data[:65_536]):
        raise Unreadable("no manual page (has no .TH or .Dd)")
    page = _Page()
    for line in decoded(data).splitlines():
        page.read(line)
    page.flush()
    yield Facts(title=page.title, date=page.date, mime=MIME)
    # The page's name stands above all sections: every page has a section called OPTIONS.
    heading = [Part(BlockKind.HEADING, page.title, 1)] if page.title else []
    yield from compose(heading + page.parts, Composer(limits))


def _unpacked(data: bytes, limits: Limits) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        whole = unpacker.decompress(data, min(limits.unpacked, 64_000_000))
    except (zlib.error, gzip.BadGzipFile) as error:
        raise Unreadable(f"damaged: {reason_of(error)}") from None
    if unpacker.unconsumed_tail:
        raise Unreadable("unpacks to more than 64,000,000 bytes")
    return whole


class _Page:
    """Reads the lines of a page."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.title = self.date = ""
        self._held: list[str] = []
        self._code = self._skipped = self._tag = self._item = False
        self._table = 0  # 1: in the formats of a table, 2: in its rows
        self._depth = 0
        self._name = ""

    def read(self, line: str) -> None:
        if self._skipped:
            self._skipped = line.replace(" ", "").rstrip() != ".."
        elif line[:1] == "." or (line[:1] == "'" and line[1:2].isalpha()):
            name, _, rest = line[1:].strip().partition(" ")
            self._macro(name, rest.strip())
        elif self._table == 1:
            self._table += line.rstrip().endswith(".")
        elif self._table:
            if cells := [plain(cell) for cell in line.split("\t") if cell not in ("T{", "T}", "_", "=")]:
                self.parts.append(Part(BlockKind.TABLE_ROW, " | ".join(cells).strip(), depth=self._depth))
        elif not line.strip() and not self._code:
            self.flush()
        elif line.startswith("'\\\""):
            return  # which preprocessors the page needs
        else:
            self._add(plain(line))

    def flush(self) -> None:
        """Complete the paragraph, the example or the tag that is open."""
        held, self._held = self._held, []
        if self._code:
            text = "\n".join(line.rstrip() for line in held).strip("\n")
            kind = BlockKind.CODE
        else:
            text = " ".join(" ".join(held).split())
            kind = BlockKind.LIST_ITEM if self._item else BlockKind.TEXT
        self._item = False
        if not text.strip():
            return
        if self._tag:
            self._tag = False
            self.parts.append(Part(BlockKind.SIGNATURE, text))
            self._depth = 1
        else:
            self.parts.append(Part(kind, text, int(kind is BlockKind.LIST_ITEM), self._depth))

    def _add(self, text: str) -> None:
        self._held.append(text)
        if self._tag and text.strip():
            self.flush()

    def _heading(self, text: str, level: int) -> None:
        self.flush()
        self._depth = 0
        if text:
            self.parts.append(Part(BlockKind.HEADING, text, level + 1))

    def _named(self, macro: str, words: list[str]) -> None:
        self.title = f"{words[0].lower()}({words[1]})" if len(words) > 1 else "".join(words[:1]).lower()
        if macro == "TH" and len(words) > 2 and words[2][:4].isdecimal():
            self.date = words[2]

    def _macro(self, name: str, rest: str) -> None:
        if name.startswith('\\"') or not name:
            return
        if name in ("TH", "Dt"):
            self._named(name, [plain(word) for word in split(rest)])
        elif name in ("SH", "Sh", "SS", "Ss"):
            self._heading(" ".join(plain(word) for word in split(rest)), 1 if name[1] in "Hh" else 2)
        elif name in _PARAGRAPHS:
            self.flush()
            self._depth = 0 if name in ("PP", "P", "LP", "RE", "El") else self._depth
        elif name == "RS":
            self._indent()
        elif name in _BEGIN_CODE:
            self.flush()
            self._code, self._table = name != "TS", int(name == "TS")
        elif name in _END_CODE:
            self.flush()
            self._code, self._table = False, 0
        elif name in ("de", "ig", "am"):
            self._skipped = True
        elif name in ("TP", "TQ"):
            self.flush()
            self._tag, self._depth = True, 0
        elif name in ("IP", "It"):
            self._tagged(name, rest)
        else:
            self._words(name, rest)

    def _indent(self) -> None:
        """What is indented below an option is about it."""
        self.flush()
        if self.parts and self.parts[-1].kind is BlockKind.TEXT and self.parts[-1].text.startswith("-"):
            self.parts[-1] = Part(BlockKind.SIGNATURE, self.parts[-1].text)
            self._depth = 1

    def _tagged(self, name: str, rest: str) -> None:
        self.flush()
        words = split(rest)
        tag = _mdoc(words, self._name) if name == "It" else plain(words[0]) if words else ""
        if tag in ("•", "*", "-", "o", "·", "–") or not tag or tag.rstrip(".)").isdecimal():  # noqa: RUF001 - a dash
            self._held.append(tag)
            self._item = bool(tag)
            return
        self._depth, self._tag = 0, True
        self._add(tag)

    def _words(self, name: str, rest: str) -> None:
        """A line of words in some font; what no macro is known for is passed over."""
        if name in _FONTS:
            words = [plain(word) for word in split(rest)]
            self._add((" " if len(name) == 1 or name in ("SM", "SB") else "").join(words))
        elif name in ("UR", "MT", "UE", "ME", "URL", "MTO"):
            self._add(" ".join(word for word in map(plain, split(rest)) if word))
        elif name in ("if", "ie") and rest.startswith("n ") and not rest.startswith("n \\{"):
            self.read(rest[2:].strip()) if not rest[2:].strip().startswith((".if", ".ie")) else None
        elif name in _INLINE:
            words = split(rest)
            if name == "Nm" and words and not self._name:
                self._name = plain(words[0])
            self._add(_mdoc([name, *words], self._name))


def _mdoc(words: list[str], page: str) -> str:
    """A line of mdoc as text: macros in it put signs around what follows them."""
    texts: list[str] = []
    closing: list[str] = []
    glue = ""
    for place, word in enumerate(words):
        if word in _INLINE:
            before, after = _INLINE[word]
            if word == "Nm" and (place + 1 == len(words) or words[place + 1] in _INLINE):
                texts.append(page)
            glue += before
            if after:
                closing.append(after)
        elif word in (".", ",", ":", ";", ")", "]", "?", "!") and texts:
            texts[-1] += "".join(reversed(closing)) + word
            closing.clear()
        else:
            texts.append(glue + plain(word))
            glue = ""
    if closing or glue:
        texts.append(texts.pop() + glue + "".join(reversed(closing)) if texts else glue + "".join(reversed(closing)))
    return " ".join(text for text in texts if text)


def split(text: str) -> list[str]:
    """The arguments of a macro: words, and what stands in double quotes."""
    text = re.sub(r'(?<!\\)\\".*', "", text)
    reader = shlex.shlex(text.replace("\\ ", "\u00a0"), posix=True, punctuation_chars=False)
    reader.whitespace_split, reader.commenters, reader.quotes, reader.escape = True, "", '"', ""
    try:
        return list(reader)
    except ValueError:  # a quotation that does not end
        return text.replace('"', "").split()


def plain(text: str) -> str:
    """Text without the escapes of roff."""
    return _ESCAPE.sub(_sign, re.sub(r'\\["#].*', "", text)) if "\\" in text else text


def _sign(found: re.Match[str]) -> str:
    name = found["long"] or found["short"]
    if name:
        if re.fullmatch(r"u[0-9A-F]{4,5}", name):
            point = int(name[1:], 16)
            return chr(point) if point < 0xD800 or point > 0xDFFF else ""
        if name[0] in _ACCENTS and len(name) == 2 and name[1].isalpha():
            return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
        return _SIGNS.get(name, "")
    return _ONE.get(found["one"] or "", "")
