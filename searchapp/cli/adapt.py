"""``searchapp adapt``: the LLM2Vec recipe, a stage at a time or whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.cli import mine, options, probe, recipe
from searchapp.cli.console import notice, say, seconds_text, table
from searchapp.cli.launch import together
from searchapp.errors import AdaptError

if TYPE_CHECKING:
    from searchapp.adapt.data import PairFile
    from searchapp.adapt.run import Record

app = typer.Typer(
    help="Turn a decoder language model into an embedder: train it on your text and your pairs.\n\n"
    "On several GPUs, with a process for each: torchrun --nproc-per-node N -m searchapp adapt … "
    "The batch is shared among them; its size is a multiple of N.",
    rich_markup_mode=None,
)
app.command("probe")(probe.probe)
app.command("mine")(mine.mine)
app.command("run")(recipe.run)
app.command("check")(recipe.check)
app.command("recipes")(recipe.recipes)

Model = Annotated[
    str, typer.Option("--model", "-m", help="A directory, a hub id or `bundled`: what is trained.", show_default=False)
]
Text = Annotated[
    list[Path],
    typer.Option(help="One text a line (.txt), or a field `text` (.jsonl, .parquet); repeat it.", show_default=False),
]
To = Annotated[
    Path, typer.Option(help="Where the result goes; a run that was stopped there goes on.", show_default=False)
]
More = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE", help="More files, as --text or --pairs takes them.", show_default=False),
]
# What every stage has. None is the stage's own default, which the help gives.
Steps = Annotated[int | None, typer.Option(help="Optimiser steps. [default: 1000]", min=1)]
ScheduleSteps = Annotated[
    int | None, typer.Option(help="Steps the falling learning rate would take to reach 0. [default: --steps]")
]
WarmupSteps = Annotated[
    int | None,
    typer.Option(help="Steps over which the rate rises. [default: 0; supervised 300, but at most 3 tenths of --steps]"),
]
Rate = Annotated[
    float | None,
    typer.Option("--learning-rate", "--lr", help="[default: mntp 5e-5, simcse 3e-5, supervised 2e-4]"),
]
Batch = Annotated[
    int | None, typer.Option("--batch-size", help="Over all processes. [default: mntp 32, simcse 128, supervised 512]")
]
Chunk = Annotated[
    int | None,
    typer.Option(help="Rows in a forward pass: less memory, the same gradients. [default: 0, the whole batch]"),
]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of a text or block. [default: 512; simcse 128]")]
LoraR = Annotated[int | None, typer.Option("--lora-r", help="Rank of the adapters. [default: 16]")]
LoraAlpha = Annotated[int | None, typer.Option("--lora-alpha", help="[default: 32]")]
LoraDropout = Annotated[float | None, typer.Option("--lora-dropout", help="[default: 0.05]")]
Train = Annotated[str | None, typer.Option(help="lora, or all weights, for small models. [default: lora]")]
Dtype = Annotated[str | None, typer.Option(help="Of the frozen weights: auto, float32 or bfloat16. [default: auto]")]
Autocast = Annotated[bool | None, typer.Option("--autocast", help="Compute in bfloat16, whatever the weights are.")]
Attention = Annotated[str | None, typer.Option(help="auto, sdpa or eager.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Checkpointing = Annotated[
    bool | None,
    typer.Option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Less memory for more time. [default: no; supervised yes]",
    ),
]
SaveSteps = Annotated[int | None, typer.Option(help="Steps between checkpoints. [default: 100]")]
Seed = Annotated[int | None, typer.Option(help="[default: 42]")]
Board = Annotated[bool | None, typer.Option("--tensorboard", help="Write TensorBoard events too.")]
Pooling = Annotated[str | None, typer.Option(help="How the vectors are pooled. [default: mean]")]
Scale = Annotated[float | None, typer.Option(help="Inverse temperature. [default: simcse 20, supervised 50]")]


@app.command("mntp")
def mntp(
    model: Model,
    text: Text,
    to: To,
    more: More = None,
    adapter: options.Adapters = None,
    mask_strategy: Annotated[str | None, typer.Option(help="bert (80/10/10) or all. [default: bert]")] = None,
    mask_rate: Annotated[float | None, typer.Option(help="Share of tokens to predict. [default: 0.2]")] = None,
    mask_token: Annotated[
        str | None, typer.Option(help="blank (_), eos, mask, or any single token. [default: blank]")
    ] = None,
    mix_documents: Annotated[
        bool | None, typer.Option("--mix-documents", help="Attend across documents in a block, as the original does.")
    ] = None,
    steps: Steps = None,
    schedule_steps: ScheduleSteps = None,
    warmup_steps: WarmupSteps = None,
    learning_rate: Rate = None,
    batch_size: Batch = None,
    chunk: Chunk = None,
    max_length: MaxLength = None,
    lora_r: LoraR = None,
    lora_alpha: LoraAlpha = None,
    lora_dropout: LoraDropout = None,
    train: Train = None,
    dtype: Dtype = None,
    autocast: Autocast = None,
    attention: Attention = None,
    device: Device = None,
    gradient_checkpointing: Checkpointing = None,
    save_steps: SaveSteps = None,
    seed: Seed = None,
    tensorboard: Board = None,
) -> None:
    """Masked next-token prediction: teaches a decoder to use the attention to both sides it was never trained with."""
    _run("mntp", locals())


@app.command("simcse")
def simcse(
    model: Model,
    text: Text,
    to: To,
    more: More = None,
    adapter: options.Adapters = None,
    scale: Scale = None,
    attention_dropout: Annotated[
        float | None, typer.Option(help="What the two views of a text differ by. [default: 0.3]")
    ] = None,
    pooling: Pooling = None,
    steps: Steps = None,
    schedule_steps: ScheduleSteps = None,
    warmup_steps: WarmupSteps = None,
    learning_rate: Rate = None,
    batch_size: Batch = None,
    chunk: Chunk = None,
    max_length: MaxLength = None,
    lora_r: LoraR = None,
    lora_alpha: LoraAlpha = None,
    lora_dropout: LoraDropout = None,
    train: Train = None,
    dtype: Dtype = None,
    autocast: Autocast = None,
    attention: Attention = None,
    device: Device = None,
    gradient_checkpointing: Checkpointing = None,
    save_steps: SaveSteps = None,
    seed: Seed = None,
    tensorboard: Board = None,
) -> None:
    """Unsupervised contrastive learning: a text and itself under another draw of dropout belong together."""
    _run("simcse", locals())


@app.command("supervised")
def supervised(
    model: Model,
    pairs: Annotated[
        list[Path],
        typer.Option(help="Rows of query, positive and negative (.jsonl, .jsonl.gz); repeat it.", show_default=False),
    ],
    to: To,
    more: More = None,
    adapter: options.Adapters = None,
    instruction: Annotated[
        list[str] | None,
        typer.Option(help="Before every query; or NAME=TEXT, for the file NAME.jsonl alone; repeat it."),
    ] = None,
    symmetric: Annotated[
        list[str] | None, typer.Option(help="NAME of a file whose documents get the instruction too; repeat it.")
    ] = None,
    query_instruction: Annotated[
        str | None, typer.Option(help="What the finished model puts before a query where none is given.")
    ] = None,
    scale: Scale = None,
    pooling: Pooling = None,
    negatives: Annotated[int | None, typer.Option(help="Hard negatives of a row that are used. [default: 1]")] = None,
    margin: Annotated[
        float | None, typer.Option(help="Bar candidates that score above the positive by more. [default: none are]")
    ] = None,
    matryoshka: Annotated[
        list[int] | None, typer.Option(help="A dimension whose cut vectors are trained too; repeat it.")
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="A model whose similarities are learned too.")] = None,
    teacher_weight: Annotated[float | None, typer.Option(help="Of that loss. [default: 1]")] = None,
    teacher_scale: Annotated[float | None, typer.Option(help="Its inverse temperature. [default: 20]")] = None,
    row_weight: Annotated[float | None, typer.Option(help="Of the loss over scores in the rows. [default: 1]")] = None,
    steps: Steps = None,
    schedule_steps: ScheduleSteps = None,
    warmup_steps: WarmupSteps = None,
    learning_rate: Rate = None,
    batch_size: Batch = None,
    chunk: Chunk = None,
    max_length: MaxLength = None,
    lora_r: LoraR = None,
    lora_alpha: LoraAlpha = None,
    lora_dropout: LoraDropout = None,
    train: Train = None,
    dtype: Dtype = None,
    autocast: Autocast = None,
    attention: Attention = None,
    device: Device = None,
    gradient_checkpointing: Checkpointing = None,
    save_steps: SaveSteps = None,
    seed: Seed = None,
    tensorboard: Board = None,
) -> None:
    """Contrastive learning on pairs: queries towards what answers them, away from what does not."""
    _run("supervised", locals())


PLACED = ("model", "text", "pairs", "more", "to", "adapter", "instruction", "symmetric")  # options that are no settings


def _run(kind: str, given: dict[str, Any]) -> None:
    """Make the settings of a stage from a command's options, run it, and say what came of it."""
    from searchapp.adapt.config import make_stage
    from searchapp.adapt.distributed import launched
    from searchapp.adapt.run import run_stage
    from searchapp.cli.progress import Steps as Bar

    with together(), Bar() as bar:
        files = pair_files(given) if kind == "supervised" else []
        settings = make_stage(kind, {name: value for name, value in given.items() if name not in PLACED})
        record = run_stage(
            settings,
            model=given["model"],
            to=given["to"],
            texts=[] if files else [*given["text"], *(given["more"] or [])],
            pairs=files,
            adapters=given["adapter"] or (),
            progress=bar,
        )
    if launched()[0] == 0:
        report(record)


