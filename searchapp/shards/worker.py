"""A worker of a build: an encoder in a process of its own, asked for chunks over its standard input.

It reads JSON lines and answers each with one. It ends at once when whoever started it does: a chunk that nobody waits
for would be encoded twice.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import ModelError, SearchAppError, reason_of
from searchapp.index.building import PACKAGES
from searchapp.index.encoder_match import recorded_encoder
from searchapp.index.storage.manifest import Build, Manifest
from searchapp.provenance import package_versions
from searchapp.shards.chunk import encode_chunk
from searchapp.shards.places import open_store
from searchapp.shards.plan import PROBE_TEXTS, Plan, load_plan
from searchapp.shards.store import Store

NEAR = 1e-3  # how far the cosine of a vector made here and by the plan's maker may be from 1


def load_encoder(plan: Plan, device: str = "auto") -> Encoder:
    """The encoder of a plan on this machine. Raises ModelError where it is another one, or makes other vectors."""
    recorded = Manifest(plan.encoder, plan.dim, Build(()))
    encoder = recorded_encoder(recorded, Path("the plan"), device, backend=str(plan.encoder["backend"]))
    require_alike(plan, encoder)
    return encoder


def require_alike(plan: Plan, encoder: Encoder) -> None:
    """Raise ModelError unless an encoder makes the vectors of a few texts that the plan has."""
    if not plan.probes:
        return
    made = encoder.encode_counted(list(PROBE_TEXTS), encoder.settings.document_instruction).vectors.astype(np.float64)
    planned = np.array(plan.probes, dtype=np.float64)
    cosines = np.vecdot(made, planned) / np.linalg.norm(made, axis=1) / np.linalg.norm(planned, axis=1)
    if not (cosines >= 1 - NEAR).all():
        raise ModelError(
            f"the model gives other vectors here than where the plan was made (cosine {cosines.min():.4f}, expected "
            f"{1 - NEAR:g}); use the same versions and the same precision"
        )


def require_versions(plan: Plan) -> None:
    """Raise ModelError where this machine has other packages than the plan was made with."""
    here = package_versions(PACKAGES)
    if wrong := [name for name, version in plan.versions.items() if here.get(name) != version]:
        name = wrong[0]
        raise ModelError(f"{name} {here.get(name)} here, {plan.versions[name]} in the plan; install the same")


def work(store: Store, plan: Plan, number: int, encoder: Encoder, worker: str) -> str:
    """Encode a chunk; the reason where it fails, else "". Raises nothing that an input can cause."""
    try:
        encode_chunk(store, plan, number, encoder, worker=worker)
    except SearchAppError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {reason_of(error)}"
    return ""


def here(name: str) -> str:
    """What the records of chunks call a worker on this machine."""
    return f"{name}@{socket.gethostname()}"[:80]


def main() -> None:
    """Serve one parent until it closes our standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends us
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that nothing a library prints gets between the answers
    asked: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(asked,), name="searchapp-asked", daemon=True).start()
    serve(asked.get, lambda answer: print(json.dumps(answer), file=answers, flush=True))  # noqa: T201 - the protocol


def serve(ask: Callable[[], dict[str, Any]], answer: Callable[[dict[str, Any]], None]) -> None:
    """Load what the first message names, say so, and encode the chunks that the others name."""
    first = ask()
    versions = package_versions(PACKAGES)
    try:
        store = open_store(first["place"], scratch=first.get("scratch"))
        plan = load_plan(store)
        require_versions(plan)
        encoder = load_encoder(plan, first["device"])
    except Exception as error:
        said = str(error) if isinstance(error, SearchAppError) else f"{type(error).__name__}: {reason_of(error)}"
        answer({"ready": False, "refused": said, "versions": versions})
        return
    answer({"ready": True, "versions": versions})
    name = here(first["worker"])
    while True:
        number = int(ask()["chunk"])
        began = time.perf_counter()
        reason = work(store, plan, number, encoder, name)
        answer({"chunk": number, "reason": reason, "seconds": time.perf_counter() - began})


def _listen(asked: queue.Queue[dict[str, Any]]) -> None:
    """Hand on what the parent writes; end the process when the parent is gone."""
    for line in sys.stdin:
        asked.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
