"""E-mail messages (.eml): subject and correspondents, the body with its quotes told apart, attachments.

A message is a passage of its own and gives its passages ``from``, ``to``, ``date``, ``message_id`` and ``thread``.
Source: RFC 5322, 2045–2047, 3676 (format=flowed). The standard library parses with its older policy, which takes
every message and is three times as fast as the newer one.
"""

from __future__ import annotations

import email
import email.errors
import email.header
import email.message
import email.utils
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind, located
from searchapp.corpus.formats.charsets import decoded
from searchapp.corpus.formats.held import enclosed, read_held
from searchapp.corpus.formats.markup import label_of, tidy
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.corpus.formats.xhtml import page_parts
from searchapp.corpus.plain_blocks import plain_blocks

MIME = "message/rfc822"
Attached = Callable[[str, bytes], Iterator[Facts | Block]]
"""Reads an attachment of a name by the reader of its format; of one without, it yields notes or nothing."""

DEEPEST = 5  # messages and attachments in one another
_MOST_PARTS = 1_000
_CLIP = 500  # characters of a header that are kept
_WROTE = re.compile(r".{4,300}(?:wrote|writes|schrieb|a écrit|escribió|ha scritto|написал[аи]?)\b[^:]{0,100}:\s*$")
_FORWARD = re.compile(
    r"-{3,}\s*(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Message d'origine|"
    r"Mensaje original|Messaggio originale)\s*-{3,}\s*$",
    re.IGNORECASE,
)
_ID = re.compile(r"<[^<>\s]+>")


def read(path: Path, limits: Limits, attached: Attached | None = None) -> Iterator[Facts | Block]:
    """Yield the facts of a message, then its blocks, with those of its attachments that ``attached`` reads.

    By default it reads those of all formats that have a reader here; what it cannot read is counted in notes.
    """
    message = Message.parse(path.read_bytes())
    if not message.parsed.keys():
        raise Unreadable("damaged: no headers of a message")
    yield Facts(title=message.subject, author=message.sender, date=message.date, mime=MIME)
    yield from message.blocks(Composer(limits), limits, attached=attached or partial(read_held, limits=limits))


