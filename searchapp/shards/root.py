"""The root manifest: which shards make one index, in which state each, and what their statistics are together.

A root is a folder with ``root-N.json`` files beside ``shards/NAME``, ordinary index directories. ``N`` is the
generation. A root manifest names one manifest of each shard by number and checksum, so that a query which holds a
generation sees one state of all shards. It is committed by ``put_new``: of two writers one wins. Readers take the
highest. The first line of the file is the checksum of the JSON below it.

The documents of all shards in order are numbered from 0: a document's number is its shard's ``base`` plus its row.
Equal scores stand in this order, which is the order of rows of one index with the same documents.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from searchapp.errors import IndexStoreError
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.manifest_json import dump as dump_manifest
from searchapp.shards.place import Place
from searchapp.unicode import json_bytes

FORMAT = 1
FOLDER = "shards"
TAIL = "t"  # what the names of tails begin with
SHARD_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_FILE = re.compile(r"root-([0-9]{10})\.json")
_SUCCESSOR = re.compile(r"(.+)-[0-9a-f]{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shard:
    """One index directory, ``shards/NAME``, in one state: the number and SHA-256 of its manifest file.

    It has the documents from number ``base`` on, ``rows`` of them, ``deleted`` ones included. A ``tail`` is where adds
    write; it is the last shard.
    """

    name: str
    manifest: int
    sha256: str
    base: int
    rows: int
    deleted: int = 0
    tail: bool = False

    @property
    def documents(self) -> int:
        """Documents that can be found."""
        return self.rows - self.deleted

    @property
    def folder(self) -> str:
        """Its directory, below the root."""
        return f"{FOLDER}/{self.name}"

    @property
    def file(self) -> str:
        """Its manifest file, below the root."""
        return f"{self.folder}/{manifest_name(self.manifest)}"


@dataclass(frozen=True)
class Statistics:
    """What BM25 needs of all shards: how many documents can be found, and how many terms these have together."""

    documents: int
    terms: int = 0

    @property
    def mean(self) -> float:
        """The mean length of a document in terms, as ``LexicalIndex`` has it."""
        return max(self.terms / self.documents if self.documents else 0.0, 1e-9)


@dataclass(frozen=True)
class Root:
    """One state of a sharded index.

    ``encoder`` is what an index's manifest records of its encoder: reference, fingerprint, settings. ``shared`` is the
    id of the trained files that the shards have in common ("" where each has its own): scores by codes compare then.
    ``intake`` names the shard whose manifest has the sources and the ledger of all shards; "" where each has its own.
    ``epoch`` is that of the writer's lease. ``settings`` are what the index was made with.
    """

    encoder: dict[str, Any]
    dim: int
    shards: tuple[Shard, ...]
    statistics: Statistics
    generation: int = 0
    shared: str = ""
    intake: str = ""
    epoch: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def tail(self) -> Shard | None:
        """The shard that adds write to; None where there is none yet."""
        return self.shards[-1] if self.shards and self.shards[-1].tail else None

    def shard(self, name: str) -> Shard:
        """A shard by name. Raises IndexStoreError where there is none."""
        for shard in self.shards:
            if shard.name == name:
                return shard
        names = ", ".join(shard.name for shard in self.shards[:8]) + (", …" if len(self.shards) > 8 else "")
        raise IndexStoreError(f"there is no shard {name!r}; expected one of {names}")

    def named(self, given: Sequence[str], *, all_there: bool = True) -> tuple[Shard, ...]:
        """The shards that names stand for, in order: see ``stands_for``.

        Raises IndexStoreError where they stand for none, and, with ``all_there``, where one of them does, but for that
        of the tail.
        """
        found = tuple(shard for shard in self.shards if any(stands_for(name, shard.name) for name in given))
        for name in given:
            if all_there and name != TAIL and not any(stands_for(name, shard.name) for shard in found):
                self.shard(name)
        if not found and given:
            self.shard(given[0])
        return found


class CorruptRootError(IndexStoreError):
    """A root manifest that is damaged, or says what cannot be."""


def base_name(name: str) -> str:
    """What a shard has in common with those that ``compact`` made of it: its name without what it got by chance."""
    match = _SUCCESSOR.fullmatch(name)
    return match[1] if match else name


def stands_for(given: str, name: str) -> bool:
    """Whether a name that was given to a server means a shard: this one, or what ``compact`` made of it.

    ``t`` means the tail, and what was a tail once.
    """
    return base_name(given) == base_name(name)


def root_name(generation: int) -> str:
    """The file of a generation."""
    return f"root-{generation:010d}.json"


def manifest_name(number: int) -> str:
    """The manifest file of a shard's state."""
    return f"manifest-{number:010d}.json"


def based(shards: tuple[Shard, ...]) -> tuple[Shard, ...]:
    """The same shards in this order, with the bases that follow from it."""
    base, placed = 0, []
    for shard in shards:
        placed.append(replace(shard, base=base))
        base += shard.rows
    return tuple(placed)


def shard_of(name: str, manifest: Manifest, *, tail: bool = False) -> Shard:
    """How a root names a committed state of a shard; its base follows from the order: ``based``."""
    deleted = manifest.rows - manifest.documents
    sha256 = hashlib.sha256(dump_manifest(manifest)).hexdigest()
    return Shard(name, manifest.number, sha256, 0, manifest.rows, deleted, tail)


