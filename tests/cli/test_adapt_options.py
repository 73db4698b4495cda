"""The options of ``searchapp adapt``: frozen as they were typed by hand, and one truth with the settings of a recipe."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from searchapp.adapt.config import STAGES, flat
from searchapp.cli.option_fields import option_fields
from searchapp.cli.program import app

# Every spelling that scripts may use, from the last version whose signatures were typed by hand. Only additions are
# changes that break nobody.
FLAGS = {
    "mntp": """
        --adapter --attention --autocast --batch-size --chunk --device --dtype --gradient-checkpointing
        --keep-checkpoints --learning-rate --lora-alpha --lora-dropout --lora-r --lr --mask-rate --mask-strategy --mask-token
        --max-length --mix-documents --model --no-gradient-checkpointing --save-steps --schedule-steps --seed
        --steps --tensorboard --text --to --train --warmup-steps -a -m more
    """,
    "simcse": """
        --adapter --attention --attention-dropout --autocast --batch-size --chunk --device --dtype
        --gradient-checkpointing --keep-checkpoints --learning-rate --lora-alpha --lora-dropout --lora-r --lr
        --max-length --model
        --no-gradient-checkpointing --pooling --save-steps --scale --schedule-steps --seed --steps --tensorboard
        --text --to --train --warmup-steps -a -m more
    """,
    "supervised": """
        --adapter --attention --autocast --batch-size --chunk --device --dtype --gradient-checkpointing
        --instruction --keep-checkpoints --learning-rate --lora-alpha --lora-dropout --lora-r --lr --margin --matryoshka
        --max-length --model --negatives --no-gradient-checkpointing --pairs --pooling --query-instruction
        --row-weight --save-steps --scale --schedule-steps --seed --steps --symmetric --teacher --teacher-scale
        --teacher-weight --tensorboard --to --train --warmup-steps -a -m more
    """,
    "mine": """
        --count --depth --device --index --instruction --json --margin --max-share --no-overwrite --no-titles
        --overwrite --sample --seed --skip --titles --to pairs
    """,
    "probe": """
        --adapter --attention --batch-size --bidirectional --causal --column --data --device --dtype --json
        --learning-rate --lr --model --no-shift --seed --seeds --shift --split --steps --task -a -m
    """,
    "run": """
        --set --stage --to recipe
    """,
    "check": """
        --json --set --stage --to recipe
    """,
    "recipes": """
        name
    """,
}
RECIPE_ONLY = {"weight_decay", "max_grad_norm", "bidirectional"}


def _command(name: str) -> Any:
    return get_command(app).load("adapt").commands[name]


@pytest.mark.parametrize("name", FLAGS)
def test_no_flag_has_gone(name: str) -> None:
    found = {flag for item in _command(name).params for flag in [*item.opts, *item.secondary_opts]}
    everywhere = {"--verbose", "-v", "--quiet", "-q", "--log-json"}  # options that every command has
    assert found == set(FLAGS[name].split()) | everywhere


@pytest.mark.parametrize("kind", STAGES)
def test_options_are_the_keys_of_a_recipe(kind: str) -> None:
    """What ``--set STAGE.KEY=VALUE`` and a TOML file take, the command line takes by the same name."""
    settings = STAGES[kind]()
    options = {item.name: item.default for item in option_fields(settings)}
    assert set(options) == set(flat(settings)) - RECIPE_ONLY
    assert all(flat(settings)[name] == default for name, default in options.items())
    assert set(options) <= {item.name for item in _command(kind).params}


@pytest.mark.parametrize("kind", STAGES)
def test_the_help_gives_the_defaults_of_the_stage(kind: str) -> None:
    help_of = {item.name: getattr(item, "help", "") for item in _command(kind).params}
    training = STAGES[kind]().training
    assert help_of["batch_size"].endswith(f"[default: {training.batch_size}]")
    assert help_of["max_length"].endswith(f"[default: {training.max_length}]")
    assert float(help_of["learning_rate"].partition("default: ")[2].rstrip("]")) == training.learning_rate
    assert help_of["gradient_checkpointing"].endswith("[default: yes]" if kind == "supervised" else "[default: no]")


@pytest.mark.parametrize("name", FLAGS)
def test_examples_are_commands_that_can_be_parsed(name: str, run: Any) -> None:
    """Each is parsed by the command that it shows; none is wrapped."""
    import shlex

    command = _command(name)
    lines = (command.epilog or "").splitlines()
    assert 1 <= len(lines) <= 3
    text = run("adapt", name, "--help").out
    for line in lines:
        assert f"  {line}\n" in text
        program, room, called, *arguments = shlex.split(line.partition(" > ")[0])
        assert (program, room, called) == ("searchapp", "adapt", name)
        command.make_context(name, arguments)
