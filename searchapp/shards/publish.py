"""From chunks that are all done to a root that is published: settle, train, assemble, publish; each step once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index.ann.queries import EncodeQueries
from searchapp.shards.assemble import DONE as SHARDS
from searchapp.shards.assemble import ShardDone, Whole, assemble, grouped, is_there, shard_name
from searchapp.shards.chunk import DATA, DONE, FAILED, ChunkDone, done_ids, missing, read_done
from searchapp.shards.collecting import collect
from searchapp.shards.lease import SECONDS, Lease, leased
from searchapp.shards.place import BEGUN
from searchapp.shards.plan import FILE as PLAN
from searchapp.shards.plan import Plan
from searchapp.shards.root import CorruptRootError, Root, Statistics, based, commit_root, generations, load_root
from searchapp.shards.settle import settle
from searchapp.shards.store import WORK, LocalStore, Store
from searchapp.shards.train import FILE as TRAINED
from searchapp.shards.train import train_shared
from searchapp.shards.writer import snapshot_of

PATIENCE = SECONDS  # for a writer of the root, when all is ready to be published
MADE_BY = "plan"  # the key of a root's settings that has the digest of the plan


@dataclass(frozen=True)
class Published:
    """The root, and what its build came to: documents that were rejected, tokens, and whether it was there already."""

    root: Root
    rejected: int
    tokens: int
    already_done: bool = False


def find_published(store: Store, plan: Plan) -> Published | None:
    """The root that a plan came to; None where it was not published yet, or another state is newer."""
    if not generations(store):
        return None
    root = load_root(store, where=store.name)
    found = root.settings
    if found.get(MADE_BY) != plan.digest:
        return None
    return Published(root, int(found.get("rejected", 0)), int(found.get("tokens", 0)), already_done=True)


def finish(
    store: Store,
    plan: Plan,
    encode: EncodeQueries | None,
    *,
    device: str = "cpu",
    stage: Callable[[str], None] | None = None,
) -> Published:
    """Make shards of the chunks, which are all done, and publish their root.

    ``encode`` encodes the queries that indexes are measured with; None: synthetic ones. Raises IndexStoreError where
    chunks are missing, CorpusError where they have no documents.
    """
    stage = stage or (lambda _: None)
    known = find_published(store, plan)
    if known is not None:
        clear(store)  # as the run that published it may have been stopped before it did
        return known
    if left := missing(plan, done_ids(store)):
        raise IndexStoreError(f"{len(left):,} of {len(plan.chunks):,} chunks are not done; encode them first")
    if plan.chunks and not store.list(DATA):
        raise IndexStoreError(
            f"{store.name} was built already, and is another index since or has lost files of its chunks; change it "
            "with `searchapp add` or `reembed`, or give --overwrite to build in its place"
        )
    stage(f"reading the records of {len(plan.chunks):,} chunks")
    done = [read_done(store, chunk) for chunk in plan.chunks]
    documents = [one.documents for one in done]
    if not sum(documents):
        names = ", ".join(source.name for source in plan.sources)
        raise CorpusError(f"{names} holds no usable document; expected at least one")
    stage("comparing the ids of all chunks")
    settled = settle(store, done)
    whole = Whole.of(plan, done, settled)
    groups = grouped(plan, documents)
    rows = max(sum(documents[number] for number in group) for group in groups)
    stage("training")
    training = train_shared(store, plan, done, rows, encode, device=device, stage=stage)
    shards = []
    for number, group in enumerate(groups):
        stage(f"making shard {number + 1} of {len(groups)}")
        parts = [done[place] for place in group]
        shards.append(
            assemble(store, plan, shard_name(plan, number), parts, whole, training, device=device, stage=stage)
        )
    is_shared = bool(training.trained.index) or training.trained.pca is not None
    published = _publish(store, plan, done, shards, training.trained.id if is_shared else "")
    clear(store)
    if isinstance(store, LocalStore) and published.root.generation > 1:  # in the place of another build
        with suppress(OSError):
            collect(store, store.disk, kept=1)
            shutil.rmtree(store.root / BEGUN, ignore_errors=True)
    return published


def _publish(
    store: Store, plan: Plan, done: Sequence[ChunkDone], shards: Sequence[ShardDone], shared: str
) -> Published:
    with _writing(store) as lease:
        return _committed(store, plan, done, shards, shared, lease)


@contextmanager
def _writing(store: Store) -> Iterator[Lease]:
    """Hold the lease of the root, so that no writer changes it meanwhile; one that does is waited for.

    Raises IndexStoreError where it does not end.
    """
    with ExitStack() as stack:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                lease = stack.enter_context(leased(store, store.name))
                break
            except IndexStoreError as error:
                if time.monotonic() >= until:
                    raise IndexStoreError(
                        f"{error}; what was built stays: run the same command again to publish it"
                    ) from error
                time.sleep(0.2)
        yield lease


def _committed(
    store: Store, plan: Plan, done: Sequence[ChunkDone], shards: Sequence[ShardDone], shared: str, lease: Lease
) -> Published:
    known = find_published(store, plan)
    if known is not None:  # another driver of this plan was first
        return known
    rejected, tokens = sum(one.rejected for one in shards), sum(one.tokens for one in done)
    made = based(tuple(one.shard for one in shards))
    root = Root(
        encoder=plan.encoder,
        dim=plan.dim,
        shards=made,
        statistics=Statistics(sum(one.documents for one in made), sum(one.terms for one in shards)),
        generation=1 + max([0, *generations(store)]),
        shared=shared,
        epoch=lease.epoch,
        settings={
            MADE_BY: plan.digest,
            "pca": plan.pca,
            "factory": plan.factory,
            "targets": plan.targets,
            "lexical": plan.lexical,
            "sources": [source.name for source in plan.sources],
            "chunks": len(plan.chunks),
            "rejected": rejected,
            "tokens": tokens,
        },
        versions=plan.versions,
    )
    require_shards(store, root)
    lease.check()
    try:
        return Published(commit_root(store, root), rejected, tokens)
    except CorruptRootError:
        raise
    except IndexStoreError:
        known = find_published(store, plan)  # another driver of this plan was first
        if known is None:
            raise
        return known


def require_shards(store: Store, root: Root) -> None:
    """Raise IndexStoreError unless each shard of a root is there, in the state that it names."""
    for shard in root.shards:
        if not is_there(store, shard):
            raise IndexStoreError(
                f"{store.name} lacks the shard {shard.name} as it was made; run the same command again to make it anew"
            )
    if isinstance(store, LocalStore):
        snapshot_of(store.root, root)


def clear(store: Store) -> None:
    """Remove what chunks came to, as shards have it, and what killed workers left. Records stay, as what was done."""
    for name in store.list(DATA):
        store.delete(name)
    if isinstance(store, LocalStore):
        shutil.rmtree(store.root / WORK, ignore_errors=True)


def start_again(store: Store) -> None:
    """Forget a build, whatever it came to; a root that was published stays until another takes its place.

    The plan goes last: what is left where this is stopped is still that plan's. A record goes before what it speaks of.
    """
    records = (name for folder in (DONE, FAILED, DATA) for name in store.list(folder))
    for name in [*store.list(SHARDS), TRAINED, *records, PLAN]:
        store.delete(name)
