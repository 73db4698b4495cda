"""Texts and documents as passages: a rule cuts them into passages, and the id of a passage is made of its content.

The id of a passage is the name of its source, the file's place in the source, and ten hexadecimal digits of the SHA-256
of its headings and text: ``notes/shop.md#1f0c2a9b7e``. The second equal passage of a file ends in ``.2``. So a passage
that moves keeps its id, and one that changes gets another. Where it stands is metadata: ``line`` and ``end_line`` from
1, ``start`` and ``end`` in characters of the file from 0; of a document its page, section, anchor and so on, and
``start`` and ``end`` in characters of the text that its reader makes of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from searchapp.corpus.block_readers import read_blocks
from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.cut import CutPassage, cut
from searchapp.corpus.cut_rule import LEAST_TOKENS, CutRule, Measure
from searchapp.corpus.document import Record, Rejected, joined
from searchapp.corpus.extraction_cache import ExtractionCache
from searchapp.corpus.file_state import Seen
from searchapp.corpus.folder import decoded, file_fault, front_matter_of, has_body
from searchapp.corpus.formats.reading import Facts, Unreadable
from searchapp.corpus.formats.table import Format
from searchapp.corpus.front_matter import FrontMatter
from searchapp.corpus.isolation import Readers
from searchapp.corpus.legacy_text import legacy_text
from searchapp.corpus.lines import Lines
from searchapp.corpus.places import document_place, file_facts, text_place
from searchapp.corpus.reading_process import Request
from searchapp.corpus.reserved import TEXT, kept
from searchapp.corpus.validate import RawRecord, validate
from searchapp.corpus.wiki_links import linked

if TYPE_CHECKING:
    import numpy as np

DIGITS = 10
FIRST = ("text", "markdown", "rst")  # formats whose readers were not told apart when indexes began to record them
TITLE = 200  # characters of a document's own title
NO_UTF8 = "invalid UTF-8"  # how the reason begins of a text that may be in another encoding
EMPTY = "empty text"  # why a file without a passage is refused


class TokenCounter(Protocol):
    """Counts the tokens of documents; ``searchapp.encoder.Encoder`` does."""

    @property
    def document_reach(self) -> int:
        """How many tokens of a document its vector is made of, at most."""

    @property
    def tokenizer_digest(self) -> str:
        """A digest that differs between tokenizers that give other tokens."""

    def document_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each document, as the encoder would read it if it cut nothing."""


def _readers() -> Readers:
    return Readers(ExtractionCache.default())


