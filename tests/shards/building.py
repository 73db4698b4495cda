"""Sources and plans for the tests of a build on many workers, over an encoder that needs no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from searchapp.corpus import open_source
from searchapp.index.building import BuildSettings
from searchapp.index.storage.snapshot import Snapshot
from searchapp.shards.plan import Plan, commit_plan, make_plan
from searchapp.shards.store import LocalStore
from tests.index.conftest import HashEncoder
from tests.index.power import Unsynced


def write_sources(folder: Path, rows: int = 90) -> list[str]:
    """JSONL with rejected and duplicated records, a folder of texts and a table that repeats some ids."""
    folder.mkdir(exist_ok=True)
    with (folder / "a.jsonl").open("w") as file:
        for number in range(rows):
            name = f"a{number % (rows - 9)}"  # the last nine are duplicates
            file.write(json.dumps({"_id": name, "text": f"the {number} fox jumps over {number % 7} dogs", "n": number}))
            file.write("\n")
            if number % 17 == 3:
                file.write("no json at all\n")
    texts = folder / "notes"
    texts.mkdir(exist_ok=True)
    for number in range(12):
        (texts / f"{number:02d}.md").write_text(f"# note {number}\n\nbirds sing {number} songs\n")
    lines = [f"{'a' if number % 5 == 0 else 'c'}{number},a table row {number}" for number in range(40)]
    (folder / "c.csv").write_text("\n".join(["id,text", *lines]) + "\n")
    return [str(folder / "a.jsonl"), str(texts), str(folder / "c.csv")]


def planned(root: Path, sources: list[str], encoder: Any = None, *, tokens: int = 60, **changes: Any):
    """A store below ``root`` with a plan that is committed."""
    store = LocalStore(root, Unsynced())
    shards = changes.pop("shards", 0)
    plan = make_plan(
        [open_source(source) for source in sources],
        encoder or HashEncoder(),
        BuildSettings(**changes),
        tokens=tokens,
        shards=shards,
    )
    return store, commit_plan(store, plan)


def documents_of(path: Path) -> list[tuple[str, str, str, dict]]:
    """The documents of an index that are not deleted, in order."""
    snapshot = Snapshot.open(path)
    gone = snapshot.deleted
    return [
        (one.id, one.title, one.text, dict(one.metadata))
        for row in range(snapshot.manifest.rows)
        if not gone[row]
        for one in [snapshot.documents.read(row)]
    ]


def rebuilt(plan: Plan) -> Plan:
    """The plan as another process reads it."""
    from searchapp.shards.plan import _from_json, _to_json

    return _from_json(json.loads(json.dumps(_to_json(plan))))
