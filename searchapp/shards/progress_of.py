"""How far a build is, read from its store alone: no driver has to run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from searchapp.errors import IndexStoreError
from searchapp.shards.assemble import DONE as SHARDS
from searchapp.shards.chunk import FAILED, done_ids
from searchapp.shards.plan import Plan
from searchapp.shards.publish import find_published
from searchapp.shards.sealed import unseal
from searchapp.shards.store import Store
from searchapp.shards.train import FILE as TRAINED


@dataclass(frozen=True)
class BuildState:
    """Where a build stands. ``tokens`` are as the plan estimates them; ``failed`` are chunks with the last reason."""

    stage: str
    chunks: int
    done: int
    tokens: int
    tokens_done: int
    shards: int
    failed: dict[int, str]
    generation: int


def build_state(store: Store, plan: Plan) -> BuildState:
    """Look at a build by a few listings."""
    ids = done_ids(store)
    done = [chunk for chunk in plan.chunks if chunk.id in ids]
    failed = {}
    for name in store.list(FAILED):
        with contextlib.suppress(FileNotFoundError, IndexStoreError, KeyError):
            record = unseal(store.get(name), name)
            if plan.chunks[int(record["chunk"])].id not in ids:
                failed[int(record["chunk"])] = str(record["reason"])
    published = find_published(store, plan)
    shards = len(store.list(SHARDS))
    trained = TRAINED in store.list("build")
    stage = "encoding" if len(done) < len(plan.chunks) else "assembling" if trained or shards else "training"
    return BuildState(
        "published" if published else stage, len(plan.chunks), len(done), plan.tokens,
        sum(chunk.tokens for chunk in done), len(published.root.shards) if published else shards,
        dict(sorted(failed.items())), published.root.generation if published else 0,
    )  # fmt: skip
