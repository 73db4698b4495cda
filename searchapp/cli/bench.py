"""``searchapp bench``: how fast this machine embeds and searches, beside other programs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli.console import notice, say, say_json, table
from searchapp.cli.option_fields import option
from searchapp.cli.options import EncoderOptions, TargetOptions
from searchapp.cli.signatures import GroupedCommand, examples, options_from
from searchapp.cli.wording import DEVICES, FOLDERS, MEASURING, MODEL, OUTPUT
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.bench.sources import VectorSource

MEASURED, TEXTS = "What is measured", ".txt(.gz), .md or whatever `build` reads; repeat it."
JSON = "Write JSON to standard output, and nothing else."
MARKDOWN = "Write a section of this file, e.g. docs/benchmarks.md."

app = typer.Typer(help="Measure speed.", rich_markup_mode=None)


@app.callback()
def bench() -> None:
    """Measure speed."""


@dataclass(frozen=True)
class EncodeOptions:
    """What is embedded, by what, and how it is measured; empty: as the bench room has it."""

    model: str = option("bundled", FOLDERS, MODEL, flags=("--model", "-m"))
    shape: str | None = option(
        None, "Random weights of hidden,layers[,heads[,kv heads[,mlp]]] instead, e.g. 576,30,9,3,1536.", MODEL
    )
    dtype: tuple[str, ...] = option((), "A precision; repeat it.", MODEL, default="float32 and auto")
    backend: tuple[str, ...] = option((), "torch or openvino; repeat it.", MODEL, default="torch")
    device: str = option("auto", DEVICES, MODEL)
    rivals: str = option(
        "", "sentence-transformers, hf, or sentence-transformers folders, with commas between.", MEASURED
    )
    texts: tuple[str, ...] = option((), f"Prose to cut: {TEXTS}", MEASURED, default="python:stdlib")
    documents: int = option(512, "Texts to embed in a round.", MEASURED, min=1)
    max_length: int = option(512, "Longest text in tokens.", MEASURED, min=16)
    end_to_end: bool = option(
        False,
        "Measure a whole build from JSONL to index too.",
        MEASURED,
        flags=("--end-to-end/--no-end-to-end",),
    )
    rounds: int = option(3, "Rounds; every figure is a median.", MEASURING, min=1)
    threads: int = option(1, "Threads on a CPU; with one, time is the processor's own.", MEASURING, min=1)
    markdown: Path | None = option(None, MARKDOWN, OUTPUT)
    json: bool = option(False, JSON, OUTPUT)


@app.command(
    "encode",
    cls=GroupedCommand,
    epilog=examples(
        "searchapp bench encode",
        "searchapp bench encode --rivals sentence-transformers,hf --documents 1024 --rounds 5",
        "searchapp bench encode --shape 576,30,9,3,1536 --dtype bfloat16 --device cuda --markdown docs/benchmarks.md",
    ),
)
@options_from("asked", EncodeOptions())
def encode(asked: EncodeOptions) -> None:
    """Embed texts of real lengths (median 120, 95 % under 400 tokens) with several programs in turn."""
    from searchapp.bench import EncodePlan, bench_encode
    from searchapp.bench.report import LEGEND, rows, summary

    plan = EncodePlan(
        model=asked.model,
        shape=asked.shape,
        rivals=tuple(name.strip() for name in asked.rivals.split(",") if name.strip()),
        dtypes=asked.dtype or EncodePlan.dtypes,
        backends=asked.backend or EncodePlan.backends,
        sources=asked.texts or EncodePlan.sources,
        documents=asked.documents,
        rounds=asked.rounds,
        longest=asked.max_length,
        threads=asked.threads,
        device=asked.device,
        end_to_end=asked.end_to_end,
    )
    found = bench_encode(plan, notice)
    if asked.json:
        say_json(found)
    _show(found["model"], summary(found), [(rows(found), LEGEND)], asked.markdown, quiet=asked.json)


@dataclass(frozen=True)
class IndexOptions:
    """Whose vectors are searched, by what, and how it is measured."""

    texts: tuple[str, ...] = option((), f"Prose to encode in passages of 60 words: {TEXTS}", MEASURED)
    encoder: EncoderOptions = EncoderOptions()
    documents: int = option(20_000, "Passages of --texts to encode.", MEASURED, min=1)
    vectors: Path | None = option(None, "An .npy file of vectors, one a row.", MEASURED)
    queries: Path | None = option(None, "An .npy file of query vectors, for --vectors.", MEASURED)
    synthetic: str | None = option(
        None, "N,DIM: vectors drawn with the spectrum of a large decoder's, e.g. 100000,1024.", MEASURED
    )
    rival: tuple[str, ...] = option(
        (),
        "A FAISS factory string, usearch, hnswlib, scann, or peers: these three and what people make of FAISS by "
        "hand; repeat it. Default: Flat and 15 others.",
        MEASURED,
    )
    filters: bool = option(
        False, "Measure filters that 1 % and 50 % of the rows pass too.", MEASURED, flags=("--filters/--no-filters",)
    )
    updates: bool = option(
        False, "Measure 1,000 rows added and deleted too.", MEASURED, flags=("--updates/--no-updates",)
    )
    targets: TargetOptions = TargetOptions()
    rounds: int = option(3, "Rounds; every time is a median.", MEASURING, min=1)
    curves: bool = option(
        True,
        "Time every setting of every index, not only those at the recall.",
        MEASURING,
        flags=("--curves/--no-curves",),
    )
    minutes: float = option(
        30.0, "A rival that takes longer to build than is left of these is left out.", MEASURING, min=0
    )
    markdown: Path | None = option(None, MARKDOWN, OUTPUT)
    plot: Path | None = option(None, "Draw recall against queries a second as a PNG.", OUTPUT)
    json: bool = option(False, JSON, OUTPUT)

    def check(self, directory: Path | None) -> None:
        """Raise SearchAppError unless there is one thing to measure with."""
        if self.plot is not None and find_spec("matplotlib") is None:
            raise SearchAppError("--plot needs matplotlib; install searchapp[bench], or leave --plot out")
        ways = {
            "INDEX": directory,
            "--texts": self.texts,
            "--vectors": self.vectors,
            "--synthetic": self.synthetic,
        }
        if self.plot is not None and not self.curves:
            raise SearchAppError("--plot draws what --no-curves leaves out; leave out one of them")
        given = [name for name, value in ways.items() if value]
        if len(given) != 1:
            raise SearchAppError(
                f"{' and '.join(given) or 'nothing'} given to measure with; give one of {', '.join(ways)}"
            )
        if self.queries is not None and self.vectors is None:
            raise SearchAppError("--queries are the queries of --vectors, which is not given; leave it out")


@app.command(
    "index",
    cls=GroupedCommand,
    epilog=examples(
        "searchapp bench index indexes/notes",
        "searchapp bench index --synthetic 100000,1024 --rival HNSW32 --rival usearch --plot curves.png",
        "searchapp bench index --vectors v.npy --queries q.npy --rival peers --no-curves --filters --updates",
    ),
)
@options_from(
    "asked",
    IndexOptions(),
    without=(
        "adapter", "pooling", "max_length", "document_max_length", "query_instruction", "bidirectional", "attention",
        "dtype", "backend",
    ),
)  # fmt: skip
def index(
    asked: IndexOptions,
    directory: Annotated[
        Path | None, typer.Argument(metavar="[INDEX]", help="An index directory, whose vectors are measured with.")
    ] = None,
) -> None:
    """Search the same vectors with searchapp's own choice of index and with others, in turn, on one thread."""
    from searchapp.bench import IndexPlan, bench_index
    from searchapp.bench.index_report import CHANGES_LEGEND, LEGEND, changes, draw, rows, summary

    asked.check(directory)
    plan = IndexPlan(
        asked.rival or None, asked.targets.over(), asked.rounds, asked.minutes, asked.curves, asked.filters,
        asked.updates,
    )  # fmt: skip
    source = _source(directory, asked)
    found = bench_index(source, plan, notice)
    if asked.plot is not None:
        try:
            draw(found, asked.plot)
        except (OSError, ValueError) as error:
            raise SearchAppError(f"--plot {asked.plot} cannot be written ({error}); give a .png file") from error
        notice(f"curves drawn in {asked.plot}")
    if asked.json:
        say_json(found)
    tables = [(rows(found), LEGEND)]
    if changed := changes(found):
        tables.append((changed, CHANGES_LEGEND))
    _show(f"Indexes over {source.name}", summary(found), tables, asked.markdown, quiet=asked.json)