@dataclass(slots=True)
class Message:
    """A message and what its headers say, decoded."""

    parsed: email.message.Message
    subject: str = ""
    sender: str = ""
    to: str = ""
    date: str = ""
    id: str = ""
    answers: list[str] = field(
        default_factory=list
    )  # the ids of the messages it answers, the first of the thread first

    @classmethod
    def parse(cls, data: bytes) -> Message:
        """Parse the bytes of a message. Raises Unreadable where its parts are nested too deep."""
        try:
            return cls.of(email.message_from_bytes(data))
        except RecursionError:
            raise Unreadable("parts nested too deep") from None

    @classmethod
    def of(cls, parsed: email.message.Message) -> Message:
        """A message that was parsed, with what its headers say."""
        headers: dict[str, str] = {}
        for name, value in parsed.raw_items():
            headers.setdefault(name.lower(), str(value))
        answers = _ID.findall(headers.get("references", "")) + _ID.findall(headers.get("in-reply-to", ""))
        return cls(
            parsed,
            _header(headers.get("subject", "")),
            _header(headers.get("from", "")),
            _header(headers.get("to", "")),
            _date(headers.get("date", "")),
            _clean(headers.get("message-id", "")).strip("<> "),
            [id.strip("<>") for id in answers],
        )

    @property
    def where(self) -> dict[str, Value]:
        """What its passages carry; ``thread`` is the id of the message that the exchange began with."""
        thread = self.answers[0] if self.answers else self.id
        found = {"from": self.sender, "to": self.to, "date": self.date, "message_id": self.id, "thread": thread}
        return {name: value[:_CLIP] for name, value in found.items() if value}

    def blocks(
        self,
        composer: Composer,
        limits: Limits,
        *,
        attached: Attached | None = None,
        known: frozenset[str] = frozenset(),
        depth: int = 1,
    ) -> Iterator[Facts | Block]:
        """Yield the heading of the message, its body, its attachments.

        What it quotes is left out where a message that it answers is among ``known``, the ids of the same source.
        """
        place = self.where
        told = [("From", self.sender), ("To", self.to), ("Date", self.date)]
        lines = [self.subject[:_CLIP], *(f"{name}: {value[:_CLIP]}" for name, value in told if value)]
        heading = "\n".join(line for line in lines if line) or "Message"
        yield composer.block(
            BlockKind.HEADING, heading, level=1, label=label_of(self.subject), whole=True, where=place
        )  # fmt: skip
        quotes = not any(id in known for id in self.answers)
        for part in _parts(self.parsed):
            if part.is_body:
                for kind, text, level in part.body(limits):
                    if quotes or kind is not BlockKind.QUOTE:
                        yield composer.block(kind, text, level=level, where=place)
            elif depth < DEEPEST:
                yield from _enclosed(part, composer, limits, attached, depth, place)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a message that is no container."""

    message: email.message.Message
    name: str
    is_body: bool

    def body(self, limits: Limits) -> Iterator[tuple[BlockKind, str, int]]:
        """The kind, text and level of each block of a body."""
        data = _payload(self.message)
        text = decoded(data, self.message.get_content_charset())
        if self.message.get_content_subtype() == "html":
            page = page_parts(text.encode(), limits)
            for part in page.parts.take():
                is_heading = part.kind in (BlockKind.HEADING, BlockKind.SIGNATURE)  # no section: a message is one
                yield (BlockKind.TEXT, part.text, 0) if is_heading else (part.kind, part.text, part.level)
        else:
            flowed = _parameter(self.message, "format").lower() == "flowed"
            yield from plain_body(text, flowed=flowed)


def plain_body(text: str, *, flowed: bool = False) -> Iterator[tuple[BlockKind, str, int]]:
    """The kind, text and level of each block of a body of plain text.

    Lines that begin with ``>`` are quotes, with the line above that says who wrote them, and all below a line such as
    ``--- Original Message ---``. With ``flowed``, a line that ends with a blank goes on in the next.
    """
    lines = text.splitlines()
    if flowed:
        lines = _unwrapped(lines)
    own: list[str] = []
    quoted: list[str] = []
    for number, line in enumerate(lines):
        if _FORWARD.match(line.strip()):
            yield from _own(own)
            yield from _quoted(quoted)
            yield from _quoted(lines[number:])
            return
        if line.startswith(">") or (_names_writer(line) and _quote_follows(lines, number)):
            yield from _own(own)
            own = []
            quoted.append(line)
        elif line.strip() or not quoted:
            yield from _quoted(quoted)
            quoted = []
            own.append(line)
    yield from _own(own)
    yield from _quoted(quoted)


def _names_writer(line: str) -> bool:
    return line.rstrip().endswith(":") and _WROTE.match(line) is not None


def _quote_follows(lines: list[str], number: int) -> bool:
    return next((line.startswith(">") for line in lines[number + 1 : number + 4] if line.strip()), False)


def _own(lines: list[str]) -> Iterator[tuple[BlockKind, str, int]]:
    for block in plain_blocks(located((number, f"{line}\n") for number, line in enumerate(lines, 1))):
        if text := block.text.strip():
            yield block.kind, text, block.level


def _quoted(lines: list[str]) -> Iterator[tuple[BlockKind, str, int]]:
    if text := "\n".join(line.rstrip() for line in lines).strip():
        yield BlockKind.QUOTE, text, 0


def _unwrapped(lines: list[str]) -> list[str]:
    whole: list[str] = []
    goes_on = False
    for line in lines:
        if goes_on and not line.startswith(">"):
            whole[-1] += line
        else:
            whole.append(line)
        goes_on = line.endswith(" ") and line != "-- " and not line.startswith(">")
    return whole


def _parts(message: email.message.Message) -> Iterator[_Part]:
    """Yield the bodies and attachments of a message in order; of alternatives plain text, else HTML, else the last."""
    waiting = [message]
    count = 0
    while waiting:
        part = waiting.pop()
        count += 1
        if count > _MOST_PARTS:
            raise Unreadable(f"more than {_MOST_PARTS:,} parts")
        inner = part.get_payload()
        kind = part.get_content_maintype()
        if kind == "multipart" and isinstance(inner, list):
            chosen = [one for one in inner if isinstance(one, email.message.Message)]
            if part.get_content_subtype() == "alternative" and chosen:
                chosen = [min(reversed(chosen), key=_preference)]
            waiting.extend(reversed(chosen))
            continue
        name = _header(_parameter(part, "filename", "content-disposition") or _parameter(part, "name"))
        # What says that it has parts and has none is text.
        is_text = kind == "text" or (kind == "multipart" and isinstance(inner, str))
        yield _Part(part, name, is_text and not name and part.get_content_disposition() != "attachment")


def _preference(part: email.message.Message) -> int:
    return {"text/plain": 0, "multipart/related": 1, "multipart/mixed": 1, "text/html": 1}.get(
        part.get_content_type(), 2
    )


def _enclosed(
    part: _Part, composer: Composer, limits: Limits, attached: Attached | None, depth: int, place: Mapping[str, Value]
) -> Iterator[Facts | Block]:
    """Blocks of a message that is attached, or of another attachment by the reader of its format."""
    inner = part.message.get_payload()
    if isinstance(inner, list) and inner and isinstance(inner[0], email.message.Message):
        for block in Message.of(inner[0]).blocks(composer, limits, attached=attached, depth=depth + 1):
            if isinstance(block, Block) and block.kind is BlockKind.HEADING:
                block = replace(block, level=min(block.level + 1, 9))
            yield block
        return
    if attached is None or not part.name:
        return
    yield from enclosed(attached(part.name, _payload(part.message)), part.name, composer, place, 2)


def _payload(part: email.message.Message) -> bytes:
    """The bytes of a part. What cannot be decoded stays as it is."""
    try:
        data = part.get_payload(decode=True)
    except (ValueError, LookupError):  # a made-up transfer encoding
        data = str(part.get_payload()).encode("utf-8", "surrogateescape")
    return data if isinstance(data, bytes) else b""


def _parameter(part: email.message.Message, name: str, header: str = "content-type") -> str:
    try:
        value = part.get_param(name, "", header)
        return email.utils.collapse_rfc2231_value(value) if value else ""
    except (ValueError, LookupError, TypeError):
        return ""


def _header(value: str) -> str:
    """A header's value: encoded words decoded, eight-bit characters taken for UTF-8 or Latin letters."""
    if not value:
        return ""
    text = _clean(value)
    if "=?" in text:
        try:
            chunks = email.header.decode_header(text)
        except (email.errors.HeaderParseError, ValueError):
            chunks = [(text, None)]
        text = "".join(decoded(part, name) if isinstance(part, bytes) else part for part, name in chunks) or text
    return tidy(text).replace("\n", " ")


def _clean(value: str) -> str:
    """A raw header without the marks of bytes that are no ASCII."""
    if value.isascii():
        return value
    return decoded(value.encode("utf-8", "surrogateescape"))


def _date(value: str) -> str:
    """ISO 8601 of a date as mail writes it; empty where it is none."""
    try:
        return email.utils.parsedate_to_datetime(_clean(value)).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""
