"""A build on many workers as people type it: planned, done in shares, finished, done again; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from searchapp.cli import main


@pytest.fixture
def run(capsys):
    def called(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, arguments)))
        return stop.value.code, *capsys.readouterr()

    return called


def test_planned_done_in_shares_finished_and_done_again(tmp_path: Path, run) -> None:
    corpus, root = tmp_path / "docs.jsonl", tmp_path / "root"
    corpus.write_text("".join(json.dumps({"_id": f"d{n}", "text": f"bees make honey {n}"}) + "\n" for n in range(60)))
    command = ("build", corpus, "--index", root, "--engine", "none", "--shards", 2, "--backend", "numpy")
    code, out, err = run(*command, "--chunk-tokens", 200)
    assert code == 1 and "shard run" in out and "chunks, " in out, err
    state = json.loads(run("info", root, "--build", "--json")[1])
    assert state["stage"] == "encoding" and state["done"] == 0 and state["chunks"] > 3
    for share in ("0/2", "1/2"):
        code, out, err = run("shard", "run", root, "--chunk", share)
        assert code == 0 and "0 failed" in out, err
    code, out, err = run(*command)
    assert code == 0 and "60 in 2 shards" in out, err
    [event] = [json.loads(line) for line in run("info", root, "--history", "--json")[1].splitlines()]
    assert (event["what"], event["documents"], event["generation"]) == ("build", 60, 1)
    before = sorted(path.stat().st_mtime_ns for path in root.rglob("*.json"))
    code, out, err = run(*command)
    assert code == 0 and "nothing to do" in out
    assert before == sorted(path.stat().st_mtime_ns for path in root.rglob("*.json"))
    code, out, err = run("search", root, "honey 7", "--json", "-k", 3)
    assert code == 0 and json.loads(out.splitlines()[0]), err
    code, out, err = run("build", corpus, "--index", root, "--backend", "numpy")  # without workers: another command
    assert code == 2 and len(err.splitlines()[-1]) < 300
    (root / "build" / "plan.json").unlink()
    code, out, err = run(*command)
    assert code == 2 and "holds an index that was made otherwise" in err


def test_what_is_refused_in_one_line(tmp_path: Path, run) -> None:
    corpus = tmp_path / "docs.jsonl"
    corpus.write_text('{"_id": "a", "text": "b"}\n')
    build = ("build", corpus, "--index", tmp_path / "root")
    for arguments, says in (
        ((*build, "--engine", "spark"), "expected processes, ray[:ADDRESS] or none"),
        ((*build, "--shards", "many"), "give auto, or how many"),
        ((*build, "--resume"), "give one, or --workers"),
        ((*build, "--workers", 2, "--resume"), "no build was begun here"),
        (("shard", "run", tmp_path / "root", "--chunk", "2/2"), "names no share"),
        (("shard", "run", tmp_path / "root", "--chunk", "0/2"), "no build was begun here"),
        (("plan", "--documents", 10, "--device", "abacus"), "is not known"),
    ):
        code, out, err = run(*arguments)
        assert code == 2 and says in err and not out, (arguments, err)
        assert len([line for line in err.splitlines() if line.startswith("searchapp: error")]) == 1
    assert not (tmp_path / "root" / "build" / "plan.json").exists()
