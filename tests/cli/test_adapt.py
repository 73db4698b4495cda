"""``searchapp adapt mntp|simcse|supervised``: runs that are killed, launched in twos, or asked for nonsense."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapt.stages import write_pairs, write_text
from tests.models import make_checkpoint
from tests.preloaded import Server
from tests.program import Outcome

STAGES = r"loading base …\nreading [^\n]+ …\n{} …\n"  # what is said without a terminal
FORECAST = re.compile(r"(mntp|simcse|supervised): [\d,]+ steps to go, about ")
ONE_LINE = re.compile(r"searchapp: error: [^\n]+\n")
SMALL = ("--device", "cpu", "--dtype", "float32", "--batch-size", 8, "--max-length", 16)
KINDS = {"mntp": ("--text", "text.txt"), "simcse": ("--text", "text.txt"), "supervised": ("--pairs", "pairs.jsonl")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a model and its data."""
    root = tmp_path_factory.mktemp("adapt")
    shutil.copytree(tiny_model, root / "base")
    write_text(root / "text.txt", 60)
    write_pairs(root / "pairs.jsonl", 32, scored=True)
    return root


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from searchapp.adapt import loss_curve as curve

    monkeypatch.chdir(place)
    monkeypatch.setattr(curve, "draw", lambda *_, **__: None)
    return place


def _kept(directory: Path) -> tuple[list[dict[str, float]], bytes]:
    rows = json.loads((directory / "run.json").read_text())["history"]
    weights = (directory / "adapter_model.safetensors").read_bytes()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows], weights


def _rest(said: str) -> str:
    """What was said beside the stages that had begun."""
    lines = said.splitlines(keepends=True)
    return "".join(line for line in lines if not line.endswith("…\n") and not FORECAST.match(line))


def _wait(what: Callable[[], bool], alive: Callable[[], bool]) -> None:
    deadline = time.time() + 900
    while not what() and alive() and time.time() < deadline:
        time.sleep(0.002)


