"""Options that several commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option("--model", "-m", help="A checkpoint directory, a hub id, or `bundled`.")]
Adapters = Annotated[
    list[str] | None, typer.Option("--adapter", "-a", help="A LoRA adapter to merge; repeat it for several, in order.")
]
Pooling = Annotated[
    str | None, typer.Option(help="mean, weighted_mean, eos_token, last_token or bos_token; default: the model's own.")
]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of a whole sequence; default: the model's own, else 512.")]
DocumentMaxLength = Annotated[int | None, typer.Option(help="Tokens of a text; default: the model's own, else 400.")]
Attention = Annotated[str, typer.Option(help="auto, packed, sdpa or eager.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, or several with commas: cuda:0,cuda:1.")]
Backend = Annotated[str, typer.Option(help="What runs the model: torch, or openvino on a CPU (an extra).")]
Cache = Annotated[
    Path | None, typer.Option(help="A directory that keeps vectors between runs: only what is new is encoded.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, and nothing else.")]
Directory = Annotated[Path, typer.Argument(metavar="INDEX", help="An index directory.", show_default=False)]
Filter = Annotated[
    str | None, typer.Option("--filter", help="Only documents whose metadata pass, e.g. 'year >= 2020'.")
]
Candidates = Annotated[
    int | None,
    typer.Option(help="Rows to rescore exactly; 0: none. Default: 100 where the index is not exact.", min=0),
]
Instruction = Annotated[str | None, typer.Option(help="What to put before each query; default: the model's own.")]
