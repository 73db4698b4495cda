"""Recipes: the shipped ones hold the published numbers, mistakes are all named, stages are wired as they say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from searchapp.adapt.config import flat
from searchapp.adapt.recipe.recipe import RecipeError, describe_model, run_recipe
from searchapp.adapt.recipe.toml import find_recipe, read_recipe, shipped_recipes
from searchapp.errors import AdaptError

# Typed out from the research note on the original (configurations at 312adcf, scripts' defaults, the paper).
BASES = {
    "sheared-llama-1.3b": "princeton-nlp/Sheared-LLaMA-1.3B",
    "llama-2-7b": "meta-llama/Llama-2-7b-chat-hf",
    "mistral-7b": "mistralai/Mistral-7B-Instruct-v0.2",
    "llama-3-8b": "meta-llama/Meta-Llama-3-8B-Instruct",
}
EVERY_STAGE = {
    "steps": 1000,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 42,
    "dtype": "bfloat16",
    "autocast": False,
    "gradient_checkpointing": True,
    "train": "lora",
    "bidirectional": True,
}
STAGES = {
    "mntp": {"learning_rate": 5e-5, "batch_size": 32, "max_length": 512, "warmup_steps": 0, "schedule_steps": 21_600},
    "simcse": {
        "learning_rate": 3e-5,
        "batch_size": 128,
        "max_length": 128,
        "warmup_steps": 0,
        "schedule_steps": 23_439,
        "scale": 20,
        "attention_dropout": 0.3,
        "pooling": "mean",
    },
    "supervised": {
        "learning_rate": 2e-4,
        "batch_size": 512,
        "max_length": 512,
        "warmup_steps": 300,
        "schedule_steps": 8_800,
        "scale": 50,
        "negatives": 1,
        "pooling": "mean",
        "margin": None,
        "teacher": "",
    },
}
SHARES = {
    "eli5_question_answer": 0.1,
    "msmarco_passage": 0.5,
    "msmarco_document": 0.2,
    "quora_duplicates_split1": 0.1,
    "quora_duplicates_split2": 0.1,
    "t2ranking": 0.5,
}
SMALL = """\
base = "bundled"
to = "out"

[[stage]]
kind = "mntp"
text = ["texts.txt"]
steps = 20

[[stage]]
kind = "simcse"
text = ["texts.txt"]

[[stage]]
kind = "supervised"
from = "mntp"
warmup_steps = 0