def test_a_killed_program_goes_on_to_the_same_weights(
    place: Path, run, preloaded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with -9 in the middle; the same command ends as if nothing had been, and says nothing it should not."""
    monkeypatch.chdir(place)
    command = ("adapt", "mntp", "--model", "base", "--text", "text.txt", *SMALL, "--steps", 20, "--save-steps", 4)
    process = preloaded.start(*command, "--to", "killed", cwd=place)
    checkpoints = place / "killed" / "checkpoints"
    while not any(checkpoints.glob("checkpoint-[1-9]*/complete")):
        assert process.poll() is None, "the run was over before it could be killed"
        time.sleep(0.01)
    assert process.kill() == -signal.SIGKILL, "the run was over before it could be killed"
    assert json.loads((place / "killed" / "run.json").read_text())["state"] == "running"
    done = preloaded.start(*command, "--to", "killed", cwd=place).finish()
    assert done.code == 0, done.err
    assert re.fullmatch(STAGES.format("mntp") + r"went on after step \d+\n", done.err), done.err
    assert "tokens/s" in done.out
    assert (place / "killed" / "loss.png").read_bytes().startswith(b"\x89PNG")
    whole = run(*command, "--to", "whole")
    assert whole.code == 0
    assert re.fullmatch(STAGES.format("mntp"), whole.err), whole.err
    assert _kept(place / "killed") == _kept(place / "whole")
    assert not checkpoints.exists()


def _fork(command: tuple[object, ...], log: Path, before: Callable[[], None]) -> int:
    """Run the program in a fork of this process, which costs no import; return its process id."""
    process = os.fork()
    if process:
        return process
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        from searchapp.cli import main

        before()
        main([str(argument) for argument in command])
    finally:
        os._exit(77)


def _never() -> None:
    return None


@pytest.mark.slow  # stopped in the process itself they are in tests/adapt/test_training.py
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that uses torch")
@pytest.mark.parametrize("kind", ["simcse", "supervised"])
def test_dropout_and_batches_are_the_same_after_a_kill(here: Path, run, kind: str) -> None:
    command = ("adapt", kind, "--model", "base", *KINDS[kind], *SMALL, "--steps", 14, "--save-steps", 2, "--chunk", 5)
    to = here / f"{kind}-killed"
    process = _fork((*command, "--to", to), here / f"{kind}.log", _never)
    _wait(
        lambda: any(to.glob("checkpoints/checkpoint-[2-9]/complete")), lambda: os.waitpid(process, os.WNOHANG)[0] == 0
    )
    os.kill(process, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    again = run(*command, "--to", to)
    assert again.code == 0
    assert re.fullmatch(STAGES.format(kind) + r"went on after step \d+\n", again.err)
    assert run(*command, "--to", here / f"{kind}-whole").code == 0
    assert _kept(to) == _kept(here / f"{kind}-whole")


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that uses torch")
def test_a_kill_while_a_checkpoint_is_written(here: Path, run) -> None:
    """Its weights are there, the rest is not: the one before it is gone on from."""

    def die_in_the_second_checkpoint() -> None:
        from transformers import Trainer

        real = Trainer._save_rng_state

        def save(self: Trainer, folder: str) -> None:
            if folder.endswith("checkpoint-4"):
                os.kill(os.getpid(), signal.SIGKILL)
            real(self, folder)

        Trainer._save_rng_state = save

    command = ("adapt", "mntp", "--model", "base", *KINDS["mntp"], *SMALL, "--steps", 6, "--save-steps", 2)
    to = here / "half"
    process = _fork((*command, "--to", to), here / "half.log", die_in_the_second_checkpoint)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert (to / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors").exists()
    again = run(*command, "--to", to)
    assert (again.code, _rest(again.err)) == (0, "went on after step 2\n")
    assert run(*command, "--to", here / "half-whole").code == 0
    assert _kept(to) == _kept(here / "half-whole")


def test_a_kill_before_the_record_was_written(here: Path, run) -> None:
    """What is left of it is no other run."""
    (here / "early").mkdir()
    (here / "early" / ".run.json").write_text('{"sta')
    done = run("adapt", "mntp", "--model", "base", *KINDS["mntp"], *SMALL, "--steps", 1, "--to", "early")
    assert (done.code, _rest(done.err)) == (0, "")
    assert not (here / "early" / ".run.json").exists()


def test_a_complete_run_is_not_run_again(here: Path, run) -> None:
    command = ("adapt", "mntp", "--model", "base", *KINDS["mntp"], *SMALL, "--steps", 2, "--to", "done")
    first = run(*command)
    before = {path.name: path.stat().st_mtime_ns for path in (here / "done").iterdir()}
    again = run(*command, "--save-steps", 7)  # decides nothing
    assert (again.code, again.err) == (0, "done is complete: nothing to do\n")
    assert again.out == first.out
    assert {path.name: path.stat().st_mtime_ns for path in (here / "done").iterdir()} == before


def _launch(place: Path, *arguments: object) -> Outcome:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "searchapp",
    ]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=place, env={**os.environ}, text=True, capture_output=True, timeout=1_800
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_launcher_trains_with_two_processes(here: Path, run) -> None:
    command = ("adapt", "supervised", "--model", "base", *KINDS["supervised"], *SMALL, "--steps", 3, "--lora-dropout", 0,
               "--learning-rate", 1e-4)  # fmt: skip
    two = _launch(here, *command, "--to", "two")
    assert two.code == 0, two.err
    assert two.out.count("trained        ") == 1
    assert "Warning" not in two.err, two.err
    assert json.loads((here / "two" / "run.json").read_text())["processes"] == 2
    assert run(*command, "--to", "one").code == 0
    rows, one = (_kept(here / name)[0] for name in ("two", "one"))
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in one], rel=1e-5)


@pytest.mark.slow
def test_the_launcher_is_told_of_a_batch_that_cannot_be_shared(here: Path) -> None:
    done = _launch(here, "adapt", "mntp", "--model", "base", *KINDS["mntp"], "--batch-size", 5, "--to", "odd")
    assert done.code != 0
    assert done.err.count("searchapp: error: a batch of 5 cannot be shared by 2 processes") == 1
    assert not (here / "odd").exists()


# Bad input: (name, stage, arguments, what is said). A later --to, --model or --text stands for the usual one.
BAD: list[tuple[str, tuple[object, ...], str]] = [
    ("mntp", ("--text", "absent.txt"), "absent.txt: no such file"),
    ("mntp", ("--text", "blank.txt"), "blank.txt: found no text"),
    ("mntp", ("--text", "notes.pdf"), "notes.pdf: "),
    ("supervised", ("--pairs", "lonely.jsonl"), r"lonely.jsonl: line 2: no positive"),
    ("supervised", ("--pairs", "blank.jsonl"), "blank.jsonl: found no pair"),
    ("supervised", ("--matryoshka", 8, "--matryoshka", 64), "matryoshka asks for 64 dimensions, the model has 32"),
    ("supervised", ("--pairs", "pairs.jsonl", "--pairs", "few.jsonl"), "few has 3 rows; a batch takes 8 different ones"),
    ("supervised", ("--pairs", "one.jsonl"), "one has 1 row; expected at least 2"),
    ("supervised", ("--teacher", "absent"), "teacher absent"),
    ("simcse", ("--text", "single.txt"), "there is 1 text; expected at least 2"),
    ("simcse", ("--attention-dropout", 0, "--lora-dropout", 0), "two equal views teach nothing"),
    ("mntp", ("--max-length", 900), r"tokens, which is less than one block of 900"),
    ("mntp", ("--max-length", 2_000), "max_length is 2000, the model has 1024 positions"),
    ("mntp", ("--mask-token", "two words"), "'two words' is .* name a single token"),
    ("mntp", ("--mask-token", "mask"), "the tokenizer has no mask token"),
    ("mntp", ("--mask-rate", 1), "mask_rate is 1"),
    ("mntp", ("--lr", "nan"), "learning_rate is nan"),
    ("mntp", ("--lr", "inf"), "learning_rate is inf"),
    ("mntp", ("--attention", "flash"), "attention is 'flash'; expected one of auto, sdpa, eager"),
    ("mntp", ("--device", "tpu"), "device is 'tpu'; expected one of auto, cpu, cuda"),
    ("mntp", ("--model", "headless"), "without its language model head"),
    ("mntp", ("--model", "neo"), r"neo \(gpt_neo\) cannot be made bidirectional here: it stays causal"),
    ("mntp", ("--model", "nowhere/at/all"), "does not exist"),
    ("mntp", ("--to", "text.txt"), "text.txt is a file"),
    ("mntp", ("--to", "text.txt/below"), "text.txt/below cannot be written to"),
    ("mntp", ("--to", "/proc/run"), "/proc/run cannot be written to"),
    ("mntp", ("--to", "full"), "full is not empty and holds no run.json"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bad(place: Path, tokenizer) -> Path:
    (place / "blank.txt").write_text("\n  \n")
    (place / "blank.jsonl").write_text("\n")
    (place / "single.txt").write_text("the only one\n")
    (place / "notes.pdf").write_text("text")
    rows = [{"query": f"q{n}", "positive": f"p{n}"} for n in range(3)]
    (place / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "one.jsonl").write_text(json.dumps(rows[0]) + "\n")
    (place / "lonely.jsonl").write_text(json.dumps(rows[0]) + "\n" + json.dumps({"query": "q"}) + "\n")
    make_checkpoint(place / "headless", tokenizer, head=False)
    make_checkpoint(place / "neo", tokenizer, "gpt_neo")
    (place / "full").mkdir()
    (place / "full" / "mine.txt").write_text("keep me")
    return place


@pytest.mark.parametrize(
    ("kind", "given", "said"), BAD, ids=[f"{kind} {given[-2]} {given[-1]}" for kind, given, _ in BAD]
)
def test_bad_input_is_one_line_and_loses_nothing(
    here: Path, bad: Path, run, kind: str, given: tuple[object, ...], said: str, request: pytest.FixtureRequest
) -> None:
    options = {"--model": "base", KINDS[kind][0]: KINDS[kind][1], "--to": "bad-run"}
    usual = [part for name, value in options.items() if name not in given for part in (name, value)]
    kept = {path: path.read_bytes() for path in here.glob("*.*") if path.is_file()}
    shutil.rmtree(here / "bad-run", ignore_errors=True)
    done = run("adapt", kind, *usual, *(SMALL if "--max-length" not in given else SMALL[:-2]), "--steps", 2, *given)
    assert done.code == 2, done.err
    assert done.out == ""
    assert ONE_LINE.fullmatch(_rest(done.err)), done.err
    assert re.search(said, done.err), done.err
    assert {path: path.read_bytes() for path in here.glob("*.*") if path.is_file()} == kept
    assert (here / "full" / "mine.txt").read_text() == "keep me"
    assert not (here / "bad-run" / "adapter_model.safetensors").exists()


def test_a_directory_with_another_run_is_left_alone(here: Path, run) -> None:
    command = ("adapt", "mntp", "--model", "base", *SMALL, "--steps", 2, "--to", "taken")
    assert run(*command, "--text", "text.txt").code == 0
    before = {path.name: path.read_bytes() for path in (here / "taken").iterdir()}
    write_text(here / "text2.txt", 60, seed=4)
    shutil.copytree(here / "base", here / "base2", dirs_exist_ok=True)
    for given, said in (
        (("--text", "text.txt", "--lr", 1e-3), "learning_rate was 5e-05, now 0.001"),
        (("--text", "text.txt", "--mix-documents"), "mix_documents was False, now True"),
        (("--text", "text2.txt"), "data file text2.txt has another"),
        (("--text", "text.txt", "--text", "text2.txt"), "1 data files, now 2"),
    ):
        done = run(*command, *given)
        assert done.code == 2
        assert ONE_LINE.fullmatch(_rest(done.err))
        assert f"taken holds another run ({said}" in done.err
    done = run("adapt", "simcse", "--model", "base", "--text", "text.txt", *SMALL, "--steps", 2, "--to", "taken")
    assert "(stage mntp, now simcse)" in done.err
    assert {path.name: path.read_bytes() for path in (here / "taken").iterdir()} == before
    (here / "taken" / "run.json").write_text("{")
    done = run(*command, "--text", "text.txt")
    assert (done.code, ONE_LINE.fullmatch(_rest(done.err)) is not None) == (2, True)
    assert "run.json cannot be read" in done.err


def test_a_poisoned_weight_names_step_and_batch(here: Path, run, tokenizer) -> None:
    """A token that only some texts have: training goes well until a batch holds it."""
    import torch
    from safetensors.torch import load_file, save_file

    model = make_checkpoint(here / "poisoned", tokenizer)
    tensors = load_file(model / "model.safetensors")
    token = tokenizer.encode(" honey", add_special_tokens=False)[-1]
    assert token > 100  # beyond the tokens that the probe of a model at loading sees
    tensors["model.embed_tokens.weight"][token] = float("nan")
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    (here / "rare.txt").write_text("bees fly quick\n" * 199 + "bees make honey\n")
    done = run("adapt", "simcse", "--model", "poisoned", "--text", "rare.txt", *SMALL, "--batch-size", 2, "--steps", 200,
               "--save-steps", 1, "--to", "sick")  # fmt: skip
    assert done.code == 2
    assert ONE_LINE.fullmatch(_rest(done.err))
    found = re.search(r"step (\d+) is nan \(batch: 2 texts, numbers .*199", done.err)
    assert found, done.err
    step = int(found[1])
    assert step > 1, "choose another seed: the first batch holds the token"
    kept = here / "sick" / "checkpoints" / f"checkpoint-{step - 1}"
    assert (kept / "complete").exists()
    assert all(torch.isfinite(tensor).all() for tensor in load_file(kept / "adapter_model.safetensors").values())


@pytest.mark.parametrize("kind", KINDS)
def test_help_says_how_several_processes_are_started(run, kind: str) -> None:
    assert "torchrun --nproc-per-node" in run("adapt", "--help").out
    done = run("adapt", kind, "--help")
    assert done.code == 0
    for option in ("--chunk", "--warmup-steps", "--gradient-checkpointing"):
        assert option in done.out


@pytest.mark.parametrize("kind", KINDS)
def test_several_files_follow_one_option(here: Path, run, kind: str) -> None:
    """As a shell writes ``--pairs data/*.jsonl``; repeating the option is the same run."""
    option, first = KINDS[kind]
    second = f"second-{first}"
    shutil.copy(here / first, here / second)
    command = ("adapt", kind, "--model", "base", *SMALL, "--steps", 1, "--to", f"several-{kind}")
    assert run(*command, option, first, second).code == 0
    data = json.loads((here / f"several-{kind}" / "run.json").read_text())["data"]
    assert [entry["path"] for entry in data] == [first, second]
    assert "nothing to do" in run(*command, option, first, option, second).err
