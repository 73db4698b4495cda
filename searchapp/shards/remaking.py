"""The next generation of a root, whose shards have other vectors or other search indexes: made beside the one it has.

What is trained is trained once for all shards, as a build does it, and each is made by it under a new name. Their
documents are linked, not copied. All are published together; what was made before an interruption is gone on with, as
long as the shards are those that it was begun with. The tail stays one, and is compared exactly.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.builder import Stage
from searchapp.index.ann.queries import EncodeQueries, write_queries
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.shards.place import BEGUN
from searchapp.shards.plan import sample_rows
from searchapp.shards.root import FOLDER, Root, Shard, base_name, shard_of
from searchapp.shards.sample import merged, sample_of
from searchapp.shards.sealed import digest_of, seal, unseal
from searchapp.shards.store import LocalStore
from searchapp.shards.train import SharedTraining, load_training, request_for, train
from searchapp.shards.writer import RootWriter, linked

FILE = f"{BEGUN}/begun.json"


@dataclass(frozen=True)
class Next:
    """What becomes of a shard: its state without a search index, and where those files lie that it has not now."""

    shard: Shard
    manifest: Manifest
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        """Whether it gets a search index; the tail has none."""
        return bool(self.manifest.documents) and not self.shard.tail


def asked(root: Root) -> AnnRequest:
    """What was asked of the search indexes of a root."""
    found = root.settings
    return AnnRequest(found.get("pca"), found.get("factory", "auto"), Targets.from_json(found.get("targets", {})))


def remake(
    writer: RootWriter,
    shards: Sequence[Next],
    request: AnnRequest,
    *,
    encode: EncodeQueries | None = None,
    probes: np.ndarray | None = None,
    device: str = "cpu",
    stage: Stage | None = None,
    **changes: Any,
) -> Manifest:
    """Make these of all shards of a root, in order, and publish them; returns the state of all together.

    Search indexes are measured by ``probes`` fp16 (n, dim), else by what ``encode`` encodes, else by synthetic queries.
    ``changes`` are other fields of the root. Raises IndexStoreError; what was made stays for the next run. To be
    followed by ``forget``.
    """
    stage = stage or (lambda _: None)
    store = LocalStore(writer.root, writer.disk, writer.root / BEGUN / "work")
    nonce = _begun(store, shards, request)
    names = [_name(nonce, number, one) for number, one in enumerate(shards)]
    for name, one in zip(names, shards, strict=True):
        _prepare(writer, name, one)
    trained = [(name, one) for name, one in zip(names, shards, strict=True) if one.is_trained]
    training = None
    if trained:
        stage("training")
        training = _trained(store, nonce, trained, request, encode, probes, device, stage)
    made = []
    for number, (name, one) in enumerate(zip(names, shards, strict=True)):
        stage(f"making shard {number + 1} of {len(shards)}")
        made.append(_finished(writer, name, one, training, device, stage))
    intake = dict(zip((one.shard.name for one in shards), names, strict=True)).get(writer.generation.intake, "")
    is_shared = training is not None and bool(training.trained.index or training.trained.pca is not None)
    settings = {"pca": request.pca, "factory": request.factory, "targets": request.targets.to_json()}
    manifest = writer.publish(
        tuple(made),
        intake,
        shared=training.trained.id if training is not None and is_shared else "",
        **{**changes, "settings": changes.get("settings", writer.generation.settings) | settings},
    )
    return manifest


def forget(root: Path) -> None:
    """Remove what was begun and is published, or is not wanted any more."""
    shutil.rmtree(root / BEGUN, ignore_errors=True)


def _begun(store: LocalStore, shards: Sequence[Next], request: AnnRequest) -> str:
    """What new names begin with: the same as in the run before, where that was for the same, else others."""
    content = [
        [[one.shard.name, one.shard.sha256, one.manifest.encoder, sorted(one.files)] for one in shards],
        [request.pca, request.factory, request.targets.to_json()],
    ]
    wanted = digest_of(json.loads(json.dumps(content, default=str)))
    try:
        found = unseal(store.get(FILE), FILE)
        if found.get("for") == wanted:
            return str(found["nonce"])
    except (FileNotFoundError, IndexStoreError):
        pass
    for name in [FILE, *(name for part in ("", "/data") for name in store.list(f"{BEGUN}{part}"))]:
        store.delete(name)
    nonce = uuid.uuid4().hex[:8]
    store.put_new(FILE, seal({"for": wanted, "nonce": nonce}))
    return nonce


def _name(nonce: str, number: int, one: Next) -> str:
    """A new name of a shard: that of the one it comes from, by which servers know it, and what tells all apart."""
    return f"{base_name(one.shard.name)}-{(int(nonce, 16) + number) % 2**32:08x}"


def _prepare(writer: RootWriter, name: str, one: Next) -> None:
    """Commit the state of a shard that has no search index yet, but for one that was committed before."""
    folder = writer.root / FOLDER / name
    with Writer.open(folder, writer.disk) as made:
        if made.manifest is not None and not made.notices:
            return
        for file in one.manifest.files:
            source = one.files.get(file, writer.root / FOLDER / one.shard.name / "data" / file)
            linked(source, made.path(file), writer.disk)
        writer.disk.sync_directory(made.data)
        made.commit(one.manifest)
        made.publish_rejections()


def _trained(
    store: LocalStore,
    nonce: str,
    shards: Sequence[tuple[str, Next]],
    request: AnnRequest,
    encode: EncodeQueries | None,
    probes: np.ndarray | None,
    device: str,
    stage: Stage,
) -> SharedTraining:
    """What all shards are trained to, which is kept until they are published."""
    dim = shards[0][1].manifest.dim
    known = load_training(store, dim, BEGUN)
    if known is not None:
        return known
    documents = [one.manifest.documents for _, one in shards]
    rows = sample_rows(dim, sum(documents))
    parts = (
        sample_of(Snapshot.open(store.root / FOLDER / name), count / sum(documents), rows)
        for (name, _), count in zip(shards, documents, strict=True)
    )
    largest = max(documents)
    wanted = request_for(request, largest, sum(documents))
    return train(
        store, BEGUN, merged(parts, rows, dim), wanted, largest, encode, probes=probes, device=device, stage=stage
    )


def _finished(
    writer: RootWriter,
    name: str,
    one: Next,
    training: SharedTraining | None,
    device: str,
    stage: Stage,
) -> Shard:
    """A shard with its search index, as the root names it."""
    with Writer.open(writer.root / FOLDER / name, writer.disk) as made:
        manifest = made.state
        if manifest.state != "ready":
            if training is None or not one.is_trained:
                manifest = made.commit(replace(manifest, state="ready"))
            else:
                if training.probes is not None:
                    with made.draft("probes") as (file, draft, entries):
                        write_queries(draft, training.probes)
                    manifest = manifest.with_files(probes=file, files=entries)
                manifest = build_ann(
                    made, training.request, manifest=manifest, stage=stage, device=device, trained=training.trained
                )
    return shard_of(name, manifest, tail=one.shard.tail)