def generations(place: Place) -> list[int]:
    """The generations that are there, newest first."""
    found = [_FILE.fullmatch(name) for name in place.list()]
    return sorted((int(match[1]) for match in found if match), reverse=True)


def load_root(place: Place, generation: int | None = None, *, where: str = "the index") -> Root:
    """A generation, by default the newest. ``where`` is what messages call the place.

    Raises IndexStoreError where there is none, CorruptRootError for one that is damaged: an older one in its place
    would be an answer of yesterday that nobody asked for.
    """
    if generation is None:
        found = generations(place)
        if not found:
            raise IndexStoreError(f"{where} has no root-*.json; make one with `searchapp build … --shards auto`")
        generation = found[0]
    name = root_name(generation)
    try:
        data = place.get(name)
    except FileNotFoundError:
        raise IndexStoreError(f"{where} has no generation {generation}: {name} is not there") from None
    try:
        root = parse(data)
        if root.generation != generation:
            raise CorruptRootError(f"says generation {root.generation}")
    except CorruptRootError as error:
        raise CorruptRootError(
            f"{where} is damaged: {name} {error}; put a copy of it in its place, or remove it to go back to the "
            "generation before"
        ) from error
    return root


def commit_root(place: Place, root: Root) -> Root:
    """Publish a generation; the shards it names are durable already.

    Raises IndexStoreError where another writer has published this generation first, CorruptRootError for what no reader
    would take.
    """
    try:
        check(root)
    except CorruptRootError as error:
        raise CorruptRootError(f"the root manifest {error}; it was not published") from error
    try:
        place.put_new(root_name(root.generation), dump(root))
    except FileExistsError as error:
        raise IndexStoreError(
            f"generation {root.generation} was published by another writer meanwhile; run the same command again"
        ) from error
    return root


def dump(root: Root) -> bytes:
    """The bytes of a root manifest."""
    body = json_bytes(json.dumps(asdict(root), ensure_ascii=False, sort_keys=True))
    return _checksum(body) + b"\n" + body


def parse(data: bytes) -> Root:
    """Read a root manifest. Raises CorruptRootError, which says what is wrong."""
    head, _, body = data.partition(b"\n")
    if _checksum(body) != head:
        raise CorruptRootError("does not match its checksum")
    try:
        content = json.loads(body)
    except ValueError as error:
        raise CorruptRootError(f"holds no JSON ({error})") from error
    if not isinstance(content, dict):
        raise CorruptRootError("holds no JSON object")
    found = content.get("format")
    if type(found) is not int or found != FORMAT:
        raise CorruptRootError(f"has format {found!r}, this searchapp reads format {FORMAT}: use the one that wrote it")
    shards = content.get("shards")
    if not isinstance(shards, list):
        raise CorruptRootError("has no list of shards")
    content["shards"] = tuple(_record(Shard, shard) for shard in shards)
    content["statistics"] = _record(Statistics, content.get("statistics"))
    root: Root = _record(Root, content)
    check(root)
    return root


def check(root: Root) -> None:
    """Raise CorruptRootError for numbers and names that cannot be."""
    base = 0
    if root.dim < 1 or root.generation < 1 or root.epoch < 0:
        raise CorruptRootError(f"has dim {root.dim}, generation {root.generation}, epoch {root.epoch}")
    for number, shard in enumerate(root.shards):
        if not SHARD_NAME.fullmatch(shard.name):
            raise CorruptRootError(f"names a shard {shard.name!r}; expected small letters, digits and '-'")
        if not _SHA256.fullmatch(shard.sha256) or shard.manifest < 1:
            raise CorruptRootError(f"names no manifest of the shard {shard.name}")
        if shard.base != base or not 0 <= shard.deleted <= shard.rows:
            raise CorruptRootError(
                f"has the shard {shard.name} at {shard.base} with {shard.rows} rows, {shard.deleted} deleted; expected "
                f"it at {base}"
            )
        if shard.tail and number != len(root.shards) - 1:
            raise CorruptRootError(f"has a tail, {shard.name}, that is not the last shard")
        base += shard.rows
    names = {shard.name for shard in root.shards}
    if len(names) != len(root.shards):
        raise CorruptRootError("names a shard twice")
    if root.intake and root.intake not in names:
        raise CorruptRootError(f"has its sources in a shard {root.intake!r} that it does not name")
    there = sum(shard.documents for shard in root.shards)
    if root.statistics.documents != there or root.statistics.terms < 0:
        raise CorruptRootError(
            f"counts {root.statistics.documents} documents with {root.statistics.terms} terms; its shards have {there}"
        )


def _record(kind: Any, content: Any) -> Any:
    """A record of JSON values: each of its field's type, none that is not known, none missing without a default."""
    if not isinstance(content, dict):
        raise CorruptRootError(f"has no {kind.__name__.lower()}")
    kinds = {item.name: str(item.type) for item in fields(kind)}
    if unknown := sorted(content.keys() - kinds.keys()):
        raise CorruptRootError(f"has an unknown key {unknown[0]!r}")
    plain = {"str": str, "int": int, "bool": bool}
    for name, value in content.items():
        wanted = dict if kinds[name].startswith("dict") else plain.get(kinds[name])
        if wanted is not None and type(value) is not wanted:
            raise CorruptRootError(f"has {name} {value!r}; expected {kinds[name].partition('[')[0]}")
    try:
        return kind(**content)
    except TypeError as error:
        raise CorruptRootError(f"lacks a key ({error})") from error


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode("ascii")
