"""Options that several commands share, spelled once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.index.choice import Targets

Model = Annotated[str, typer.Option("--model", "-m", help="A checkpoint directory, a hub id, or `bundled`.")]
Adapters = Annotated[
    list[str] | None, typer.Option("--adapter", "-a", help="A LoRA adapter to merge; repeat it for several, in order.")
]
Pooling = Annotated[
    str | None, typer.Option(help="mean, weighted_mean, eos_token, last_token or bos_token; default: the model's own.")
]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of a whole sequence; default: the model's own, else 512.")]
DocumentMaxLength = Annotated[int | None, typer.Option(help="Tokens of a text; default: the model's own, else 400.")]
Attention = Annotated[str, typer.Option(help="auto, sdpa or eager.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
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
Pca = Annotated[
    str | None,
    typer.Option("--pca", help="Dimensions to reduce to; auto: the fewest that keep --recall; 0: none."),
]
Recall = Annotated[
    float | None, typer.Option(help="Recall@10 against exact search that the index must reach; default: 0.99.")
]
Memory = Annotated[
    str | None,
    typer.Option(help="What the search index may take, e.g. 2GB; default: 1/25 of float32 vectors."),
]
Latency = Annotated[float | None, typer.Option(help="Milliseconds that a query may take on one thread.")]
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def dimension(pca: str | None) -> int | str | None:
    """What ``--pca`` asks for: a number, or a word as it is; all but ``auto`` are refused where vectors are known."""
    return int(pca) if pca is not None and pca.lstrip("-").isdecimal() else pca


def targets(
    recall: float | None, memory: str | None, latency: float | None, before: Mapping[str, float] | None = None
) -> Targets:
    """The targets given, over those of before. Raises SearchAppError for a size that is none."""
    from searchapp.index.choice import Targets, check_targets

    given = {"recall": recall, "memory": size(memory) if memory is not None else None, "latency": latency}
    found = Targets.of({**(before or {}), **{name: value for name, value in given.items() if value is not None}})
    check_targets(found)
    return found


def size(text: str) -> float:
    """Bytes of a size as people write it: 500MB, 1.5 GiB, 1000000."""
    digits = text.strip().rstrip("BKMGTIbkmgti ")
    unit = text.strip()[len(digits) :].strip().upper()
    try:
        return float(digits) * UNITS[unit]
    except (ValueError, KeyError) as error:
        raise SearchAppError(f"--memory {text!r} is no size; give bytes, or e.g. 500MB or 2GB") from error