@dataclass(frozen=True)
class AdaptOptions:
    """What is trained, on what, and how it is measured."""

    model: str = option("bundled", FOLDERS, MODEL, flags=("--model", "-m"))
    dtype: str = option("auto", "auto, float32 or bfloat16.", MODEL)
    stage: tuple[str, ...] = option((), "mntp, simcse or supervised; repeat it.", MEASURED, default="all")
    text: tuple[str, ...] = option((), f"Prose to cut: {TEXTS}", MEASURED, default="python:stdlib")
    batch_size: int = option(8, "Blocks, texts or pairs in a step.", MEASURED, min=2)
    block: int = option(128, "Tokens of a block of MNTP.", MEASURED, min=16)
    max_length: int = option(512, "Longest of the other texts in tokens.", MEASURED, min=16)
    dropout: bool = option(
        False, "Train with the stages' own dropout; losses then differ.", MEASURED, flags=("--dropout/--no-dropout",)
    )
    gradient_checkpointing: bool = option(
        False,
        "Less memory for more time, in both programs.",
        MEASURED,
        flags=("--gradient-checkpointing/--no-gradient-checkpointing",),
    )
    steps: int = option(2, "Steps of a round.", MEASURING, min=1)
    rounds: int = option(3, "Rounds; of each step the best time counts.", MEASURING, min=1)
    threads: int = option(1, "Threads; with one, time is the processor's own.", MEASURING, min=1)
    markdown: Path | None = option(None, MARKDOWN, OUTPUT)
    json: bool = option(False, JSON, OUTPUT)