[[stage.pairs]]
file = "pairs.jsonl"
instruction = "Find it:"
share = 0.5
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory that looks like a model."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model" / "model.safetensors").touch()
    return tmp_path / "model"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small recipe in the working directory, with its data."""
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("bees fly\n")
    Path("pairs.jsonl").write_text(json.dumps({"query": "bees", "positive": "bees fly"}) + "\n")
    Path("small-one.toml").write_text(SMALL)
    return Path("small-one.toml")


def problems_of(recipe: Path, *options: str, only: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(RecipeError) as raised:
        read_recipe(str(recipe), options, only=only, inspect_files=True)
    assert all("\n" not in problem for problem in raised.value.problems)
    return list(raised.value.problems)


@pytest.mark.parametrize("name", BASES)
def test_shipped_recipes_hold_the_published_numbers(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.base == BASES[name]
    assert recipe.to == Path("models") / name
    assert [(stage.name, stage.kind, stage.start) for stage in recipe.stages] == [
        ("mntp", "mntp", "base"),
        ("simcse", "simcse", "mntp"),
        ("supervised", "supervised", "mntp"),
    ]
    masking = {"mask_strategy": "bert", "mask_rate": 0.2}
    if name == "mistral-7b":
        masking = {"mask_strategy": "all", "mask_rate": 0.8}
    for stage in recipe.stages:
        expected = EVERY_STAGE | STAGES[stage.kind]
        if stage.kind == "mntp":
            expected |= masking | {"mask_token": "blank", "mix_documents": False}
        found = flat(stage.settings)
        assert {key: found[key] for key in expected} == expected
    pairs = recipe.stages[2].pairs
    assert len(pairs) == 16
    assert {file.name: file.share for file in pairs} == {file.name: SHARES.get(file.name, 1.0) for file in pairs}
    assert set(SHARES) <= {file.name for file in pairs}
    symmetric = {"allnli_split2", "quora_duplicates_split1", "quora_duplicates_split2"}
    assert {file.name for file in pairs if file.symmetric} == symmetric
    assert all(file.instruction.endswith(";") and not file.document_instruction for file in pairs)


def test_every_shipped_recipe_can_be_read_and_says_how_it_is_run() -> None:
    assert set(shipped_recipes()) == {*BASES, "small"}
    for name, path in shipped_recipes().items():
        assert read_recipe(name).name == name
        assert "searchapp adapt run" in path.read_text(encoding="utf-8").partition("\nbase = ")[0]


def test_the_small_recipe_runs_with_ones_own_data(recipe: Path) -> None:
    options = ["mntp.text=texts.txt", "simcse.text=texts.txt", "supervised.pairs=pairs.jsonl"]
    found = read_recipe("small", options, inspect_files=True)
    assert found.stages[2].pairs[0].path == Path("pairs.jsonl")


@dataclass
class Call:
    directory: Path
    kind: str
    model: str
    texts: tuple
    pairs: tuple
    adapters: tuple


class Recorder:
    """Takes the place of ``run_stage``, and trains nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Call] = []
        monkeypatch.setattr("searchapp.adapt.run.run_stage", self.run_stage)

    def run_stage(self, settings, *, model, to, texts=(), pairs=(), adapters=(), progress=None):  # noqa: PLR0913
        self.calls.append(Call(to, settings.name, model, tuple(texts), tuple(pairs), tuple(adapters)))
        return self.calls[-1]


