"""``adapt run``, ``check`` and ``recipes`` as their user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from searchapp.cli import recipe as commands

app = typer.Typer()
app.command("run")(commands.run)
app.command("check")(commands.check)
app.command("recipes")(commands.recipes)
OWN = ("--set", "mntp.text=t.txt", "--set", "simcse.text=t.txt", "--set", "supervised.pairs=p.jsonl")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("bees fly\n")
    Path("p.jsonl").write_text('{"query": "bees", "positive": "bees fly"}\n')
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What would have been trained: (kind, model, directory)."""
    made: list[tuple[str, str, str]] = []

    def run_stage(settings, *, model, to, texts=(), pairs=(), adapters=(), progress=None):
        made.append((settings.name, model, str(to)))
        progress.stage(settings.name, settings.training.steps, "step")
        progress.advance(1, loss=1.0, tokens=5)
        return SimpleNamespace(directory=to, already_done=settings.name == "mntp")

    monkeypatch.setattr("searchapp.adapt.run.run_stage", run_stage)
    return made


def test_check_prints_the_settings_and_the_data(call) -> None:
    done = call("check", "small", *OWN, "--set", "mntp.steps=1000", "--set", "mntp.schedule_steps=21600")
    assert done.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert rows["base"] == ["bundled:", "the", "bundled", "model"]
    assert rows["from"] == ["base", "mntp", "simcse"]
    assert rows["steps"] == ["1,000", "200", "200"]
    assert rows["schedule_steps"] == ["21,600", "200", "200"]
    assert rows["learning_rate"] == ["0.0005", "0.0001", "0.0002"]
    assert rows["lora_r"] == ["16", "16", "16"]
    assert rows["p.jsonl"] == ["supervised", "42", "B", "1"]


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-3-8b", "mistral-7b", "sheared-llama-1.3b", "small"])
def test_a_shipped_recipe_is_sound_without_its_users_data(call, name: str) -> None:
    done = call("check", name)
    assert done.exit_code == 0
    assert "missing" in done.stdout
    assert "--set STAGE.text=FILE" in done.stderr
    assert call("check", name, "--set", "base=bundled").exit_code == 2  # made one's own, it needs the data


def test_check_as_json(call) -> None:
    done = call("check", "small", *OWN, "--to", "out", "--stage", "simcse", "--json")
    content = json.loads(done.stdout)
    assert (content["ok"], content["problems"], content["to"]) == (True, [], "out")
    assert [(stage["name"], stage["from"], stage["to"]) for stage in content["stages"]] == [
        ("mntp", "base", "out/mntp"),
        ("simcse", "mntp", "out/simcse"),
    ]
    assert content["stages"][0]["text"] == [{"path": "t.txt", "bytes": 9}]
    assert content["stages"][0]["settings"]["lora_r"] == 16
    assert [entry["stage"] for entry in content["estimates"]] == ["mntp", "simcse"]
    for entry in content["estimates"]:
        assert 10e6 < entry["memory"] < entry["free"]  # the bundled model has 10 million parameters
        assert entry["seconds"] > 0


def test_check_refuses_what_does_not_fit(call, monkeypatch: pytest.MonkeyPatch) -> None:
    from searchapp.adapt import estimate

    whole = estimate.estimate
    monkeypatch.setattr(estimate, "estimate", lambda recipe: whole(recipe, free=100_000_000))
    done = call("check", "small", *OWN, "--to", "out", "--stage", "mntp", "--json")
    content = json.loads(done.stdout)
    assert done.exit_code == 2
    assert content["ok"] is False
    assert content["problems"][0].startswith("stage mntp: ")
    assert "0.1 GB are free on cpu; the largest batch that fits is " in content["problems"][0]
    assert call("check", "small", *OWN, "--to", "out", "--stage", "mntp").exit_code == 2


def test_check_says_every_problem_on_a_line_of_its_own(call) -> None:
    wrong = ("check", "mistral-7b", "--stage", "simcse", "--set", "mntp.stpes=3", "--set", "simcse.scale=-1")
    done = call(*wrong)
    assert (done.exit_code, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[:2] == [
        "searchapp: error: --set mntp.stpes=3: stage mntp: unknown key 'stpes'; did you mean 'steps'?",
        "searchapp: error: --set simcse.scale=-1: stage simcse: scale is -1; expected a number above 0",
    ]
    assert sum("no such file" in line for line in lines) == len(lines) - 2 == 18
    done = call(*wrong, "--json")
    content = json.loads(done.stdout)
    assert (done.exit_code, done.stderr, content["ok"], len(content["problems"])) == (2, "", False, 20)


def test_a_hub_id_is_not_checked(call) -> None:
    done = call("check", "mistral-7b", "--stage", "mntp", "--set", "mntp.text=t.txt")
    assert done.exit_code == 0
    assert "mistralai/Mistral-7B-Instruct-v0.2: a hub id, not checked" in done.stdout


def test_run_trains_the_stages_in_order(call, calls: list) -> None:
    done = call("run", "small", *OWN, "--to", "out")
    assert done.exit_code == 0
    assert calls == [
        ("mntp", "bundled", "out/mntp"),
        ("simcse", "out/mntp", "out/simcse"),
        ("supervised", "out/simcse", "out/supervised"),
    ]
    assert done.stdout.splitlines() == [
        "mntp        out/mntp (was complete already)",
        "simcse      out/simcse",
        "supervised  out/supervised",
    ]
    assert "stage simcse (2 of 3): out/mntp → out/simcse" in done.stderr


def test_run_begins_nothing_when_something_is_wrong(call, calls: list) -> None:
    done = call("run", "small", *OWN[:4], "--set", "supervised.lora_r=0")
    assert (done.exit_code, calls) == (2, [])
    assert [line.split(": ")[-2:] for line in done.stderr.splitlines()] == [
        ["stage supervised", "lora_r is 0; expected a whole number of at least 1"],
        ["data/pairs.jsonl", "no such file; expected a file ending in .jsonl, .jsonl.gz; check the path"],
    ]


def test_a_recipe_that_is_not_there(call) -> None:
    for command in ("run", "check"):
        done = call(command, "mistral")
        assert done.exit_code == 2
        assert done.stderr == (
            "searchapp: error: mistral is neither a file nor a shipped recipe; expected a .toml file, or one of "
            "llama-2-7b, llama-3-8b, mistral-7b, sheared-llama-1.3b, small\n"
        )


def test_recipes_are_listed_and_can_be_copied(call) -> None:
    listed = call("recipes").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [
        "llama-2-7b",
        "llama-3-8b",
        "mistral-7b",
        "sheared-llama-1.3b",
        "small",
    ]
    assert listed[2] == "mistral-7b          Mistral 7B Instruct v0.2 by the published LLM2Vec recipe"
    Path("mine.toml").write_text(call("recipes", "small").stdout)
    assert call("check", "mine.toml", *OWN).exit_code == 0
