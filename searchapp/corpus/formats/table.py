"""The table of formats: which files there are readers for, and what each reader needs.

A file's format is told by the ending of its name, and by its content where that says otherwise (``recognise``).
"""

from __future__ import annotations

import platform
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HEAD = 1024  # bytes at the start of a file in which its signature is looked for
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # old Word, Excel and PowerPoint; newer ones with a password
PDF_MARK, ZIP_MARK = b"%PDF-", b"PK\x03\x04"
NEEDS = "needs `"  # in the reason why a file is skipped of which the reader is not installed
_HELD = 1_000_000_000  # bytes of a file that is held once; a process that reads has 1 GiB
_PAGE_MARKS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml-stylesheet")


@dataclass(frozen=True, slots=True)
class Format:
    """A format: ``name`` as in options, ``label`` as in messages, ``mime``, ``endings`` with their dots.

    ``reader`` is ``module:function``. An ``isolated`` one is a ``reading.Reader`` and runs in a process of its own.
    ``is_cut``: the file is a text that is cut into passages; else a table of records. ``has_lines``: lines that blocks
    count are those of the file. ``signature`` says whether the first bytes are of this format; None where nothing does.
    ``members`` are files inside a ZIP file that tell it, or what its member ``mimetype`` says; ``pattern`` is that
    of the name of one.

    ``version`` is raised when the same file gives other blocks. ``library`` is the distribution that reads it and
    ``module`` its module, of the extra ``extra``; ``optional``: without it, the standard library does. ``largest`` are
    the bytes of a file that its reader can hold in its memory, whatever is in it; 0: it does not hold it whole.
    """

    name: str
    label: str
    mime: str
    endings: tuple[str, ...]
    reader: str
    isolated: bool = True
    is_cut: bool = True
    has_lines: bool = False
    signature: Callable[[bytes], bool] | None = None
    members: tuple[str, ...] = ()
    pattern: str = ""
    version: int = 1
    library: str = ""
    module: str = ""
    extra: str = ""
    optional: bool = False
    largest: int = 0

    @property
    def is_installed(self) -> bool:
        """Whether all that its reader needs is here."""
        return not self.module or self.optional or _is_there(self.module)

    @property
    def command(self) -> str:
        """The command that installs what its reader needs."""
        return f"pip install 'searchapp[{self.extra}]'"

    @property
    def fingerprint(self) -> str:
        """The reader, its version and that of its library: the same file may give other blocks when it changes."""
        name = f"{self.name} {self.version}"
        if self.library and _is_there(self.module):
            return f"{name} {self.library} {_release(self.library)}"
        return f"{name} python {'.'.join(platform.python_version_tuple()[:2])}" if self.isolated else name

    def load(self) -> Any:
        """The function that reads it."""
        module, _, function = self.reader.partition(":")
        return getattr(import_module(module), function)