def test_stages_run_in_order_from_where_they_start(recipe: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_recipe(str(recipe), [f"base={model}", f"adapters={model}"])
    run, heard = Recorder(monkeypatch), []
    records = run_recipe(found, announce=lambda stage: heard.append(stage.name))
    assert records == run.calls
    assert heard == ["mntp", "simcse", "supervised"]
    assert [(call.kind, call.model, call.directory) for call in run.calls] == [
        ("mntp", str(model), Path("out/mntp")),
        ("simcse", "out/mntp", Path("out/simcse")),  # the stage before, as nothing is said
        ("supervised", "out/mntp", Path("out/supervised")),
    ]
    assert [call.adapters for call in run.calls] == [(str(model),), (), ()]
    assert [call.texts for call in run.calls] == [(Path("texts.txt"),), (Path("texts.txt"),), ()]
    (pair,) = run.calls[2].pairs
    assert (pair.path, pair.instruction, pair.share) == (Path("pairs.jsonl"), "Find it:", 0.5)


def test_nothing_runs_when_something_is_missing(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_recipe(str(recipe))
    Path("pairs.jsonl").unlink()
    run = Recorder(monkeypatch)
    with pytest.raises(RecipeError, match="pairs.jsonl: no such file"):
        run_recipe(found)
    assert run.calls == []


def test_a_stage_can_start_from_the_base_and_names_can_be_given(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.write_text(
        'base = "bundled"\nto = "out"\nstage = [{kind = "mntp", name = "one", text = "texts.txt"}, '
        '{kind = "mntp", name = "two", from = "base", text = "texts.txt"}]'
    )
    run = Recorder(monkeypatch)
    run_recipe(read_recipe(str(recipe)))
    assert [(call.model, call.directory.name) for call in run.calls] == [("bundled", "one"), ("bundled", "two")]


def test_only_keeps_a_stage_and_those_it_starts_from(recipe: Path) -> None:
    assert [stage.name for stage in read_recipe(str(recipe), only=["supervised"]).stages] == ["mntp", "supervised"]
    assert [stage.name for stage in read_recipe(str(recipe), only=["mntp"]).stages] == ["mntp"]
    assert problems_of(recipe, only=("simsce",)) == [
        "small-one has no stage 'simsce'; expected one of mntp, simcse, supervised"
    ]


def test_options_change_the_recipe(recipe: Path, tmp_path: Path) -> None:
    Path("other.txt").write_text("text\n")
    found = read_recipe(
        str(recipe),
        [
            "to=elsewhere",
            "mntp.steps=7",
            "mntp.learning_rate=1e-3",
            "mntp.mask_token=true",  # a text, as the setting is one
            'mntp.text=["texts.txt", "other.txt"]',
            "simcse.from=base",
            "simcse.dtype=float32",
            "supervised.matryoshka=[8, 16]",
            "supervised.margin=0.1",
            "supervised.pairs=pairs.jsonl",
        ],
    )
    mntp, simcse, supervised = (flat(stage.settings) for stage in found.stages)
    assert found.to == Path("elsewhere")
    assert (mntp["steps"], mntp["learning_rate"], mntp["mask_token"]) == (7, 1e-3, "true")
    assert found.stages[0].text == (Path("texts.txt"), Path("other.txt"))
    assert found.stages[1].start == "base"
    assert simcse["dtype"] == "float32"
    assert (supervised["matryoshka"], supervised["margin"]) == ((8, 16), 0.1)
    (pair,) = found.stages[2].pairs
    assert (pair.path, pair.instruction, pair.share) == (Path("pairs.jsonl"), "", 1.0)
    inline = 'supervised.pairs=[{file = "pairs.jsonl", instruction = "So:", symmetric = true}]'
    (pair,) = read_recipe(str(recipe), [inline]).stages[2].pairs
    assert (pair.instruction, pair.symmetric) == ("So:", True)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("mntp.stpes=10", "stage mntp: unknown key 'stpes'; did you mean 'steps'?"),
        ("mtnp.steps=10", "no stage 'mtnp'; the stages: mntp, simcse, supervised"),
        ("steps=10", "unknown key 'steps'; known keys: base, adapters, to; for a stage's, STAGE.steps=VALUE"),
        ("mntp.steps", "expected STAGE.KEY=VALUE, such as mntp.steps=10, or base=DIRECTORY"),
        (".steps=1", "expected STAGE.KEY=VALUE, such as mntp.steps=10, or base=DIRECTORY"),
        ("mntp.steps=ten", "stage mntp: steps is 'ten'; expected a whole number of at least 1"),
        ("mntp.steps=10.5", "stage mntp: steps is 10.5; expected a whole number of at least 1"),
        ("supervised.pairs=[1]", "stage supervised: pairs: found 1; expected a table with a file, or its name"),
        ("adapters=[1]", "adapters is [1]; expected a list of names"),
    ],
)
def test_a_wrong_option_is_named(recipe: Path, option: str, expected: str) -> None:
    assert problems_of(recipe, option) == [f"--set {option}: {expected}"]


def test_paths_start_at_the_working_directory_then_beside_the_recipe(
    recipe: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = Path.cwd(), Path.cwd() / "here"
    here.mkdir()
    recipe.write_text(SMALL.replace("bundled", "model"))
    monkeypatch.chdir(here)
    (here / "texts.txt").write_text("here\n")
    found = read_recipe(str(home / recipe), inspect_files=True)
    assert found.stages[0].text == (Path("texts.txt"),)
    assert found.stages[2].pairs[0].path == home / "pairs.jsonl"
    assert found.base == str(home / "model")
    assert found.to == Path("out")


WRONG = [
    ('base = "bundled"', "", "{file}: no base; add base = "),
    ('base = "bundled"', 'base = ""', "{file}: line 1: base is empty; give a directory or a hub id"),
    ('base = "bundled"', "base = 3", "{file}: line 1: base is 3; expected a text"),
    ('base = "bundled"', 'bsae = "bundled"\nbase = "bundled"', "line 1: unknown key 'bsae'; did you mean 'base'?"),
    ('base = "bundled"', 'base = "a/b/c"', "base: a/b/c: no such directory; expected a model's directory, a hub id"),
    ('base = "bundled"', 'base = "texts.txt"', "base: texts.txt: a file; expected a model's directory, a hub id"),
    ('base = "bundled"', 'base = "."', "base: . is not a model: no config.json and no adapter_config.json in it"),
    ('to = "out"', "", "{file}: no `to`; add to = "),
    ('to = "out"', 'to = "texts.txt"', "to: texts.txt: a file; expected a directory to write to"),
    ('kind = "simcse"', 'kind = "simsce"', "line 10: stage simsce: kind is 'simsce'; expected one of mntp, simcse, "),
    ('kind = "simcse"', "", "line 9: stage number 2: no kind; expected one of mntp, simcse, supervised"),
    ('kind = "simcse"', 'kind = "mntp"', "line 9: stage mntp: an earlier stage has that name; give each its own"),
    ('kind = "simcse"', 'kind = "simcse"\nname = "base"', "line 11: stage base: the name stands for the base model"),
    ('kind = "simcse"', 'kind = "simcse"\nname = "a/b"', "line 11: stage a/b: expected a name of letters, digits"),
    ('from = "mntp"', 'from = "later"', "line 15: stage supervised: from is 'later'; expected base, mntp, simcse"),
    ('from = "mntp"', 'from = "supervised"', "stage supervised: from is 'supervised'; expected base, mntp, simcse"),
    ('from = "mntp"', 'text = "texts.txt"', "line 15: stage supervised: a supervised stage takes pairs, not text"),
    ("steps = 20", 'pairs = ["pairs.jsonl"]', "line 7: stage mntp: a mntp stage takes text, not pairs"),
    ("steps = 20", "stpes = 20", "line 7: stage mntp: unknown key 'stpes'; did you mean 'steps'?"),
    ("steps = 20", "steps = true", "line 7: stage mntp: steps is True; expected a whole number of at least 1"),
    ("steps = 20", "mask_rate = 2", "line 7: stage mntp: mask_rate is 2; expected a number above 0 and below 1"),
    ("steps = 20", "steps = 20\nwarmup_steps = 30", "line 8: stage mntp: warmup_steps is 30, the schedule spans 20"),
    ("steps = 20", "steps = 20\nscale = 2", "line 8: stage mntp: unknown key 'scale'"),
    ('text = ["texts.txt"]\nsteps', "steps", "line 4: stage mntp: no text; add text = "),
    ('text = ["texts.txt"]\nsteps', "text = [1]\nsteps", "line 6: text is [1]; expected a list of names"),
    ("share = 0.5", 'share = "half"', "line 21: share is 'half'; expected a number"),
    ("share = 0.5", "share = 0", "line 21: stage supervised: pairs: pairs.jsonl: the share is 0"),
    ("share = 0.5", "symmetric = 1", "line 21: symmetric is 1; expected true or false"),
    ("share = 0.5", "shares = 1", "line 21: stage supervised: pairs: unknown key 'shares'; did you mean 'share'?"),
    ('file = "pairs.jsonl"', "", "line 18: stage supervised: pairs: no file; add file = "),
    ("[[stage.pairs]]", "[[stage.pair]]", "stage supervised: unknown key 'pair'; did you mean 'pairs'?"),
    ("[[stage.pairs]]", "[[stage.pair]]", "line 13: stage supervised: no pairs; add [[stage.pairs]] tables"),
    ('file = "pairs.jsonl"', 'file = "no.jsonl"', "stage supervised: no.jsonl: no such file"),
    ('text = ["texts.txt"]\nsteps', 'text = ["no.txt"]\nsteps', "stage mntp: no.txt: no such file"),
    ('text = ["texts.txt"]\nsteps', 'text = ["empty.txt"]\nsteps', "stage mntp: empty.txt: found no text"),
    ('text = ["texts.txt"]\nsteps', 'text = ["small-one.toml"]\nsteps', "small-one.toml: a file ending in .toml"),
    ("warmup_steps = 0", 'teacher = "a/b/c"', "stage supervised: teacher: a/b/c: no such directory"),
]


@pytest.mark.parametrize(("found", "wrong", "expected"), WRONG)
def test_a_mistake_is_named_with_its_line(recipe: Path, found: str, wrong: str, expected: str) -> None:
    Path("empty.txt").write_text("\n")
    assert SMALL.count(found) >= 1
    recipe.write_text(SMALL.replace(found, wrong, 1))
    assert any(expected.format(file=recipe) in problem for problem in problems_of(recipe))


def test_all_mistakes_are_said_at_once_and_none_that_follows_from_another(recipe: Path) -> None:
    recipe.write_text(
        SMALL.replace("steps = 20", "steps = -1\nschedule_steps = 500\nmask_rate = 7\nlora_R = 3")
        .replace('kind = "simcse"', 'kind = "simsce"\nname = "simcse"')
        .replace('from = "mntp"', 'from = "simcse"')
        .replace('file = "pairs.jsonl"', 'file = "no.jsonl"')
    )
    problems = problems_of(recipe)
    assert [problem.partition(";")[0] for problem in problems] == [
        f"{recipe}: line 10: stage mntp: unknown key 'lora_R'",
        f"{recipe}: line 7: stage mntp: steps is -1",
        f"{recipe}: line 9: stage mntp: mask_rate is 7",
        f"{recipe}: line 13: stage simcse: kind is 'simsce'",
        "stage supervised: no.jsonl: no such file",
    ]
    with pytest.raises(AdaptError, match="and 3 more"):
        read_recipe(str(recipe))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no stages; add a [[stage]] table with its kind"),
        ('base = "bundled"\nto = "x"\nstage = []', "line 3: no stages; add a [[stage]] table"),
        ('base = "bundled"\nto = "x"\n[stage]\nkind = "mntp"', "line 3: [stage] is a single table; write [[stage]]"),
        ('base = "bundled"\nto = "x"\nstage = ["mntp"]', "line 3: stage is 'mntp'; expected [[stage]] tables"),
        ('base = "bundled"\nto = "x"\n[[stages]]\n', "line 3: unknown key 'stages'; did you mean 'stage'?"),
    ],
)
def test_a_recipe_without_stages(recipe: Path, text: str, expected: str) -> None:
    recipe.write_text(text)
    assert any(expected in problem for problem in problems_of(recipe))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"base = \nto = 1", "not valid TOML: Invalid value (at line 1, column 8)"),
        (b"a = 1\na = 2", "not valid TOML: Cannot overwrite a value (at "),
        (b"a = '\xff'", "invalid UTF-8 at byte 6"),
        (b"a = " + b"[" * 100_000, "not valid TOML"),
        (b"a = " + b"1" * 10_000, "not valid TOML"),
    ],
)
def test_a_file_that_is_no_toml(recipe: Path, content: bytes, expected: str) -> None:
    recipe.write_bytes(content)
    with pytest.raises(AdaptError) as raised:
        read_recipe(str(recipe))
    assert str(raised.value).startswith(f"{recipe}: {expected}")


def test_a_recipe_with_a_byte_order_mark_is_read(recipe: Path) -> None:
    recipe.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert len(read_recipe(str(recipe)).stages) == 3


def test_a_recipe_that_is_not_there_names_the_shipped_ones(tmp_path: Path) -> None:
    listed = "llama-2-7b, llama-3-8b, mistral-7b, sheared-llama-1.3b, small"
    for name, found in (("mistral", "is neither a file nor a shipped recipe"), (str(tmp_path), "is a directory")):
        with pytest.raises(AdaptError, match=f"{found}; expected a .toml file, or one of {listed}"):
            find_recipe(name)
    with pytest.raises(AdaptError, match="neither"):
        find_recipe("x" * 5_000)


def test_models_are_described_from_their_files(tmp_path: Path, model: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert describe_model("bundled") == "the bundled model"
    assert describe_model("owner/name") == "a hub id, not checked"
    assert describe_model(str(model)) == "a model's directory"
    assert describe_model(str(tmp_path / "adapter")) == "an adapter's directory"