def pair_files(given: dict[str, Any]) -> list[PairFile]:
    """Join the files of ``--pairs`` with the instructions that are meant for them."""
    from searchapp.adapt.data import PairFile

    paths = [*given["pairs"], *(given["more"] or [])]
    names = [PairFile(path).name for path in paths]
    everywhere, own = "", {}
    for text in given["instruction"] or []:
        name, equals, rest = text.partition("=")
        if equals and name in names:
            own[name] = rest
        else:
            everywhere = text
    if wrong := sorted(set(given["symmetric"] or []) - set(names)):
        raise AdaptError(f"--symmetric {wrong[0]} names no file of pairs; expected one of {', '.join(names)}")
    return [
        PairFile(path, instruction=own.get(name, everywhere), symmetric=name in (given["symmetric"] or []))
        for name, path in zip(names, paths, strict=True)
    ]


def report(record: Record, out: Callable[[str], None] = say) -> None:
    """Print what a run came to: the curve as a table, its speed, and what to do with it."""
    from searchapp.adapt.loss_curve import table as curve

    content = record.content
    if record.already_done:
        notice(f"{record.directory} is complete: nothing to do")
    elif record.resumed_at:
        notice(f"went on after step {record.resumed_at}")
    wanted = content["settings"]["batch_size"]
    if (found := content.get("rows_per_step", wanted)) < wanted:
        notice(f"the batches had {found:,} rows instead of {wanted:,}: there are no more")
    rows = [["step", "loss", "learning rate"]]
    rows += [[f"{step:,}", f"{loss:.4f}", f"{rate:.2e}"] for step, loss, rate in curve(record.history)]
    out(table(rows))
    out("")
    out(f"trained        {content['trained_parameters']:,} parameters ({content['settings']['train']})")
    speed = f"{content['tokens_per_second']:,.0f} tokens/s"
    out(f"time           {seconds_text(content['seconds'])}, {content['tokens']:,} tokens, {speed}")
    out(f"curve          {record.directory / 'loss.png'}")
    out(f"record         {record.directory / 'run.json'}")
    out(f"use it         searchapp build SOURCE --index indexes/NAME --model {record.directory}")
