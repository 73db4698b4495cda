"""Options that several commands share, spelled once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.index import VectorIndex
    from searchapp.index.ann.request import Targets
    from searchapp.rerank import Reranker
    from searchapp.search import Fusion

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
    str | None,
    typer.Option(
        "--filter",
        help="Only documents whose metadata pass, e.g. 'year >= 2020'. "
        'A key with blanks, hyphens or anything else: \'meta["First Name"] == "Ada"\'.',
    ),
]
Candidates = Annotated[
    int | None,
    typer.Option(help="Rows to rescore exactly; 0: none. Default: 100 where the index is not exact.", min=0),
]
Instruction = Annotated[str | None, typer.Option(help="What to put before each query; default: the model's own.")]
Language = Annotated[
    str | None,
    typer.Option(
        help="Language of the words for BM25: stems and stop words; none: words as they stand. Default: english."
    ),
]
Hybrid = Annotated[bool, typer.Option("--hybrid", help="Search by words (BM25) too, and fuse both rankings.")]
SCORES = {"weighted": "minmax", "zscore": "zscore"}  # ways to spell a fusion of scores, and how these are normalised
FusionMethod = Annotated[
    str | None,
    typer.Option(
        "--fusion",
        help="rrf, weighted (min-max scores) or zscore. Default: as the index was tuned, else rrf.",
        show_default=False,
    ),
]
Weight = Annotated[
    float | None,
    typer.Option(help="Share of the vectors in the fusion, 0 to 1. Default: as tuned, else 0.5.", show_default=False),
]
FusionDepth = Annotated[
    int | None, typer.Option(help="Candidates of each side. Default: as tuned, else 1000.", show_default=False)
]
Rerank = Annotated[
    str | None, typer.Option("--rerank", help="Put the best hits in the order of this model.", show_default=False)
]
RerankDepth = Annotated[int, typer.Option(help="Hits the reranker sees.", min=1)]
RerankerKind = Annotated[str, typer.Option(help="auto, bi-encoder, head, yes-no or listwise.")]


def fusion_of(
    index: VectorIndex | None,
    hybrid: bool,
    method: str | None = None,
    weight: float | None = None,
    depth: int | None = None,
) -> Fusion | None:
    """What ``--hybrid`` and its options ask for; None where it is not given. No index: one that is not made yet.

    Raises SearchAppError for its options without it, and for an index without words.
    """
    asked: dict[str, Any] = {"method": method, "weight": weight, "depth": depth}
    given = {name: value for name, value in asked.items() if value is not None}
    if not hybrid:
        if given:
            flag = {"method": "--fusion", "weight": "--weight", "depth": "--fusion-depth"}[next(iter(given))]
            raise SearchAppError(f"{flag} says how two rankings are fused, and there is one; add --hybrid")
        return None
    if method not in (None, "rrf", *SCORES):
        raise SearchAppError(f"--fusion {method!r} is unknown; expected one of rrf, {', '.join(SCORES)}")
    from dataclasses import replace

    from searchapp.search.fusion import Fusion, stored_fusion

    tuned = stored_fusion(index.lexical.part) if index is not None else None
    if method in SCORES:
        given |= {"method": "weighted", "normalisation": SCORES[method]}
    wanted = replace(tuned or Fusion(), **given)
    if tuned is not None and (wanted.method, wanted.normalisation) != (tuned.method, tuned.normalisation):
        return replace(Fusion(), **given)  # a weight was tuned for its method
    return wanted


def reranker_of(model: str | None, kind: str = "auto", device: str = "auto") -> Reranker | None:
    """Load what ``--rerank`` names; None where it is not given."""
    if model is None:
        return None
    from searchapp.rerank import load_reranker

    return load_reranker(model, kind=kind, device=device)


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
    from searchapp.index.ann.request import Targets

    given = {"recall": recall, "memory": size(memory) if memory is not None else None, "latency": latency}
    found = Targets.from_json({**(before or {}), **{name: value for name, value in given.items() if value is not None}})
    found.check()
    return found


def size(text: str) -> float:
    """Bytes of a size as people write it: 500MB, 1.5 GiB, 1000000."""
    digits = text.strip().rstrip("BKMGTIbkmgti ")
    unit = text.strip()[len(digits) :].strip().upper()
    try:
        return float(digits) * UNITS[unit]
    except (ValueError, KeyError) as error:
        raise SearchAppError(f"--memory {text!r} is no size; give bytes, or e.g. 500MB or 2GB") from error
