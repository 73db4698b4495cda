"""Text files as documents: a rule cuts them into passages, and the id of a passage is made of its content.

The id of a passage is the name of its source, the file's place in the source, and ten hexadecimal digits of the SHA-256
of its headings and text: ``notes/shop.md#1f0c2a9b7e``. The second equal passage of a file ends in ``.2``. So a passage
that moves keeps its id, and one that changes gets another. Where it stands is metadata: ``line`` and ``end_line`` from
1, ``start`` and ``end`` in characters of the file from 0.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from searchapp.corpus.block_readers import read_blocks
from searchapp.corpus.cut import CutPassage, cut
from searchapp.corpus.cut_rule import LEAST_TOKENS, CutRule, Measure
from searchapp.corpus.document import Document, Record, Rejected, joined
from searchapp.corpus.folder import decoded, file_fault, front_matter_of, has_body
from searchapp.corpus.front_matter import FrontMatter
from searchapp.corpus.lines import Lines
from searchapp.corpus.validate import RawRecord, validate

if TYPE_CHECKING:
    import numpy as np

DIGITS = 10


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


@dataclass(frozen=True, slots=True)
class Cutter:
    """How text files become documents: the rule they are cut by, and what measures a passage."""

    rule: CutRule
    measure: Measure

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
        digest = hashlib.sha256(repr(sorted(self.rule.to_json().items())).encode()).hexdigest()[:DIGITS]
        return f"text {self.rule.version} {digest}"

    def records(self, path: Path, file: str, source: str, relative: str) -> Iterator[Record]:
        """Yield the passages of one text file, or one rejection of the whole file.

        ``source`` is the name that ids begin with, ``relative`` the file's place in it, empty where the source is the
        file. Raises CorpusError where the file changes while it is read.
        """
        if fault := file_fault(path, file, relative or path.name):
            yield Record(fault, 1.0)
            return
        about = front_matter_of(path, file)
        if about.lines and about.fields is not None and not has_body(path, file, about.lines):
            about = FrontMatter(0)  # a file of nothing else is a document: its front matter is its text
        name = f"{source}/{relative}" if relative else source
        checked = validate(RawRecord({**about.metadata, "id": name, "title": about.title, "text": "."}, file, 1))
        if isinstance(checked, Rejected):  # what all of its passages share cannot be stored
            yield Record(checked, 1.0)
            return
        lines = Lines(path, file, returns=True)
        blocks = read_blocks(decoded(lines, file), path.suffix.lower(), about)
        met: Counter[str] = Counter()
        for passage in cut(blocks, self.rule, self.measure, about.title):
            digest = passage_digest(passage.headings, passage.text)
            met[digest] += 1
            again = f".{met[digest]}" if met[digest] > 1 else ""
            item = _document(passage, f"{name}#{digest}{again}", file, relative or path.name, source, about)
            yield Record(item, lines.progress)
        if not met:
            yield Record(Rejected(file=file, line=1, reason="empty text"), 1.0)


def passage_digest(headings: Sequence[str], text: str) -> str:
    """Ten hexadecimal digits of the SHA-256 of a passage's headings and text."""
    content = "\0".join([*headings, "", text])
    return hashlib.sha256(content.encode()).hexdigest()[:DIGITS]


def _document(
    passage: CutPassage, id: str, file: str, relative: str, source: str, about: FrontMatter
) -> Document | Rejected:
    page = {} if passage.page is None else {"page": passage.page}
    fields = {
        "source": source,  # unless the front matter has one, which is the user's own
        **about.metadata,
        "id": id,
        "text": passage.text,
        "title": passage.title,
        "file": relative,
        "line": passage.line,
        "end_line": passage.end_line,
        "start": passage.start,
        "end": passage.end,
        **page,
    }
    return validate(RawRecord(fields, file, passage.line))
