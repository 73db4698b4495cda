"""``searchapp evaluate tune-fusion``: the weight of the vectors beside BM25, chosen on judged queries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice, say, say_json, table
from searchapp.cli.option_fields import option
from searchapp.cli.search_options import SCORES, FusionOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import EVALUATION, INSTRUCTION, OUTPUT, SEARCH

if TYPE_CHECKING:
    from searchapp.evaluate import Collection
    from searchapp.evaluate.tuning import Tuned
    from searchapp.search import Fusion

NAMES = {"spread": "spread", "minmax": "min-max", "zscore": "z-score"}


@dataclass(frozen=True)
class TuneOptions:
    """On which judgements a fusion is chosen, and by what."""

    split: str = option("dev", "The judgements to tune on: not those you will measure with.", EVALUATION)
    metric: str = option("nDCG@10", "What to tune for, as ir-measures spells it.", EVALUATION)
    fusing: FusionOptions = FusionOptions()
    instruction: str | None = option(None, INSTRUCTION, SEARCH)
    store: bool = option(False, "Keep the best way in the index: a hybrid search takes it from then on.", OUTPUT)


@command(
    "searchapp evaluate tune-fusion scifact --index indexes/scifact",
    "searchapp evaluate tune-fusion scifact --index indexes/scifact --split train --metric R@10 --store",
)
@options_from("asked", TuneOptions(), without=("mode", "hybrid", "fusion", "weight"))
def tune(
    dataset: Annotated[Path, typer.Argument(help="A BEIR folder with judgements to tune on.", show_default=False)],
    index: Annotated[
        Path,
        typer.Option("--index", help="The index of that collection.", show_default=False, rich_help_panel=SEARCH),
    ],
    asked: TuneOptions,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Fuse vectors and BM25 in many ways, and say which one is best on queries kept for tuning."""
    from searchapp.evaluate import load_collection, parse_metric
    from searchapp.evaluate.tuning import BASES, tune_fusion
    from searchapp.index import Writer
    from searchapp.index.lexical.bm25 import with_fusion
    from searchapp.search import Index

    parse_metric(asked.metric)
    collection = load_collection(dataset, asked.split)
    opened = Index.open(index, device=device)
    _ = opened.vectors.lexical  # an index without words is refused before a model is loaded
    if asked.split == "test":
        notice("notice: these are the test judgements; what is tuned on them must not be measured with them")
    depth = asked.fusing.fusion_depth
    bases = [base if depth is None else replace(base, depth=depth) for base in BASES]
    tuned = tune_fusion(
        collection,
        opened.vectors,
        opened.encoder,
        bases=bases,
        metric=asked.metric,
        instruction=asked.instruction,
    )
    if asked.store:
        with Writer.update(index) as writer:
            with_fusion(writer, tuned.record(collection))
    if json:
        say_json(tuned.to_json(collection))
    else:
        _show(tuned, collection, bases)
        if asked.store:
            say(f"kept in {index}: a hybrid search fuses this way from now on")


def _show(tuned: Tuned, collection: Collection, bases: list[Fusion]) -> None:
    say(f"{collection.name} ({collection.split}): {tuned.queries} queries, {tuned.metric} by the weight of the vectors")
    rows = [["weight", *(_name(base) for base in bases)]]
    curves = [tuned.curve(base) for base in bases]
    for line in zip(*curves, strict=True):
        if round(line[0].fusion.weight * 100) % 10 == 0 or tuned.best in line:
            rows.append(
                [
                    f"{line[0].fusion.weight:.2f}",
                    *(f"{one.value:.4f}{' *' if one == tuned.best else ''}" for one in line),
                ]
            )
    say(table(rows))
    best = tuned.best
    say(f"vectors alone {tuned.dense.value:.4f}, BM25 alone {tuned.lexical.value:.4f}")
    spelled = next(
        (name for name, how in SCORES.items() if (best.fusion.method, best.fusion.normalisation) == ("weighted", how)),
        best.fusion.method,
    )
    say(f"best (*): {_name(best.fusion)}, --fusion {spelled} --weight {best.fusion.weight:g}")


def _name(fusion: Fusion) -> str:
    if fusion.method == "rrf":
        return "reciprocal ranks"
    return f"{NAMES[fusion.normalisation]} scores"