@dataclass(frozen=True, slots=True)
class Cutter:
    """How files become documents: the rule they are cut by, what measures a passage, passwords to try."""

    rule: CutRule
    measure: Measure
    passwords: tuple[str, ...] = field(default=(), repr=False)
    readers: Readers = field(default_factory=_readers, compare=False, repr=False)  # of documents

    @classmethod
    def of(cls, encoder: TokenCounter, rule: CutRule | None = None) -> Cutter:
        """A cutter for an encoder; ``rule`` is the one that an index records.

        Without it, a passage has at most the tokens that the encoder reads of a document.
        """
        rule = rule or CutRule(tokens=max(LEAST_TOKENS, encoder.document_reach), tokenizer=encoder.tokenizer_digest)
        return cls(rule, lambda title, text: int(encoder.document_tokens([joined(title, text)])[0]))

    @property
    def reader(self) -> str:
        """What passages depend on beside the file itself: the version of the reader and the rule, as a short text."""
        return f"text {self.rule.version} {self._rule_digest}"

    def reader_of(self, format: Format) -> str:
        """The same of a file of a format."""
        return self.reader if format.name in FIRST else f"{format.fingerprint} {self._rule_digest}"

    @property
    def _rule_digest(self) -> str:
        return hashlib.sha256(repr(sorted(self.rule.to_json().items())).encode()).hexdigest()[:DIGITS]

    def records(
        self,
        path: Path,
        file: str,
        source: str,
        relative: str,
        format: Format | None = None,
        notes: dict[str, int] | None = None,
    ) -> Iterator[Record]:
        """Yield the passages of one text file, or one rejection of the whole file.

        ``source`` is the name that ids begin with, ``relative`` the file's place in it, empty where the source is the
        file; ``format`` is by default what its name says. A text in an encoding of before Unicode is counted in
        ``notes``. Raises CorpusError where the file changes while it is read.
        """
        fault = file_fault(path, file, relative or path.name)
        legacy = legacy_text(path) if fault is not None and fault.reason.startswith(NO_UTF8) else None
        if fault is not None and legacy is None:
            yield Record(fault, 1.0)
            return
        if legacy is None:
            about = front_matter_of(path, file)
            if about.lines and about.fields is not None and not has_body(path, file, about.lines):
                about = FrontMatter(0)  # a file of nothing else is a document: its front matter is its text
        else:
            about = FrontMatter(0)
            if notes is not None:
                notes[f"files decoded as {legacy.encoding}"] = 1
        name = f"{source}/{relative}" if relative else source
        checked = validate(RawRecord({**about.metadata, "id": name, "title": about.title, "text": "."}, file, 1))
        if isinstance(checked, Rejected):  # what all of its passages share cannot be stored
            yield Record(checked, 1.0)
            return
        lines = Lines(path, file, returns=True)
        ending = format.endings[0] if format is not None else path.suffix.lower()
        blocks = read_blocks(decoded(lines, file) if legacy is None else legacy.lines(), ending, about)
        ids = _Ids(name)
        # The front matter's own `source` is the user's, as ever.
        shared = {"source": source, **kept(about.metadata | about.places, TEXT), "file": relative or path.name}
        code = _Code()
        for passage in cut(code.noted(blocks), self.rule, self.measure, about.title):
            own = linked(passage.text[code.after(passage) :], shared) if ending == ".md" else shared
            fields = {**own, "id": ids.next(passage), "text": passage.text, "title": passage.title}
            yield Record(validate(RawRecord(fields | text_place(passage), file, passage.line)), lines.progress)
        if not ids.met:
            yield Record(Rejected(file=file, line=1, reason=EMPTY), 1.0)

    def read(
        self,
        request: Request,
        file: str,
        source: str,
        relative: str,
        format: Format,
        time: int,
        notes: dict[str, int],
        seen: Seen | None = None,
    ) -> Iterator[Record]:
        """Yield the passages of one document, read by a process of its own, or one rejection of the whole file.

        Arguments are as of ``records``; ``time`` is when the file was changed, in ns. What was left out is counted in
        ``notes``; ``seen`` is told what the file was when it was read. A document of many megabytes of text that turns
        out to be damaged has a rejection behind its last passage.
        """
        notes.clear()
        ids = _Ids(f"{source}/{relative}" if relative else source)
        name = (relative or request.path.name).rpartition("/")[2]
        items = self.readers.read(request, seen)
        done = 0.0
        try:
            facts = Facts()
            first = next(items, None)
            if isinstance(first, Facts):
                facts = first
                notes.update(facts.notes)
            blocks = _blocks(items if first is None or isinstance(first, Facts) else chain([first], items), notes)
            shared = {"source": source, **file_facts(facts, format, time), "file": relative or request.path.name}
            for passage in cut(blocks, self.rule, self.measure, "", _clipped(facts.title) or name):
                fields = {**shared, "id": ids.next(passage), "text": passage.text, "title": passage.title}
                fields |= document_place(passage, format)
                share = passage.page / facts.pages if passage.page and facts.pages else passage.end / (request.size + 1)
                done = max(done, min(0.99, share))
                yield Record(validate(RawRecord(fields, file, 1)), done)
        except Unreadable as error:
            yield Record(Rejected(file=file, line=1, reason=str(error)), 1.0)
            return
        finally:
            items.close()
        if not ids.met:
            without = ", ".join(f"{count:,} {what}" for what, count in notes.items() if "without text" in what)
            yield Record(Rejected(file=file, line=1, reason=f"{EMPTY}: {without} (a scan?)" if without else EMPTY), 1.0)


class _Code:
    """Where code stands in a file of which blocks go by: a passage may begin in the middle of it."""

    def __init__(self) -> None:
        self._spans: deque[Block] = deque()

    def noted(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The blocks, of which those of code are noted."""
        for block in blocks:
            if block.kind is BlockKind.CODE:
                self._spans.append(block)
            yield block

    def after(self, passage: CutPassage) -> int:
        """How many characters of a passage's text are code that it begins in; passages come in their order."""
        begin = passage.start
        while self._spans and self._spans[0].end <= begin:
            self._spans.popleft()
        for block in self._spans:
            if block.start <= begin < block.end:
                begin = block.end
        return passage.repeated + begin - passage.start if begin > passage.start else 0


class _Ids:
    """The ids of the passages of one file, in their order."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.met: Counter[str] = Counter()

    def next(self, passage: CutPassage) -> str:
        digest = passage_digest(passage.headings, passage.text)
        self.met[digest] += 1
        again = f".{self.met[digest]}" if self.met[digest] > 1 else ""
        return f"{self._name}#{digest}{again}"


def _blocks(items: Iterable[Facts | Block], notes: dict[str, int]) -> Iterator[Block]:
    """The blocks among what a reader gives; notes of later facts are counted."""
    for item in items:
        if isinstance(item, Block):
            yield item
        else:
            for what, count in item.notes.items():
                notes[what] = notes.get(what, 0) + count


def _clipped(title: str) -> str:
    """A title as it is shown and embedded: one line of at most 200 characters."""
    title = " ".join(title.split())
    return title if len(title) <= TITLE else f"{title[: TITLE - 1]}…"


def passage_digest(headings: Sequence[str], text: str) -> str:
    """Ten hexadecimal digits of the SHA-256 of a passage's headings and text."""
    content = "\0".join([*headings, "", text])
    return hashlib.sha256(content.encode()).hexdigest()[:DIGITS]