@app.command(
    "adapt",
    cls=GroupedCommand,
    epilog=examples(
        "searchapp bench adapt",
        "searchapp bench adapt --model models/smollm2 --stage mntp --batch-size 4 --rounds 5 --json",
        "searchapp bench adapt --stage supervised --text notes.txt --gradient-checkpointing",
    ),
)
@options_from("asked", AdaptOptions())
def adapt(asked: AdaptOptions) -> None:
    """Train on the CPU, in turn with a plain script of transformers' Trainer and peft on the same batches."""
    from searchapp.bench.adapt import AdaptPlan, bench_adapt
    from searchapp.bench.adapt_report import LEGEND, rows, summary

    plan = AdaptPlan(
        model=asked.model,
        stages=asked.stage or AdaptPlan.stages,
        sources=asked.text or AdaptPlan.sources,
        batch=asked.batch_size,
        block=asked.block,
        longest=asked.max_length,
        steps=asked.steps,
        rounds=asked.rounds,
        dtype=asked.dtype,
        threads=asked.threads,
        dropout=asked.dropout,
        gradient_checkpointing=asked.gradient_checkpointing,
    )
    found = bench_adapt(plan, notice)
    if asked.json:
        say_json(found)
    _show(f"Training {found['model']}", summary(found), [(rows(found), LEGEND)], asked.markdown, quiet=asked.json)