def _starts(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(marks)


def _holds(mark: bytes) -> Callable[[bytes], bool]:
    return lambda head: mark in head


def _is_page(head: bytes) -> bool:
    """Whether bytes begin an HTML page, past a byte order mark, comments and an XML declaration."""
    return any(mark in head.replace(b"\0", b"").lower() for mark in _PAGE_MARKS)


_HERE = "searchapp.corpus"
_NOTION = r".*[ _][0-9a-f]{32}(?:_all)?\.(?:md|csv)$|ExportBlock-[0-9a-f-]{36}(?:-Part-[0-9]+)?\.zip$"
_OOXML = "application/vnd.openxmlformats-officedocument"
_ODF = "application/vnd.oasis.opendocument"
_CODE = (
    ".py .pyi .pyw .js .jsx .mjs .cjs .ts .mts .cts .tsx .java .c .h .cc .cpp .cxx .hpp .hh .hxx .go .rs .cs .rb .php "
    ".sh .bash"
).split()
FORMATS: tuple[Format, ...] = (
    Format("text", "text", "text/plain", (".txt",), "", isolated=False, has_lines=True),
    Format("markdown", "Markdown", "text/markdown", (".md",), "", isolated=False, has_lines=True),
    Format("rst", "reStructuredText", "text/x-rst", (".rst",), "", isolated=False, has_lines=True),
    Format("org", "Org", "text/org", (".org",), "", isolated=False, has_lines=True),
    Format("asciidoc", "AsciiDoc", "text/asciidoc", (".adoc", ".asciidoc"), "", isolated=False, has_lines=True),
    Format("latex", "LaTeX", "text/x-tex", (".tex",), "", isolated=False, has_lines=True),
    Format("log", "log", "text/plain", (".log",), "", isolated=False, has_lines=True),
    Format(
        "jsonl", "JSONL", "application/jsonl", (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz"),
        f"{_HERE}.jsonl:read_jsonl", isolated=False, is_cut=False,
    ),
    Format(
        "parquet", "Parquet", "application/vnd.apache.parquet", (".parquet",), f"{_HERE}.parquet:read_parquet",
        isolated=False, is_cut=False,
    ),
    Format(
        "csv", "CSV", "text/csv", (".csv", ".csv.gz"), f"{_HERE}.delimited:read_csv", isolated=False, is_cut=False
    ),
    Format(
        "tsv", "TSV", "text/tab-separated-values", (".tsv", ".tsv.gz"), f"{_HERE}.delimited:read_tsv",
        isolated=False, is_cut=False,
    ),
    Format(
        "pdf", "PDF", "application/pdf", (".pdf",), f"{_HERE}.formats.pdf:read_pdf", signature=_holds(PDF_MARK),
        library="pypdfium2", module="pypdfium2", extra="files",
    ),
    Format(
        "html", "HTML", "text/html", (".html", ".htm", ".xhtml"), f"{_HERE}.formats.html:read_html",
        signature=_is_page, library="selectolax", module="selectolax", extra="files", optional=True,
        largest=400_000_000,  # each byte takes 2.6 of memory: itself, decoded, as blocks
    ),
    Format(
        "word", "Word", f"{_OOXML}.wordprocessingml.document", (".docx", ".docm", ".dotx", ".dotm"),
        f"{_HERE}.formats.docx:read", members=("word/document.xml",),
    ),
    Format(
        "odf", "OpenDocument", f"{_ODF}.text", (".odt", ".ott", ".odp", ".otp", ".fodt", ".fodp"),
        f"{_HERE}.formats.odf:read",
        members=(f"{_ODF}.text", f"{_ODF}.text-template", f"{_ODF}.presentation", f"{_ODF}.presentation-template"),
    ),
    Format(
        "slides", "PowerPoint", f"{_OOXML}.presentationml.presentation", (".pptx", ".pptm", ".ppsx", ".potx"),
        f"{_HERE}.formats.slides:read", members=("ppt/presentation.xml",),
    ),
    Format(
        "sheet", "spreadsheet", f"{_OOXML}.spreadsheetml.sheet", (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
        f"{_HERE}.formats.sheets:read", members=("xl/workbook.xml", "xl/workbook.bin", f"{_ODF}.spreadsheet"),
        library="python-calamine", module="python_calamine", extra="files", largest=_HELD,
    ),
    Format("rtf", "RTF", "application/rtf", (".rtf",), f"{_HERE}.formats.rtf:read", signature=_starts(b"{\\rtf"),
           largest=_HELD),
    Format("epub", "EPUB", "application/epub+zip", (".epub",), f"{_HERE}.formats.epub:read",
           members=("application/epub+zip",)),
    Format("mail", "e-mail", "message/rfc822", (".eml",), f"{_HERE}.formats.mail:read", largest=_HELD),
    Format("mbox", "mailbox", "application/mbox", (".mbox",), f"{_HERE}.formats.mbox:read"),
    Format("notebook", "notebook", "application/x-ipynb+json", (".ipynb",), f"{_HERE}.formats.notebook:read",
           largest=_HELD),
    Format("subtitles", "subtitles", "text/vtt", (".srt", ".vtt"), f"{_HERE}.formats.subtitles:read", largest=_HELD),
    # The pages as they are installed; an ending such as .1 alone says too little.
    Format("man", "manual page", "text/troff", (".man", *(f".{section}.gz" for section in range(1, 9))),
           f"{_HERE}.formats.man:read"),
    Format("code", "source code", "text/plain", (*_CODE,), f"{_HERE}.formats.code:read", has_lines=True,
           library="tree-sitter", module="tree_sitter", extra="code", optional=True, largest=_HELD),
    Format("warc", "web archive", "application/warc", (".warc", ".warc.gz"), f"{_HERE}.formats.warc:read",
           library="warcio", module="warcio", extra="web"),
    # Without an ending: read where they are asked for, as by --include '*.zip=archive'.
    Format("archive", "archive", "application/zip", (), f"{_HERE}.formats.archives:read"),
    Format("slack", "Slack export", "application/zip", (), f"{_HERE}.formats.chats:read_slack",
           members=("channels.json",)),
    Format("notion", "Notion export", "application/zip", (), f"{_HERE}.formats.notion:read", pattern=_NOTION,
           version=2),
    Format("trec", "TREC collection", "text/plain", (), f"{_HERE}.formats.trec:read"),
    Format("discord", "Discord export", "application/json", (), f"{_HERE}.formats.chats:read_discord",
           largest=_HELD),
)  # fmt: skip
BY_NAME = {format.name: format for format in FORMATS}
BY_ENDING = {ending: format for format in FORMATS for ending in format.endings}
_WEAK = ("html",)  # formats of which a signature may stand in any text


def format_of(name: str) -> Format | None:
    """The format of a file by the ending of its name, in any case; None where there is no reader."""
    parts = name.lower().rsplit(".", 2)
    if len(parts) == 3 and (found := BY_ENDING.get(f".{parts[1]}.{parts[2]}")):
        return found
    return BY_ENDING.get(f".{parts[-1]}") if len(parts) > 1 and parts[-2] else None


def cut_endings() -> list[str]:
    """The endings of all files that are cut into passages, in the order of the table."""
    return [ending for format in FORMATS if format.is_cut for ending in format.endings]


def recognise(path: Path, named: Format | None) -> Format | None:
    """The format of a file by its content; ``named``, which its ending says, where the content does not tell.

    Only formats that are read in a process of their own are told by content: any text may begin in any way.
    Raises OSError where the file cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(ZIP_MARK):
        return _packed(path, named)
    if named is not None and named.signature is not None and named.signature(head):
        return named
    for format in FORMATS:
        if format.signature is not None and format.name not in _WEAK and format.signature(head):
            return format
    tells = named is None or named.signature is not None or named.members
    return BY_NAME["html"] if tells and named is not BY_NAME["html"] and _is_page(head) else named


def _packed(path: Path, named: Format | None) -> Format | None:
    """The format of a ZIP file by what is in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            mime = archive.open("mimetype").read(100).decode("latin-1").strip() if "mimetype" in names else ""
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError):
        return named
    found = [format for format in FORMATS if names.intersection(format.members) or mime in format.members]
    if not found:
        found = [one for one in FORMATS if one.pattern and any(re.match(one.pattern, name) for name in names)]
    return named if named in found else next(iter(found), named)


def missing(formats: Iterable[Format]) -> list[Format]:
    """Those of which the reader is not installed."""
    return [format for format in formats if not format.is_installed]


@cache
def _is_there(module: str) -> bool:
    return find_spec(module) is not None


@cache
def _release(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
