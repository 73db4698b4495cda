"""``searchapp tune`` and ``searchapp reindex``: other settings for an index, or another index over the same vectors."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, notice, say, say_json, table
from searchapp.cli.describe import describe_index
from searchapp.cli.lists import listed
from searchapp.cli.options import TargetOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import FACTORY, INDEX, MEASURING, OUTPUT
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    import numpy as np

    from searchapp.index.ann.calibration import OperatingPoint
    from searchapp.index.tune import Curve


@command(
    "searchapp reindex indexes/notes --pca auto",
    "searchapp reindex indexes/notes --factory IVF256,PQ32 --recall 0.95",
    "searchapp reindex indexes/notes --memory 500MB --latency 2 --json",
)
@options_from("targets", TargetOptions())
def reindex(
    index: options.Directory,
    targets: TargetOptions,
    pca: Annotated[str | None, typer.Option("--pca", help=options.PCA, rich_help_panel=INDEX)] = None,
    factory: Annotated[
        str | None, typer.Option(help=f"{FACTORY}; default: as it was made.", rich_help_panel=INDEX)
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Make the reduction and the search index anew from the stored vectors; no document is encoded again.

    What is not given stays as it was. Readers have the old index until the new one is there.
    """
    from searchapp.cli.progress import Bar
    from searchapp.encoder.devices import choose_device
    from searchapp.shards.opening import open_index, targets_of
    from searchapp.shards.renewing import reindex as make_anew

    asked = targets.over(targets_of(open_index(index)))
    with Bar() as bar:
        manifest = make_anew(
            index,
            pca=options.dimension(pca),
            factory=factory,
            targets=asked,
            device=choose_device(device),
            stage=bar.stage,
        )
    if json:
        reduction = asdict(manifest.reduction) if manifest.reduction else None
        say_json({"reduction": reduction, "ann": asdict(manifest.ann) if manifest.ann else None})
        return
    say(f"documents      {manifest.documents:,}")
    describe_index(manifest)
    size = sum(entry.size for entry in manifest.files.values())
    say(f"on disk        {bytes_text(size)}")


@command(
    "searchapp tune indexes/notes",
    "searchapp tune indexes/notes --recall 0.95 --set",
    "searchapp tune indexes/notes --queries queries.txt --png curve.png --json",
)
def tune(
    index: options.Directory,
    recall: Annotated[
        float | None,
        typer.Option(
            help="Choose the fastest setting that reaches this recall@10.", min=0.0, max=1.0, rich_help_panel=INDEX
        ),
    ] = None,
    store: Annotated[
        bool,
        typer.Option(
            "--set",
            help="Store the chosen setting in the index (--recall, or what it was made for).",
            rich_help_panel=INDEX,
        ),
    ] = False,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Measure with these queries, one a line, instead of the index's own probes.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(help="Where the curve is drawn; default: tune.png in the index.", rich_help_panel=OUTPUT),
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Measure recall@10 against exact search and time for many settings, print the curve, perhaps store one of them."""
    from searchapp.cli.progress import Bar
    from searchapp.index import VectorIndex
    from searchapp.index.ann.request import Targets
    from searchapp.index.tune import draw, settle
    from searchapp.index.tune import tune as measure

    opened = VectorIndex.open(index)
    asked = _encoded(opened, queries, device) if queries is not None else None
    with Bar() as bar:
        curve = measure(opened, asked, bar.stage)
    target = recall if recall is not None else Targets.from_json(opened.manifest.build.targets).recall
    chosen = curve.fastest(target) if recall is not None or store else None
    if store and chosen is not None:
        settle(index, opened.manifest, chosen, curve.queries)
    drawn = png or index / "tune.png"
    if find_spec("matplotlib") is None:
        notice("no picture: matplotlib is not installed (pip install matplotlib)")
    else:
        try:
            draw(curve, drawn, title=f"{index.name}: {opened.manifest.rows:,} vectors", chosen=chosen)
        except OSError as error:
            raise SearchAppError(f"--png {drawn} cannot be written: {error.strerror or error}") from error
        notice(f"curve drawn in {drawn}")
    if json:
        say_json(
            {
                "factory": opened.manifest.ann.factory if opened.manifest.ann else None,
                "queries": curve.queries,
                "origin": curve.origin,
                "points": [asdict(point) for point in curve.points],
                "current": asdict(curve.current),
                "chosen": asdict(chosen) if chosen else None,
                "stored": store,
            }
        )
    else:
        _show(curve, chosen, stored=store)


def _encoded(opened: object, path: Path, device: str) -> np.ndarray:
    """The queries of a file, encoded by the index's own encoder."""
    from searchapp.index import VectorIndex, recorded_encoder

    assert isinstance(opened, VectorIndex)  # noqa: S101 - for mypy
    lines = [line.strip() for line in listed(path, "--queries", "one query")]
    if not lines:
        raise SearchAppError(f"--queries {path} holds no query; give a text file, one query a line")
    return recorded_encoder(opened.manifest, opened.snapshot.root, device).encode_queries(lines)


def _show(curve: Curve, chosen: OperatingPoint | None, *, stored: bool) -> None:
    """The curve as a table: the settings that no other beats, the present one and the chosen one."""
    rows = [["setting", "rescored", "recall@10", "ms/query", ""]]
    listed = sorted({_key(point): point for point in (*curve.pareto_front(), curve.current)}.values(), key=_time)
    for point in listed:
        marks = ["as it is set"] if _key(point) == _key(curve.current) else []
        marks += ["chosen"] if chosen is not None and _key(point) == _key(chosen) else []
        setting = ", ".join(f"{name} {value}" for name, value in point.parameters.items()) or "–"
        cells = [setting, str(point.candidates), f"{point.recall:.4f}", f"{point.milliseconds:.3f}"]
        rows.append([*cells, ", ".join(marks)])
    say(table(rows))
    say(f"{len(curve.points)} settings measured with {curve.queries} queries, {curve.origin}; CPU time, one thread")
    if stored and chosen is not None:
        say("the chosen setting is stored in the index")


def _key(point: OperatingPoint) -> tuple[tuple[tuple[str, int], ...], int]:
    return tuple(sorted(point.parameters.items())), point.candidates


def _time(point: OperatingPoint) -> float:
    return point.milliseconds
