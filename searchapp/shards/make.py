"""``searchapp build`` on many workers: from sources to a root, each stage once, whatever was interrupted before."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from searchapp.corpus.source import find_source
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.index.building import BuildSettings
from searchapp.index.intake.names import absolute
from searchapp.index.storage.commits import numbered
from searchapp.provenance import package_versions
from searchapp.shards.chunk import done_ids, missing
from searchapp.shards.driver import Driven, Driver, Progressed
from searchapp.shards.engine import NAMES, NONE, PROCESSES, RAY, Engine
from searchapp.shards.places import open_store
from searchapp.shards.plan import FILE as PLAN
from searchapp.shards.plan import Plan, commit_plan, load_plan, make_plan, require_no_secrets
from searchapp.shards.processes import Processes
from searchapp.shards.publish import Published, clear, find_published, finish, start_again
from searchapp.shards.root import generations
from searchapp.shards.sealed import digest_of
from searchapp.shards.store import LocalStore, Store

Stage = Callable[[str], None]


@dataclass(frozen=True)
class EngineSettings:
    """Who encodes the chunks: ``engine`` is processes, none, or ray with an address behind a colon.

    ``workers`` encode at once; ``shards`` and ``tokens`` are as ``make_plan`` takes them. ``resume`` goes on with a
    build that was begun, ``overwrite`` starts again. ``scratch`` is a folder of this machine to work in. ``insecure``
    lets a cluster of Ray have no token.
    """

    engine: str = PROCESSES
    workers: int = 2
    shards: int = 0
    tokens: int | None = None
    resume: bool = False
    overwrite: bool = False
    scratch: str | None = None
    devices: tuple[str, ...] = ("auto",)
    insecure: bool = False

    def check(self) -> None:
        """Raise IndexStoreError for an engine that is not known, or a number that is none."""
        if self.engine.partition(":")[0] not in NAMES:
            raise IndexStoreError(f"--engine {self.engine!r} is not known; expected processes, ray[:ADDRESS] or none")
        if self.engine.startswith((f"{PROCESSES}:", f"{NONE}:")):
            raise IndexStoreError(f"--engine {self.engine!r}: only ray has an address")
        for name, value in (("workers", self.workers), ("chunk-tokens", self.tokens or 1)):
            if value < 1:
                raise IndexStoreError(f"--{name} {value} is too small; give 1 or more")
        if self.shards < 0:
            raise IndexStoreError(f"--shards {self.shards} is too small; give auto, or 1 or more")
        if self.resume and self.overwrite:
            raise IndexStoreError("--resume goes on with a build, --overwrite starts again; give one of them")


@dataclass(frozen=True)
class Made:
    """What a run came to. ``published`` is None where chunks have failed, or are left to other programs."""

    plan: Plan
    published: Published | None
    driven: Driven | None = None
    left: int = 0
    failed: dict[int, str] = field(default_factory=dict)


def make(
    sources: Sequence[str],
    place: str,
    load: Callable[[], Encoder],
    settings: BuildSettings,
    engine: EngineSettings,
    *,
    asked: dict[str, Any] | None = None,
    report: Callable[[Progressed], None] | None = None,
    stage: Stage | None = None,
) -> Made:
    """Build a root at ``place``, a folder or a URL, or go on with one; a finished build is left as it is.

    ``load`` loads the model, where it is needed. ``asked`` are its options, by which the same request is known without
    loading it. Raises CorpusError, ModelError or IndexStoreError; what was committed stays.
    """
    engine.check()
    require_no_secrets(sources)
    stage = stage or (lambda _: None)
    store = open_store(place, engine.scratch)
    refuse_other(store)
    if engine.overwrite:
        start_again(store)
    key = request_key(sources, settings, engine.shards, asked or {})
    try:
        there = load_plan(store)
    except IndexStoreError:
        if engine.resume or PLAN in store.list("build"):
            raise
        if generations(store) and not engine.overwrite:
            raise IndexStoreError(
                f"{store.name} holds an index that was made otherwise; change it with `searchapp add`, give another "
                "--index, or --overwrite to build in its place"
            ) from None
        there = None
    encoder: list[Encoder] = []

    def loaded() -> Encoder:
        if not encoder:
            encoder.append(load())
        return encoder[0]

    if there is not None and there.asked == key:
        plan = there
    else:
        stage("planning")
        opened = [find_source(source, selection=settings.selection) for source in sources]
        made = make_plan(
            opened, loaded(), settings, shards=engine.shards, workers=engine.workers, tokens=engine.tokens, asked=key
        )
        plan = commit_plan(store, made)
    known = find_published(store, plan)
    if known is not None:
        clear(store)
        return Made(plan, known)
    driven = None
    if left := missing(plan, done_ids(store)):
        if engine.engine == NONE:
            return Made(plan, None, left=len(left))
        stage(f"encoding {len(left):,} of {len(plan.chunks):,} chunks by {engine.workers} workers")
        driven = Driver(store, plan, _engine(place, engine), report=report).run()
        if driven.failed:
            return Made(plan, None, driven, len(driven.failed), driven.failed)
    published = finish(
        store, plan, lambda texts: loaded().encode_queries(texts), device=_first(engine.devices), stage=stage
    )
    return Made(plan, published, driven)


def refuse_other(store: Store) -> None:
    """Raise IndexStoreError where a place holds an index of one directory, or what is not ours."""
    if isinstance(store, LocalStore) and store.root.is_dir():
        if numbered(store.root):
            raise IndexStoreError(
                f"{store.name} holds an index of one directory; give another --index, or build without --engine"
            )
        names = {path.name for path in store.root.iterdir()}
        if names and not names & {"build"} and not generations(store):
            raise IndexStoreError(f"{store.name} has files in it but is no index; choose another --index directory")


def request_key(sources: Sequence[str], settings: BuildSettings, shards: int, asked: dict[str, Any]) -> str:
    """A digest of a request, by its words and by the files it names: sources, and a model that is a folder."""
    found = [find_source(source, selection=settings.selection) for source in sources]
    content = [
        package_versions(["searchapp"]),
        [[absolute(one.name), one.kind, one.identity()] for one in found],
        asdict(settings),
        shards,
        asked,
        [_stamp(Path(str(name))) for name in (asked.get("model"), asked.get("base"), *asked.get("adapter", ()))],
    ]
    return digest_of(json.loads(json.dumps(content, default=str)))


def _stamp(path: Path) -> list[list[Any]]:
    """Names, sizes and times of a folder's files; none of what is no folder."""
    if not path.is_dir():
        return []
    files = [(file, file.stat()) for file in sorted(path.iterdir()) if file.is_file()]
    return [[file.name, found.st_size, found.st_mtime_ns] for file, found in files]


def _first(devices: Sequence[str]) -> str:
    return "cpu" if devices[0] == "auto" else devices[0]


def _engine(place: str, engine: EngineSettings) -> Engine:
    if engine.engine.partition(":")[0] == RAY:
        from searchapp.shards.on_ray import RayEngine

        address = engine.engine.partition(":")[2]
        return RayEngine(place, engine.workers, address, insecure=engine.insecure, devices=engine.devices)
    return Processes(str(place), engine.workers, engine.devices, engine.scratch)