@dataclass(frozen=True)
class ServeOptions:
    """What is asked of the server, beside which others, and for how long."""

    rivals: str = option(
        "fastapi,sentence-transformers",
        "fastapi, sentence-transformers, infinity, with commas between; '': none.",
        MEASURED,
    )
    mode: tuple[str, ...] = option((), "A mode of search; repeat it.", MEASURED, default="dense and auto")
    clients: str = option("1,8,32", "How many ask at once, with commas between.", MEASURED)
    bulk: int = option(2_048, "Texts that another client embeds beside a person's searches.", MEASURED, min=1)
    infinity: Path | None = option(
        None, "The program infinity_emb of an environment of its own, for the rival infinity.", MEASURED
    )
    seconds: float = option(4.0, "Seconds of each measurement.", MEASURING, min=0.1)
    rounds: int = option(2, "Rounds in turn.", MEASURING, min=1)
    threads: int = option(0, "Threads a server computes with; 0: all cores.", MEASURING, min=0)
    markdown: Path | None = option(None, MARKDOWN, OUTPUT)
    json: bool = option(False, JSON, OUTPUT)


@app.command(
    "serve",
    cls=GroupedCommand,
    epilog=examples(
        "searchapp bench serve indexes/notes",
        "searchapp bench serve indexes/notes --rivals fastapi --mode dense --clients 32 --seconds 2 --json",
        "searchapp bench serve indexes/notes --rivals infinity --infinity envs/infinity/bin/infinity_emb",
    ),
)
@options_from("asked", ServeOptions())
def serve(
    asked: ServeOptions,
    directory: Annotated[Path, typer.Argument(metavar="INDEX", help="The index that is served.", show_default=False)],
) -> None:
    """Ask `searchapp serve` and servers as one writes them for the same things, in turn, over the loopback address."""
    from searchapp.bench.serving import ServingPlan, bench_serve
    from searchapp.bench.serving_report import LEGEND, rows, summary
    from searchapp.cli.serve import require_extra

    require_extra("serve", "msgspec", "prometheus_client", "starlette", "uvicorn")
    plan = ServingPlan(
        rivals=tuple(name.strip() for name in asked.rivals.split(",") if name.strip()),
        modes=asked.mode or ServingPlan.modes,
        clients=_numbers("--clients", asked.clients),
        seconds=asked.seconds,
        rounds=asked.rounds,
        threads=asked.threads,
        infinity=asked.infinity,
        bulk=asked.bulk,
    )
    found = bench_serve(directory, plan, notice)
    if asked.json:
        say_json(found)
    _show(
        f"Serving {found['index']}", summary(found), [(rows(found), LEGEND)], asked.markdown, quiet=asked.json, words=3
    )


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part) <= 1_000 for part in parts):
        raise SearchAppError(f"{flag} {text!r} is not understood; expected numbers from 1 to 1000 such as 1,8,32")
    return tuple(map(int, parts))


def _source(directory: Path | None, asked: IndexOptions) -> VectorSource:
    """The vectors that are there, are drawn, or are encoded now."""
    from searchapp.bench.sources import drawn, encoded, saved, stored

    if directory is not None:
        return stored(directory)
    if asked.vectors is not None:
        return saved(asked.vectors, asked.queries)
    if asked.synthetic is not None:
        return drawn(asked.synthetic)
    notice("encoding the texts")
    return encoded(list(asked.texts), asked.encoder.load(), asked.documents)


def _show(
    title: str,
    facts: list[str],
    tables: list[tuple[list[list[str]], str]],
    markdown: Path | None,
    *,
    quiet: bool,
    words: int = 2,
) -> None:
    """Write the section, where one is asked for, and print the same, unless ``quiet``."""
    from searchapp.bench.report import write_section

    if markdown is not None:
        command = shlex.join(["searchapp", *map(_named, sys.argv[1:])])
        write_section(markdown, title, command, facts, tables, words=words)
        notice(f"section written to {markdown}")
    if quiet:
        return
    for fact in facts:
        say(fact)
    for rows, legend in tables:
        say()
        say(table(rows))
        say(legend)


def _named(argument: str) -> str:
    """An argument as it may be published: of absolute paths the last name."""
    return ",".join(Path(part).name if Path(part).is_absolute() else part for part in argument.split(","))
