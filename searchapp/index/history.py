"""What was done to an index, a line each: builds, adds, deletes, compactions, with time, tokens and versions.

The file is no part of the index: it is not needed to search it, nothing is restored from it, and where it cannot be
written the work counts all the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.writer import HISTORY
from searchapp.provenance import package_versions

if TYPE_CHECKING:
    from searchapp.index.added import Added

log = logging.getLogger(__name__)
FILE = HISTORY
PACKAGES = ("searchapp", "torch", "transformers", "faiss-cpu", "faiss-gpu", "numpy")


@dataclass(frozen=True)
class Event:
    """Something that was done: ``what`` (build, add, delete, compact), when (UTC, ISO 8601), and its facts."""

    at: str
    what: str
    facts: Mapping[str, Any]


def note(root: Path, what: str, manifest: Manifest, **facts: Any) -> None:
    """Note what was done to the index at ``root``, which is ``manifest`` now; once for each state."""
    if any(event.facts.get("generation") == manifest.number for event in read(root)):
        return
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": what,
        "generation": manifest.number,
        "documents": manifest.documents,
        **{name: round(value, 3) if isinstance(value, float) else value for name, value in facts.items()},
        "versions": package_versions(PACKAGES),
    }
    try:
        with (root / FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        log.debug("%s cannot be written: %s", root / FILE, error)


def read(root: Path) -> list[Event]:
    """What was noted, oldest first; a line that is damaged is passed over."""
    try:
        lines = (root / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            fields = dict(json.loads(line))
            found.append(Event(str(fields.pop("at")), str(fields.pop("what")), fields))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def add_facts(done: Added) -> dict[str, Any]:
    """The facts of an add."""
    names = ("added", "changed", "unchanged", "removed", "rejected", "encoded", "tokens", "seconds")
    return {name: getattr(done, name) for name in names}


def build_facts(manifest: Manifest, encoded: int) -> dict[str, Any]:
    """The facts of a build."""
    plan = manifest.build
    spent = sum(plan.seconds.get(name, 0.0) for name in ("read", "encode", "words", "index"))
    return {"encoded": encoded, "rejected": plan.rejected, "tokens": plan.tokens, "seconds": spent}
