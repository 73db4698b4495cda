"""The record of a run while several processes look for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from searchapp.adapt.run_record import RECORD, find_record, write_record
from searchapp.errors import AdaptError

WANTED: dict[str, Any] = {
    "stage": "mntp", "settings": {"steps": 3}, "model": {"name": "m", "weights": {"a": "1"}}, "data": [],
    "state": "running",
}  # fmt: skip


@pytest.mark.parametrize("behind", [(), ("checkpoints",)], ids=["record alone", "and what stands behind it"])
def test_a_record_that_another_process_writes_just_now_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: tuple[str, ...]
) -> None:
    exists, looks = Path.exists, []

    def written_meanwhile(self: Path, **options: Any) -> bool:
        there = exists(self, **options)
        if self.name == RECORD and not looks:
            looks.append(there)
            write_record(tmp_path, WANTED)
            for name in behind:
                (tmp_path / name).mkdir()
        return there

    monkeypatch.setattr(Path, "exists", written_meanwhile)
    found = find_record(tmp_path, WANTED)
    assert looks == [False]
    assert found == json.loads((tmp_path / RECORD).read_text())


def test_a_directory_of_something_else_is_refused_and_a_draft_is_not(tmp_path: Path) -> None:
    (tmp_path / f".{RECORD}.draft").touch()
    assert find_record(tmp_path, WANTED) is None
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AdaptError, match=r"is not empty and holds no run\.json; give another directory"):
        find_record(tmp_path, WANTED)
