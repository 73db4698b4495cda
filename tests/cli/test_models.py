"""``searchapp models``: what is printed, and what is not imported for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))


def test_a_measured_speed_is_kept(run, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from searchapp.encoder import speed

    before = json.loads(run("models", tiny_model, "--json").out)["models"]
    assert [model["name"] for model in before] == ["bundled", str(tiny_model)]
    assert before[1]["speed"] is None
    monkeypatch.setattr(speed, "LEAST_SECONDS", 0.01)
    measured = json.loads(run("models", tiny_model, "--measure", "--json").out)["models"][1]["speed"]
    assert measured["tokens_per_second"] > 0
    assert json.loads(run("models", tiny_model, "--json").out)["models"][1]["speed"] == measured
    shown = run("models", tiny_model)
    assert f"{measured['tokens_per_second']:,.0f}" in shown.out
    assert "apache-2.0" in shown.out


def test_a_folder_that_is_missing_or_has_none(run, tmp_path: Path) -> None:
    assert (run("models", tmp_path / "missing").code, run("models", tmp_path).code) == (2, 0)
    assert "no model in" in run("models", tmp_path).err


def test_neither_torch_nor_transformers_is_imported() -> None:
    code = (
        "import sys\nfrom searchapp.cli.main import main\ntry: main(['models'])\nexcept SystemExit: pass\n"
        "sys.exit(bool({'torch', 'transformers', 'faiss'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_causal_and_instruction_are_spelled_alike(run, tiny_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "texts.jsonl"
    source.write_text('{"id": "1", "text": "bees fly and make honey"}\n{"id": "2", "text": "the quick brown fox"}\n')
    index = tmp_path / "index"
    done = run("build", source, "--index", index, "--model", tiny_model, "--causal", "--instruction", "find:")
    assert done.code == 0, done.err
    assert "get 'find:' (as asked for)" in done.err
    shown = run("info", index)
    assert "causal" in shown.out
    assert "queries get 'find:' (as asked for)" in shown.out
    assert json.loads(run("info", index, "--json").out)["encoder"]["settings"]["query_instruction"] == "find:"
    assert run("search", index, "bees").code == 0
    assert run("search", index, "bees", "--instruction", "").code == 0
    refused = run("evaluate", "retrieval", tmp_path, "--index", index, "--causal")
    assert refused.code == 2
    assert "--bidirectional" in refused.err or "--causal" in refused.err
