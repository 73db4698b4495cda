"""A manifest as JSON: the key that each field has on disk, whatever the field is called in the program.

``KEYS`` defines the format: a field may be renamed, its key stays. Where an older searchapp wrote no such key, the
field gets its default. A key that no field has is an error, for it would be lost at the next commit. The first line of
the file is the checksum of the JSON below it.
"""

from __future__ import annotations

import hashlib
import json
import re
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.manifest import (
    Addition,
    Ann,
    Build,
    Drift,
    Encoded,
    Lexical,
    Manifest,
    NamedSource,
    Partial,
    Reach,
    Reduction,
    Reembedding,
    Segment,
    Staged,
    Tombstones,
)
from searchapp.index.storage.migrate import migrate
from searchapp.unicode import json_bytes

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")  # or the part of one: leads to no folder above
T = TypeVar("T")


class CorruptManifestError(Exception):
    """A manifest whose text does not match its checksum: a write that never finished, or damage."""


def dump(manifest: Manifest) -> bytes:
    """A manifest's file: the first line is the checksum of the rest, which is readable JSON."""
    body = json_bytes(json.dumps(to_json(manifest), indent=1, ensure_ascii=False))
    return _checksum(body) + b"\n" + body


def load(path: Path, *, parts: int = 1) -> Manifest:
    """Read a manifest, whose files have names of so many parts at most: 3 where they lie below shards.

    Raises CorruptManifestError for damage, or the name of a file that leads to another folder, and
    IndexStoreError for a format this version does not know.
    """
    head, _, body = path.read_bytes().partition(b"\n")
    if _checksum(body) != head:
        raise CorruptManifestError(f"{path} does not match its checksum")
    content = json.loads(body)
    if not isinstance(content, dict):
        raise CorruptManifestError(f"{path} holds no JSON object")
    manifest = from_json(Manifest, migrate(content, path.parent))
    for name in _names(manifest):
        if not isinstance(name, str) or not _leads_within(name, parts):
            raise CorruptManifestError(
                f"{path} names a file {str(name)[:80]!r}; expected letters, digits, '.', '_' and '-' alone"
            )
    return manifest


def _leads_within(name: str, most: int) -> bool:
    """Whether a name, of so many parts at most, leads to no folder above."""
    parts = name.split("/")
    return len(parts) <= most and all(FILE_NAME.fullmatch(part) for part in parts)


def _names(manifest: Manifest) -> Iterator[str]:
    """Every name of a file that a manifest has; readers and writers make paths of them."""
    yield from manifest.files
    staged = (manifest.staged.names(),) if manifest.staged is not None else ()
    added = (one.rejections for one in manifest.additions)
    segments = (one.names() for one in manifest.segments)
    for names in (manifest.rejections, manifest.ledger, *staged, *added, *segments):
        yield from names
    if manifest.tombstones is not None:
        yield from (manifest.tombstones.file, manifest.tombstones.copy)
    if manifest.lexical is not None:
        yield from (*manifest.lexical.files, *manifest.lexical.files.values())
    if manifest.reembedding is not None:
        yield from (one.file for one in manifest.reembedding.vectors.values())
    if manifest.probes is not None:
        yield manifest.probes
    for part in (manifest.reduction, manifest.ann):
        if part is not None:
            yield part.file


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode("ascii")


KEYS: dict[type, dict[str, str]] = {
    FileEntry: {"size": "size", "checksum": "checksum"},
    Segment: {
        "documents_file": "rows",
        "vectors_file": "vectors",
        "base": "base",
        "count": "count",
        "hashes_file": "marks",
    },
    Tombstones: {"file": "file", "copy": "copy", "count": "count"},
    Addition: {
        "sources": "sources",
        "added": "added",
        "changed": "changed",
        "unchanged": "unchanged",
        "rejected": "rejected",
        "reasons": "reasons",
        "rejections": "rejections",
    },
    Staged: {"sources": "sources", "segments": "segments", "rejections": "rejections"},
    Encoded: {"file": "file", "documents": "documents", "tokens": "tokens", "long": "long", "beyond": "beyond"},
    Reembedding: {
        "encoder": "encoder",
        "dim": "dim",
        "origin": "origin",
        "vectors": "vectors",
        "seconds": "seconds",
    },
    Drift: {"trained": "trained", "now": "now", "rows": "rows", "first": "first"},
    Reduction: {"file": "file", "dim": "dim", "explained_variance": "explained_variance"},
    Ann: {
        "file": "file",
        "factory": "factory",
        "rows": "rows",
        "candidates": "candidates",
        "parameters": "parameters",
        "measured": "measured",
        "notes": "notes",
    },
    Lexical: {
        "files": "files",
        "stemmer": "stemmer",
        "stop_words": "stop_words",
        "k1": "k1",
        "b": "b",
        "fusion": "fusion",
        "analysis": "analysis",
    },
    NamedSource: {"label": "name", "path": "path", "kind": "kind", "selection": "selection"},
    Partial: {
        "source": "source",
        "path": "path",
        "records": "records",
        "rejected": "rejected",
        "reason": "reason",
    },
    Reach: {"documents": "documents", "tokens": "tokens", "beyond": "beyond"},
    Build: {
        "sources": "sources",
        "consumed": "consumed",
        "partial": "partial",
        "reach": "reach",
        "rejected": "rejected",
        "reasons": "reasons",
        "tokens": "tokens",
        "pca": "pca",
        "factory": "factory",
        "targets": "targets",
        "overwrite": "overwrite",
        "segment_size": "segment_size",
        "seconds": "seconds",
    },
    Manifest: {
        "encoder": "encoder",
        "dim": "dim",
        "build": "build",
        "number": "number",
        "state": "state",
        "rows": "rows",
        "segments": "segments",
        "rejections": "rejections",
        "tombstones": "tombstones",
        "reduction": "reduction",
        "ann": "ann",
        "lexical": "lexical",
        "probes": "probes",
        "additions": "additions",
        "staged": "staged",
        "drift": "drift",
        "files": "files",
        "versions": "versions",
        "scheme": "scheme",
        "cut": "cut",
        "sources": "sources",
        "ledger": "ledger",
        "reembedding": "reembedding",
        "format": "format",
    },
}


# Fields that stand only where they say something, for versions that do not know them.
LATER = ("reembedding", "selection")


def to_json(value: Any) -> Any:
    """A record of the manifest, or a value in one, as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        keys = KEYS[type(value)]
        held = {item.name: getattr(value, item.name) for item in fields(value)}
        return {keys[name]: to_json(part) for name, part in held.items() if part is not None or name not in LATER}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], content: dict[str, Any]) -> T:
    """Make a record again from what ``to_json`` made of it.

    Raises KeyError for a key that is not known, TypeError where one is missing that a record cannot do without.
    """
    names = {key: name for name, key in KEYS[kind].items()}
    hints = _hints(cast(type, kind))
    return kind(**{names[key]: _value(hints[names[key]], value) for key, value in content.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, value: Any) -> Any:
    """A value as its field holds it: records made, lists as tuples."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        records = [part for part in inner if part in KEYS]
        return from_json(records[0], value) if records and value else (None if records else value)
    if hint in KEYS:
        return from_json(hint, value)
    if origin is tuple:
        return tuple(_value(inner[0], item) for item in value)
    if origin is dict and inner[1] in KEYS:
        return {key: _value(inner[1], item) for key, item in value.items()}
    return value
