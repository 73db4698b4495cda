"""The program as its user meets it: what it prints, its exit codes, its one-line errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import DOCUMENTS


def test_start_up_is_quick() -> None:
    def seconds(*command: str) -> float:
        best = 9.0
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds("-c", "import searchapp") < 0.3
    assert seconds("-m", "searchapp", "--help") < 1.0


def test_importing_the_rooms_imports_no_heavy_library() -> None:
    code = (
        "import sys, searchapp.cli.program, searchapp.index, searchapp.search, searchapp.evaluate, searchapp.corpus\n"
        "for room in (searchapp.index, searchapp.search, searchapp.evaluate, searchapp.corpus):\n"
        "    [getattr(room, name) for name in room.__all__]\n"
        "print([name for name in ('torch', 'transformers', 'faiss', 'pyarrow', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_search_prints_hits(run, index: Path) -> None:
    outcome = run("search", index, "bees fly and make honey in their hives", "-k", 2)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "» bees fly and make honey in their hives"
    assert "Bees" in outcome.out.splitlines()[1]
    assert "encode" in outcome.out
    assert "search" in outcome.out


def test_search_json_is_one_object_a_hit(run, index: Path) -> None:
    outcome = run("search", index, "honey", "dog", "-k", 50, "--json")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [(line["query"], line["rank"]) for line in lines] == [(q, r) for q in ("honey", "dog") for r in (1, 2, 3)]
    keys = {"query", "rank", "id", "score", "title", "text", "metadata", "stage", "places"}
    assert set(lines[0]) == keys and lines[0]["stage"] == "fused"
    dense = json.loads(run("search", index, "honey", "--json", "--mode", "dense").out.splitlines()[0])
    assert set(dense) == keys - {"stage", "places"}
    assert {line["id"] for line in lines} == {"bees", "fox", "engine"}
    bees = next(line for line in lines if line["id"] == "bees")
    assert bees["metadata"] == {"lang": "en", "year": 2021}


def test_filters(run, index: Path) -> None:
    outcome = run("search", index, "anything", "--json", "--filter", 'lang == "en" and year >= 2020')
    assert [json.loads(line)["id"] for line in outcome.out.splitlines()] == ["bees"]
    assert "nothing passes" in run("search", index, "anything", "--filter", "year > 3000").out


def test_queries_from_standard_input(index: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "searchapp", "search", str(index), "--json", "-k", "1"], input="honey\n\ndog\n",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [json.loads(line)["query"] for line in done.stdout.splitlines()] == ["honey", "dog"]


def test_info_and_verify(run, index: Path) -> None:
    content = json.loads(run("info", index, "--json").out)
    assert (content["documents"], content["dim"], content["state"]) == (3, 32, "ready")
    assert "3 in 1 segment" in run("info", index).out
    assert json.loads(run("verify", index, "--json").out) == {"ok": True, "problems": [], "notices": []}
    assert "is sound" in run("verify", index).out


def test_verify_says_what_is_broken(run, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(DOCUMENTS[0]))
    assert run("build", tmp_path / "d.jsonl", "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    path = next((tmp_path / "ix" / "data").glob("vectors-*"))
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)
    outcome = run("verify", tmp_path / "ix", "--json")
    assert outcome.code == 2
    content = json.loads(outcome.out)
    assert content["ok"] is False
    assert path.name in content["problems"][0]


def _is_one_line_error(outcome) -> bool:
    lines = [line for line in outcome.err.splitlines() if line.startswith("searchapp: error: ")]
    return outcome.code == 2 and len(lines) == 1 and outcome.err.splitlines()[-1] == lines[0] and not outcome.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "nowhere.jsonl", "--index", "ix"], ["nowhere.jsonl"]),
        (["build", "empty.jsonl", "--index", "ix"], ["empty.jsonl", "no documents"]),
        (["build", "docs.jsonl", "--index", "ix", "--model", "no-model"], ["no-model", "is not a model"]),
        (["build", "docs.jsonl", "--index", "ix", "--model", "./absent"], ["./absent", "does not exist"]),
        (["build", "docs.jsonl", "--index", "ix", "--pca", "33"], ["pca 33 (--pca)", "32"]),
        (["build", "docs.jsonl", "--index", "ix", "--pca", "8"], ["pca 8 (--pca)", "8 documents", "there are 3"]),
        (["build", "docs.jsonl", "--index", "ix", "--factory", "Magic"], ["--factory", "Magic"]),
        (["build", "docs.jsonl", "--index", "docs.jsonl"], ["docs.jsonl", "is a file"]),
        (["build", "docs.jsonl"], ["--index"]),
        (["build", "docs.jsonl", "--index", "ix", "--segment-size", "0"], ["--segment-size", "searchapp build --help"]),
        (["build", "--index", "ix"], ["SOURCE", "build"]),
        (["search", "nowhere", "q"], ["nowhere", "does not exist"]),
        (["search", "no-model", "q"], ["no-model", "is not an index"]),
        (["info", "nowhere"], ["nowhere"]),
        (["verify", "nowhere"], ["nowhere"]),
        (["evaluate", "retrieval", "nowhere"], ["nowhere"]),
        (["evaluate", "retrieval", "no-model"], ["corpus.jsonl"]),
        (["frobnicate"], ["frobnicate"]),
        (["build", "docs.jsonl", "--index", "ix", "--nonsense"], ["--nonsense"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    run, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs.jsonl").write_text("\n".join(map(json.dumps, DOCUMENTS)))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "no-model").mkdir()
    (tmp_path / "no-model" / "x.txt").write_text("x")
    if arguments[0] == "build" and "--model" not in arguments:
        arguments = [*arguments, "--model", str(tiny_model)]
    outcome = run(*arguments)
    assert _is_one_line_error(outcome), (outcome.code, outcome.out, outcome.err)
    for word in words:
        assert word in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], ["the query is empty"]),
        (["   "], ["the query is empty"]),
        (["q", "-k", "0"], ["-k"]),
        (["q", "--candidates", "-1"], ["--candidates"]),
        (["\udcff\udcfe"], ["the query", "UTF-8"]),
        (["q", "--instruction", "\udcff"], ["the instruction", "UTF-8"]),
        (["q", "--filter", "lang =="], ["--filter"]),
        (["q", "--filter", "color == 1"], ["color", "lang, year"]),
    ],
)
def test_bad_searches(run, index: Path, arguments: list[str], words: list[str]) -> None:
    outcome = run("search", index, *arguments)
    assert _is_one_line_error(outcome), (outcome.code, outcome.out, outcome.err)
    for word in words:
        assert word in outcome.err


def test_a_search_with_another_encoder_is_refused_by_part(index: Path, tiny_model: Path) -> None:
    from searchapp import Encoder, Index
    from searchapp.errors import ModelError

    with pytest.raises(ModelError, match="another encoder.*lengths differs"):
        Index.open(index, encoder=Encoder.load(str(tiny_model), document_max_length=7))


def test_a_model_that_has_changed_since_is_refused(run, tmp_path: Path, tiny_model: Path) -> None:
    import shutil

    shutil.copytree(tiny_model, tmp_path / "m")
    (tmp_path / "d.jsonl").write_text(json.dumps(DOCUMENTS[0]))
    assert run("build", tmp_path / "d.jsonl", "--index", tmp_path / "ix", "--model", tmp_path / "m").code == 0
    path = tmp_path / "m" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    outcome = run("search", tmp_path / "ix", "honey")
    assert _is_one_line_error(outcome)
    assert "weights differs" in outcome.err
    shutil.rmtree(tmp_path / "m")
    outcome = run("search", tmp_path / "ix", "honey")
    assert _is_one_line_error(outcome)
    assert str(tmp_path / "m") in outcome.err


def test_the_python_interface(index: Path) -> None:
    from searchapp import Index

    opened = Index.open(index)
    hits = opened.search("bees fly and make honey in their hives", k=2)
    assert [hit.id for hit in hits][0] == "bees"
    assert len(opened.search(["honey", "dog"], k=1)) == 2


def test_a_fault_of_ours_exits_with_1(run, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("searchapp.index.Snapshot.open", fail)
    outcome = run("info", index)
    assert outcome.code == 1
    assert "--debug" in outcome.err


def test_ctrl_c_during_a_build_says_how_to_go_on(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("searchapp.corpus.open_source", interrupt)
    outcome = run("build", "two  words.jsonl", "--index", "ix")
    assert outcome.code == 130
    assert outcome.err.endswith("To go on: searchapp build 'two  words.jsonl' --index ix\n")


def test_ctrl_c_elsewhere_only_says_so(run, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("searchapp.index.Snapshot.open", interrupt)
    outcome = run("info", index)
    assert (outcome.code, outcome.err) == (130, "searchapp: error: interrupted\n")


def test_debug_shows_the_traceback_and_keeps_the_code(run, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run("--debug", "info", "nowhere")
    assert outcome.code == 2
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("searchapp: error: nowhere does not exist")

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("searchapp.index.Snapshot.open", fail)
    outcome = run("info", index, "--debug")
    assert outcome.code == 1
    assert "Traceback" in outcome.err


def test_a_rederived_index_is_not_called_resumed(run, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "docs.jsonl").write_text("\n".join(map(json.dumps, DOCUMENTS)))
    command = ("build", tmp_path / "docs.jsonl", "--index", tmp_path / "ix", "--model", tiny_model)
    assert run(*command).code == 0
    outcome = run(*command, "--pca", 2)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0] == "3 documents were already encoded; only the index was built again"


def test_control_characters_of_documents_do_not_reach_the_terminal(run, tmp_path: Path, tiny_model: Path) -> None:
    evil = "\x1b]0;title\x07\x9b31m"
    document = {"_id": "evil", "title": f"t{evil}", "text": f"bees {evil} make honey", "tag": evil}
    (tmp_path / "evil.jsonl").write_text(json.dumps(document))
    assert run("build", tmp_path / "evil.jsonl", "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    shown = run("search", tmp_path / "ix", "bees")
    assert shown.code == 0
    assert "bees" in shown.out
    assert not set(shown.out) & set("\x1b\x07\x9b")
    printed = run("search", tmp_path / "ix", "bees", "--json").out
    assert not set(printed) & set("\x1b\x07\x9b")
    assert json.loads(printed)["text"] == document["text"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [("searchapp ver", {"verify"}), ("searchapp evaluate com", {"compare"}), ("searchapp zzz", set())],
)
def test_a_shell_is_told_how_a_command_goes_on(typed: str, found: set[str]) -> None:
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_SEARCHAPP_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", "from searchapp.cli import main; main()"], env={**os.environ, **asked},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, set(done.stdout.split()), done.stderr) == (0, found, "")
