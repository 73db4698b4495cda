"""``add``, ``delete``, ``compact``, ``verify --repair`` as their user meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import DOCUMENTS

NEW = [
    {"_id": "bees", "title": "Bees", "text": "bees fly and make honey in their hives", "lang": "en", "year": 2021},
    {"_id": "fox", "title": "Fox", "text": "the lazy dog jumps over the quick brown fox", "lang": "en", "year": 2019},
    {"_id": "wasp", "text": "wasps sting"},
    {"_id": "none"},
]


@pytest.fixture
def own(index: Path, tmp_path: Path) -> Path:
    shutil.copytree(index, tmp_path / "ix")
    (tmp_path / "new.jsonl").write_text("\n".join(map(json.dumps, NEW)))
    return tmp_path / "ix"


def ids(run, index: Path, *options: object) -> set[str]:
    outcome = run("search", index, "wasps sting", "-k", 50, "--json", *options)
    assert outcome.code == 0, outcome.err
    return {json.loads(line)["id"] for line in outcome.out.splitlines()}


def test_add_delete_compact_by_hand(run, own: Path, tmp_path: Path) -> None:
    outcome = run("add", own, tmp_path / "new.jsonl")
    assert outcome.code == 0, outcome.err
    lines = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert [lines[name].split()[0] for name in ("added", "changed", "unchanged", "rejected")] == ["1", "1", "1", "1"]
    assert "rejected.jsonl" in lines["rejected"]
    assert lines["encoded"].startswith("2 documents")
    assert ids(run, own) == {"bees", "fox", "engine", "wasp"}
    outcome = run("delete", own, "--id", "fox", "nope", "engine")
    assert outcome.code == 0
    assert "holds no document 'nope'" in outcome.err
    assert "deleted        2" in outcome.out
    assert ids(run, own) == {"bees", "wasp"}
    assert ids(run, own, "--filter", "year > 2000") == {"bees"}
    info = json.loads(run("info", own, "--json").out)
    assert (info["documents"], info["deleted"], info["fresh"], info["rejected"]) == (2, 3, 2, 1)
    assert "1 deleted or replaced" not in run("info", own).out
    assert "3 deleted or replaced" in run("info", own).out
    assert run("compact", own).out.startswith("removed        3")
    assert "compact already" in run("compact", own).out
    info = json.loads(run("info", own, "--json").out)
    assert (info["documents"], info["deleted"], info["fresh"]) == (2, 0, 0)
    assert ids(run, own) == {"bees", "wasp"}
    assert json.loads(run("verify", own, "--json").out) == {"ok": True, "problems": [], "notices": []}


def test_json_is_all_that_is_printed(run, own: Path, tmp_path: Path) -> None:
    added = json.loads(run("add", own, tmp_path / "new.jsonl", "--json").out)
    assert (added["added"], added["changed"], added["unchanged"], added["documents"]) == (1, 1, 1, 4)
    assert json.loads(run("delete", own, "--id", "wasp", "--json").out) == {"deleted": 1, "unknown": [], "documents": 3}
    assert json.loads(run("compact", own, "--json").out)["removed"] == 2


def test_delete_by_file_and_by_filter(run, own: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("bees\n\nnope\n")
    assert run("delete", own, "--ids-from", tmp_path / "ids.txt").code == 0
    assert ids(run, own) == {"fox", "engine"}
    assert run("delete", own, "--filter", 'lang == "de"').code == 0
    assert ids(run, own) == {"fox"}
    assert run("delete", own, "--id", "fox").code == 0
    assert ids(run, own) == set()
    assert run("compact", own).code == 0
    assert ids(run, own) == set()
    assert json.loads(run("info", own, "--json").out)["documents"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("delete", "ix"), "nothing to delete is named"),
        (("delete", "ix", "--id", "a", "b"), "holds no document 'a', 'b'; nothing was deleted"),
        (("delete", "ix", "--id", "od\udcffd"), "holds no document 'od\\udcffd'; nothing was deleted"),
        (("delete", "ix", "--filter", r'lang == "\udc80"'), "a lone surrogate"),
        (("delete", "ix", "--filter", r'lang in ["en", "\ud800"]'), "a lone surrogate"),
        (("delete", "ix", "--filter", 'lang == "\udcff"'), "is not understood"),
        (("delete", "ix", "--filter", r'meta["\udc80"] == 1'), "which no document has"),
        (("delete", "ix", "--ids-from", "missing.txt"), "cannot be read"),
        (("delete", "ix", "--filter", "colour == 1"), "'colour', which no document has"),
        (("add", "ix", "missing.jsonl"), "no such file"),
        (("add", "nowhere", "new.jsonl"), "does not exist"),
        (("compact", "nowhere"), "is no index"),
        (("add", "ix", "new.jsonl", "--model", "bundled"), "made by another encoder than"),
        (("verify", "ix", "new.jsonl"), "with --repair only"),
    ],
)
def test_what_cannot_be_is_one_line(run, own: Path, monkeypatch: pytest.MonkeyPatch, arguments, message: str) -> None:
    monkeypatch.chdir(own.parent)
    before = sorted(path.name for path in own.rglob("*"))
    outcome = run(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert len([line for line in outcome.err.splitlines() if "error" in line]) == 1
    assert sorted(path.name for path in own.rglob("*")) == before


def test_verify_says_what_mends_and_repair_does(run, own: Path, index: Path) -> None:
    want = run("search", own, "wasps", "--json").out
    manifest = json.loads(next(iter(sorted(own.glob("manifest-*.json"), reverse=True))).read_text().split("\n", 1)[1])
    segment = manifest["segments"][0]
    for name in (manifest["ann"]["file"], segment["vectors"], segment["rows"], segment["marks"]):
        (own / "data" / name).write_bytes(b"hurt")
    outcome = run("verify", own)
    assert outcome.code == 2
    assert len(outcome.out.splitlines()) == 4
    assert all(f"searchapp verify {own} --repair" in line for line in outcome.out.splitlines())
    assert str(index.parent / "docs.jsonl") in outcome.out
    outcome = run("verify", own, "--repair")
    assert outcome.code == 2
    assert "build the index again" in outcome.err
    (own / "data" / segment["marks"]).write_bytes((index / "data" / segment["marks"]).read_bytes())
    outcome = run("verify", own, "--repair")
    assert outcome.code == 0, outcome.err
    assert f"{len(DOCUMENTS)} documents of 1 segments put in place from their sources" in outcome.err
    assert "is sound" in outcome.out
    assert run("search", own, "wasps", "--json").out == want
