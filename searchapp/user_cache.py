"""What was worked out before, in the user's cache folder: short texts by kind and key, which may vanish at any time.

``$SEARCHAPP_CACHE``, else ``$XDG_CACHE_HOME/searchapp``, else ``~/.cache/searchapp``. Where it cannot be read or
written, nothing is known and nothing is kept: whoever asks works it out again.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from searchapp.atomic import write_text

now = time.time
SETTLED = 2.0  # seconds after a change in which a second one may leave a file with the same time


def cache_folder() -> Path:
    """The folder of this program's caches; it need not exist. Raises OSError where the user has no home."""
    if own := os.environ.get("SEARCHAPP_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "searchapp"
    try:
        return Path.home() / ".cache" / "searchapp"
    except RuntimeError as error:
        raise FileNotFoundError("no home folder") from error


def remembered(kind: str, key: str) -> str | None:
    """The text that was kept under a key; None where there is none that can be read."""
    try:
        return _place(kind, key).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def remember(kind: str, key: str, text: str) -> None:
    """Keep a text under a key, in place of what was there; of two at once the last one stays."""
    try:
        place = _place(kind, key)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, text)
    except OSError:
        pass  # a home that is full or may not be written to


def file_stamp(path: Path) -> str | None:
    """A key of a file as it stands: its real place, size, times and number; None while its times say nothing.

    A change of the file changes the key. In the first ``SETTLED`` seconds after one they might not, as a file system
    counts time in steps. The time of the last change of its entry is among them: it tells a file whose time was put
    back. Raises OSError.
    """
    real = path.resolve()
    status = real.stat()
    if now() - max(status.st_mtime, status.st_ctime) < SETTLED:
        return None
    return f"{real}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}|{status.st_ino}"


def _place(kind: str, key: str) -> Path:
    return cache_folder() / kind / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
