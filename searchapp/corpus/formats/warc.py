"""Pages that were archived from the web (.warc, .warc.gz): each response that is HTML or text, with its address.

Read by warcio (the extra ``web``). Source: ISO 28500:2017. Errors, redirects and pages seen before are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.charsets import decode
from searchapp.corpus.formats.held import enclosed
from searchapp.corpus.formats.html import page
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.errors import reason_of

if TYPE_CHECKING:
    from warcio.recordloader import ArcWarcRecord

MOST_BYTES = 32 << 20  # of one page
UNREAD = "pages not read"
_PAGES = ("text/html", "application/xhtml+xml")


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield empty facts, then the blocks of all pages, each below a heading that is its title or address.

    Raises Unreadable for a file that is none or is damaged.
    """
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    yield Facts()
    composer = Composer(limits)
    with path.open("rb") as stream:
        try:
            count = unpacked = 0
            for record in ArchiveIterator(stream):
                count += 1
                if count > limits.parts * 10:
                    raise Unreadable(f"more than {limits.parts * 10:,} records")
                if (kind := _kind(record)) is None:
                    continue
                data = record.content_stream().read(MOST_BYTES + 1)
                unpacked += len(data)
                if unpacked > limits.unpacked:
                    raise Unreadable(f"unpacks to more than {limits.unpacked:,} bytes")
                yield from _page(record, kind, data, composer, limits)
        except (ArchiveLoadFailed, OSError, EOFError, ValueError) as error:
            raise Unreadable(f"damaged: {reason_of(error)}") from None


def _kind(record: ArcWarcRecord) -> tuple[str, str] | None:
    """Media type and charset of what is a page; None of all else."""
    if record.rec_type not in ("response", "resource", "conversion"):
        return None
    headers = record.http_headers or record.rec_headers
    if record.http_headers is not None and not record.http_headers.get_statuscode().startswith("2"):
        return None
    mime, _, rest = (headers.get_header("Content-Type") or "").partition(";")
    mime = mime.strip().lower()
    if mime not in (*_PAGES, "text/plain"):
        return None
    charset = rest.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    return mime, charset


def _page(
    record: ArcWarcRecord, kind: tuple[str, str], data: bytes, composer: Composer, limits: Limits
) -> Iterator[Facts | Block]:
    address = (record.rec_headers.get_header("WARC-Target-URI") or "").strip("<>")[:2_000]
    date = record.rec_headers.get_header("WARC-Date") or ""
    place: dict[str, Value] = {name: value for name, value in (("url", address), ("date", date)) if value}
    if len(data) > MOST_BYTES:
        yield Facts(notes={UNREAD: 1})
        return
    try:
        text = decode(data, kind[1], marked_up=kind[0] in _PAGES)
        items = list(page(text, limits) if kind[0] in _PAGES else _lines(text, limits))
    except Unreadable:
        yield Facts(notes={UNREAD: 1})
        return
    title = next((item.title for item in items if isinstance(item, Facts)), "")
    yield from enclosed(items, title or address or "page", composer, place)


def _lines(text: str, limits: Limits) -> Iterator[Facts | Block]:
    composer = Composer(limits)
    for part in text.replace("\r\n", "\n").replace("\0", "").split("\n\n"):
        if part.strip():
            yield composer.block(BlockKind.TEXT, part.strip())
