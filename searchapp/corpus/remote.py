"""Sources named by URL (``https://…``, ``s3://bucket/folder``): listed by fsspec, each file fetched when it is read.

A file is known by its ETag, else by its size and time of change: unchanged ones are not fetched again, and one with
neither is refused. It is fetched to a temporary file, for readers get files alone and no network. Credentials are those
of the environment (or of the URL); what is stored and said of a URL is without what is secret in it: ``corpus.urls``.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from searchapp.corpus.urls import HIDDEN, WEB, shown_url, without_secrets
from searchapp.errors import CorpusError, reason_of

MOST = 2 << 30  # bytes of one file
_TIMES = ("mtime", "last_modified", "LastModified", "Last-Modified", "updated", "modified", "created")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file: its URL with all that is secret, the URL as it may be shown, its path below the source.

    ``mark`` changes when the content does, "" where nothing tells; ``size`` in bytes, 0 where it is not known;
    ``mtime_ns`` the time of change, 0 where it is not known; ``mime`` as the server says.
    """

    url: str = field(repr=False)
    shown: str
    relative: str
    mark: str
    size: int = 0
    mtime_ns: int = 0
    mime: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return (self.relative or unquote(urlsplit(self.shown).path)).rstrip("/").rpartition("/")[2] or "index.html"

    def identity(self) -> str:
        """The SHA-256 of its URL and mark in hex."""
        return hashlib.sha256(f"{self.shown}\0{self.mark}".encode()).hexdigest()

    @contextlib.contextmanager
    def fetched(self) -> Iterator[Path]:
        """Fetch it to a temporary file of its name, which is gone afterwards. Raises CorpusError."""
        with tempfile.TemporaryDirectory(prefix="searchapp-") as folder:
            place = Path(folder) / re.sub(r"[^\w.+ -]", "_", self.name)[-100:]
            try:
                system, path = _system(self.url)
                with place.open("wb") as file, _reading(system, path) as chunks:
                    size = 0
                    for chunk in chunks:
                        size += len(chunk)
                        if size > MOST:
                            raise CorpusError(f"{self.shown}: more than {MOST:,} bytes")
                        file.write(chunk)
                if self.size and size != self.size:
                    raise CorpusError(f"{self.shown}: {size:,} of {self.size:,} bytes came; it changed, or was cut off")
            except CorpusError:
                raise
            except Exception as error:  # of any of the libraries behind fsspec
                raise CorpusError(
                    f"{self.shown}: cannot be fetched: {without_secrets(self.url, reason_of(error))}"
                ) from None
            yield place


@dataclass(frozen=True, slots=True)
class RemoteListing:
    """What a URL names: one file, or those below a folder in the order of their paths."""

    shown: str
    is_folder: bool
    files: tuple[RemoteFile, ...]


def listing(url: str) -> RemoteListing:
    """What is at a URL. Raises CorpusError where nothing is, or what reads the protocol is not installed."""
    shown = shown_url(url)
    if shown.endswith(f"://{HIDDEN}"):
        raise CorpusError(f"{shown}: is no URL; write @, :, /, ? and # in a password as %40, %3A, %2F, %3F and %23")
    try:
        system, path = _system(url)
        if urlsplit(url).scheme.lower() in WEB or not system.isdir(path):
            return RemoteListing(shown, False, (_file(system.info(path), url, shown, ""),))
        files = []
        for name, info in system.find(path, detail=True).items():
            relative = name.removeprefix(path).lstrip("/")
            if relative and not any(part.startswith(".") for part in relative.split("/")):
                below = [f"{base.rstrip('/')}/{relative}" for base in (url, shown)]
                files.append(_file(info, below[0], below[1], relative))
    except CorpusError:
        raise
    except ImportError as error:
        raise CorpusError(f"{shown}: {without_secrets(url, reason_of(error))}") from None
    except FileNotFoundError:
        raise CorpusError(f"{shown}: nothing is there; check the address") from None
    except Exception as error:  # of any of the libraries behind fsspec
        raise CorpusError(f"{shown}: cannot be listed: {without_secrets(url, reason_of(error))}") from None
    return RemoteListing(shown, True, tuple(sorted(files, key=lambda file: file.relative)))


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError:
        raise CorpusError(f"{shown_url(url)}: it needs `pip install 'searchapp[remote]'`") from None
    if "::" in url:
        raise CorpusError(f"{shown_url(url)}: one URL in another is not read; name the file itself")
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ValueError as error:
        raise CorpusError(
            f"{shown_url(url)}: {without_secrets(url, reason_of(error))}; expected e.g. https:// or s3://"
        ) from None
    system.invalidate_cache()
    return system, str(path)


@contextlib.contextmanager
def _reading(system: Any, path: str) -> Iterator[Iterator[bytes]]:
    """The content of a file in pieces. ``block_size=0``: streamed, for many servers give no part of a file."""
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    options = {"block_size": 0} if protocol in WEB else {}
    with system.open(path, "rb", **options) as file:
        yield iter(lambda: file.read(_CHUNK), b"")


def _file(info: Mapping[str, Any], url: str, shown: str, relative: str) -> RemoteFile:
    size = info.get("size")
    size = size if isinstance(size, int) and size > 0 else 0
    tag = next((str(info[key]) for key in ("ETag", "etag") if info.get(key)), "")
    moment = next((found for key in _TIMES if (found := _moment(info.get(key))) is not None), None)
    mark = tag or (f"{size} {moment.isoformat()}" if moment is not None and info.get("size") is not None else "")
    time = int(moment.timestamp() * 1e9) if moment is not None else 0
    return RemoteFile(url, shown, relative, mark, size, time, str(info.get("mimetype") or ""))


def _moment(value: object) -> datetime | None:
    """A time as one of many systems gives it."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            value = datetime.fromisoformat(value) if value[:4].isdigit() else parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
