"""``searchapp adapt``: the LLM2Vec recipe, a stage at a time or whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.adapt.config import MntpConfig, SimcseConfig, SupervisedConfig, make_stage
from searchapp.cli import mine, probe, recipe
from searchapp.cli.console import notice, say, seconds_text, table
from searchapp.cli.launch import together
from searchapp.cli.signatures import GroupedCommand, examples, options_from
from searchapp.errors import AdaptError

if TYPE_CHECKING:
    from searchapp.adapt.data import PairFile
    from searchapp.adapt.run_record import RunRecord

app = typer.Typer(
    help="Turn a decoder language model into an embedder: train it on your text and your pairs.\n\n"
    "On several GPUs, with a process for each: torchrun --nproc-per-node N -m searchapp adapt … "
    "The batch is shared among them; its size is a multiple of N.",
    rich_markup_mode=None,
)
EXAMPLES = {
    "probe": (
        "searchapp adapt probe --task ner --data conll2003",
        "searchapp adapt probe --task pos --data conll2003 --model models/mntp --shift --seeds 5",
    ),
    "mine": (
        "searchapp adapt mine pairs.jsonl --index indexes/notes --to mined.jsonl",
        "searchapp adapt mine pairs.jsonl --index indexes/notes --to mined.jsonl.gz --count 8 --skip 2 --max-share 0.9",
    ),
    "run": (
        "searchapp adapt run small --to models/mine --set mntp.text=notes.txt --set supervised.pairs=pairs.jsonl",
        "searchapp adapt run recipe.toml --stage mntp --set mntp.steps=10",
    ),
    "check": ("searchapp adapt check small", "searchapp adapt check recipe.toml --set mntp.steps=10 --json"),
    "recipes": ("searchapp adapt recipes", "searchapp adapt recipes small > recipe.toml"),
}
for name, function in (
    ("probe", probe.probe),
    ("mine", mine.mine),
    ("run", recipe.run),
    ("check", recipe.check),
    ("recipes", recipe.recipes),
):
    app.command(name, cls=GroupedCommand, epilog=examples(*EXAMPLES[name]))(function)

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A directory, a hub id or `bundled`: what is trained.",
        show_default=False,
        rich_help_panel="Model",
    ),
]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter", "-a", help="A LoRA adapter to merge; repeat it for several, in order.", rich_help_panel="Model"
    ),
]
Text = Annotated[
    list[Path],
    typer.Option(
        help="One text a line (.txt), or a field `text` (.jsonl, .parquet); repeat it.",
        show_default=False,
        rich_help_panel="Data",
    ),
]
To = Annotated[
    Path,
    typer.Option(
        help="Where the result goes; a run that was stopped there goes on.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
More = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE", help="More files, as --text or --pairs takes them.", show_default=False),
]


@app.command(
    "mntp",
    cls=GroupedCommand,
    epilog=examples(
        "searchapp adapt mntp --model bundled --text notes.txt --to models/mntp --steps 100",
        "searchapp adapt mntp --model meta-llama/Llama-3.2-1B --text wiki.parquet --to models/mntp --chunk 8",
    ),
)
@options_from("settings", MntpConfig(), only_given=True)
def mntp(
    model: Model, text: Text, to: To, settings: dict[str, Any], more: More = None, adapter: Adapters = None
) -> None:
    """Masked next-token prediction: teaches a decoder to use the attention to both sides it was never trained with."""
    _run("mntp", settings, model, to, adapter, texts=[*text, *(more or [])])


@app.command(
    "simcse",
    cls=GroupedCommand,
    epilog=examples(
        "searchapp adapt simcse --model models/mntp --text notes.txt --to models/simcse --steps 100",
        "searchapp adapt simcse --model models/mntp --text notes.txt --to models/simcse --scale 20 --lora-dropout 0.1",
    ),
)
@options_from("settings", SimcseConfig(), only_given=True)
def simcse(
    model: Model, text: Text, to: To, settings: dict[str, Any], more: More = None, adapter: Adapters = None
) -> None:
    """Unsupervised contrastive learning: a text and itself under another draw of dropout belong together."""
    _run("simcse", settings, model, to, adapter, texts=[*text, *(more or [])])


@app.command(
    "supervised",
    cls=GroupedCommand,
    epilog=examples(
        "searchapp adapt supervised --model models/mntp --pairs pairs.jsonl --to models/mine --batch-size 64",
        "searchapp adapt supervised --model models/mntp --pairs pairs.jsonl --to models/mine --matryoshka 256",
        "searchapp adapt supervised --model models/mntp --pairs faq.jsonl --to models/mine"
        " --instruction 'Find the answer'",
    ),
)
@options_from("settings", SupervisedConfig(), only_given=True)
def supervised(
    model: Model,
    pairs: Annotated[
        list[Path],
        typer.Option(
            help="Rows of query, positive and negative (.jsonl, .jsonl.gz); repeat it.",
            show_default=False,
            rich_help_panel="Data",
        ),
    ],
    to: To,
    settings: dict[str, Any],
    more: More = None,
    adapter: Adapters = None,
    instruction: Annotated[
        list[str] | None,
        typer.Option(
            help="Before every query; or NAME=TEXT, for the file NAME.jsonl alone; repeat it.", rich_help_panel="Data"
        ),
    ] = None,
    symmetric: Annotated[
        list[str] | None,
        typer.Option(help="NAME of a file whose documents get the instruction too; repeat it.", rich_help_panel="Data"),
    ] = None,
) -> None:
    """Contrastive learning on pairs: queries towards what answers them, away from what does not."""
    files = partial(pair_files, [*pairs, *(more or [])], instruction or [], symmetric or [])
    _run("supervised", settings, model, to, adapter, pairs=files)


def _run(
    kind: str,
    settings: dict[str, Any],
    model: str,
    to: Path,
    adapters: list[str] | None,
    *,
    texts: Sequence[Path] = (),
    pairs: Callable[[], Sequence[PairFile]] = tuple,
) -> None:
    """Run a stage, and say what came of it. What is wrong with ``settings`` and ``pairs`` one process says for all."""
    from searchapp.adapt.distributed import env_rank
    from searchapp.adapt.run import run_stage
    from searchapp.cli.progress import Bar

    with together(), Bar(every=60) as bar:
        files = pairs()
        stage = make_stage(kind, settings)
        record = run_stage(stage, model=model, to=to, texts=texts, pairs=files, adapters=adapters or (), progress=bar)
    if env_rank() == 0:
        report(record)


def pair_files(paths: Sequence[Path], instructions: Sequence[str], symmetric: Sequence[str]) -> list[PairFile]:
    """Join the files of ``--pairs`` with the instructions that are meant for them.

    An instruction is a text for every file, or ``NAME=TEXT`` for one. Raises AdaptError for a name in ``symmetric``
    that no file has.
    """
    from searchapp.adapt.data import PairFile

    names = [PairFile(path).name for path in paths]
    everywhere, own = "", {}
    for text in instructions:
        name, equals, rest = text.partition("=")
        if equals and name in names:
            own[name] = rest
        else:
            everywhere = text
    if wrong := sorted(set(symmetric) - set(names)):
        raise AdaptError(f"--symmetric {wrong[0]} names no file of pairs; expected one of {', '.join(names)}")
    return [
        PairFile(path, instruction=own.get(name, everywhere), symmetric=name in symmetric)
        for name, path in zip(names, paths, strict=True)
    ]


def report(record: RunRecord, out: Callable[[str], None] = say) -> None:
    """Print what a run came to: the curve as a table, its speed, and what to do with it."""
    from searchapp.adapt.loss_curve import curve_rows

    content = record.content
    if record.already_done:
        notice(f"{record.directory} is complete: nothing to do")
    elif record.resumed_at:
        notice(f"went on after step {record.resumed_at}")
    wanted = content["settings"]["batch_size"]
    if (found := content.get("rows_per_step", wanted)) < wanted:
        notice(f"the batches had {found:,} rows instead of {wanted:,}: there are no more")
    rows = [["step", "loss", "learning rate"]]
    rows += [[f"{step:,}", f"{loss:.4f}", f"{rate:.2e}"] for step, loss, rate in curve_rows(record.history)]
    out(table(rows))
    out("")
    out(f"trained        {content['trained_parameters']:,} parameters ({content['settings']['train']})")
    speed = f"{content['tokens_per_second']:,.0f} tokens/s"
    out(f"time           {seconds_text(content['seconds'])}, {content['tokens']:,} tokens, {speed}")
    out(f"curve          {record.directory / 'loss.png'}")
    out(f"record         {record.directory / 'run.json'}")
    out(f"use it         searchapp build SOURCE --index indexes/NAME --model {record.directory}")
