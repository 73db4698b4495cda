"""Records of a build as files: JSON below a line with its checksum, as a manifest has it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from searchapp.errors import IndexStoreError
from searchapp.unicode import json_bytes


def seal(content: dict[str, Any]) -> bytes:
    """The bytes of a record."""
    body = json_bytes(json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    return _checksum(body) + b"\n" + body


def unseal(data: bytes, name: str) -> dict[str, Any]:
    """What ``seal`` made the bytes of. Raises IndexStoreError, which calls it ``name``, where they were changed."""
    head, _, body = data.partition(b"\n")
    if _checksum(body) != head:
        raise IndexStoreError(f"{name} does not match its checksum; remove it, and run the same command again")
    content = json.loads(body)
    if not isinstance(content, dict):
        raise IndexStoreError(f"{name} holds no record; remove it, and run the same command again")
    return content


def digest_of(content: Any) -> str:
    """32 hexadecimal digits that tell JSON values apart."""
    text = json.dumps(content, ensure_ascii=True, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode("ascii")
