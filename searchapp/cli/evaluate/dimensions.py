"""``searchapp evaluate retrieval --dims``: how many dimensions and bits the vectors need, in one encoding."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from searchapp.cli.console import notice, say, say_json, table
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.cli.options import EncoderOptions
    from searchapp.evaluate import Collection
    from searchapp.evaluate.dimensions import AutoReduction, Dimensions, DimensionsRequest, MeasuredForm

SETTLED = (
    *("pca", "factory", "words", "fusion", "weight", "fusion_depth", "rerank", "depth"),
    *("run", "per_query", "report", "markdown"),
)
"""What ``--dims`` has no use for: it makes every index itself, and its result is one table."""


@dataclass(frozen=True)
class DimensionsOptions:
    """Those options of the command that ``--dims`` takes, by their names there."""

    dims: str
    models: tuple[str, ...]
    encoder: EncoderOptions
    index: Path | None
    metric: tuple[str, ...]
    candidates: int | None
    self_documents: str
    duplicates: str
    plot: Path | None


def measure(context: typer.Context, collections: Sequence[Collection], asked: DimensionsOptions, *, json: bool) -> None:
    """Measure every form of each collection's vectors, by each model or as an index holds them, and show it."""
    _refuse_settled(context)
    request = _request(asked)
    if asked.plot is not None:
        check_plot(asked.plot)
    found = _of_index(collections[0], asked, request) if asked.index else _of_models(collections, asked, request)
    if asked.plot is not None:
        _draw(found, asked.plot)
    if json:
        say_json({"dimensions": [one.to_json() for one in found]})
        return
    for number, one in enumerate(found):
        if number:
            say()
        show(one)


def parse_dims(given: str) -> tuple[int, ...]:
    """The numbers of ``32,64,128``. Raises SearchAppError for anything else."""
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise SearchAppError(f"--dims {given!r} is no list of dimensions; give numbers with commas, such as 32,64,128")
    return tuple(dict.fromkeys(map(int, parts)))


def _request(asked: DimensionsOptions) -> DimensionsRequest:
    from searchapp.cli.evaluate.options import check_metrics
    from searchapp.evaluate.dimensions import DEPTH, METRICS, DimensionsRequest

    candidates = DEPTH if asked.candidates is None else asked.candidates
    if not candidates:
        raise SearchAppError("--candidates 0 leaves --dims nothing to rescore; give a number above 0, or leave it out")
    return DimensionsRequest(
        parse_dims(asked.dims),
        check_metrics(asked.metric, METRICS),
        asked.encoder.query_instruction,
        candidates,
        asked.self_documents,
        asked.duplicates,
        auto=asked.index is None,
    )


def _refuse_settled(context: typer.Context) -> None:
    spelled = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name in SETTLED:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            flag = spelled[name]
            raise SearchAppError(
                f"{flag} cannot go with --dims, which measures every form of the vectors; leave out one"
            )


def _of_models(
    collections: Sequence[Collection], asked: DimensionsOptions, request: DimensionsRequest
) -> list[Dimensions]:
    from searchapp.cli.progress import Bar
    from searchapp.evaluate.dimensions import measure_dimensions

    found = []
    for name in asked.models:
        encoder = replace(asked.encoder, model=name).load()
        request.check(encoder.dim)
        for collection in collections:
            with tempfile.TemporaryDirectory(prefix="searchapp-") as work, Bar() as bar:
                found.append(measure_dimensions(collection, encoder, request, Path(work) / "index", progress=bar))
        notice(f"model {name}: {encoder.description}")
    return found


def _of_index(collection: Collection, asked: DimensionsOptions, request: DimensionsRequest) -> list[Dimensions]:
    from searchapp.cli.progress import Bar
    from searchapp.evaluate.dimensions import measure_index
    from searchapp.index.storage.vectors import unit
    from searchapp.search import Index

    opened = Index.open(asked.index or Path(), device=asked.encoder.device)
    opened.encoder.keep(asked.encoder.cache)
    texts = [query.text for query in collection.queries]
    queries = unit(opened.encoder.encode_queries(texts, request.instruction))
    with Bar() as bar:
        return [measure_index(collection, opened.vectors, queries, request, progress=bar)]


def check_plot(path: Path) -> None:
    """Raise SearchAppError, before anything is computed, for a plot that cannot be written."""
    from searchapp.evaluate.retrieval import check_writable

    if find_spec("matplotlib") is None:
        raise SearchAppError("--plot needs matplotlib, which is not installed; install searchapp[report]")
    if path.suffix.lower() != ".png":
        raise SearchAppError(f"--plot {path} ends in {path.suffix or 'nothing'}, expected .png; name a PNG file")
    check_writable(path, "--plot")


def _draw(found: Sequence[Dimensions], path: Path) -> None:
    """One picture for each collection and model: the first metric against the bytes of a vector."""
    from searchapp.evaluate import figures
    from searchapp.evaluate.names import model_labels
    from searchapp.evaluate.retrieval import run_path

    labels = model_labels(sorted({one.model for one in found}))
    for one in found:
        metric = next(iter(one.forms[0].scores.per_query))
        lines: dict[str, list[tuple[int, float, float, float]]] = {}
        for form in one.forms:
            estimate = form.scores.estimate(metric)
            lines.setdefault(form.form.kind, []).append((form.bytes, estimate.value, estimate.low, estimate.high))
        parts = [one.collection] if len({other.collection for other in found}) > 1 else []
        parts += [labels[one.model]] if len(labels) > 1 else []
        place = run_path(path, "-".join(parts), alone=not parts)
        figure = figures.against_dimension(place.stem, metric, lines, "bytes of a vector")
        try:
            place.write_bytes(figure.light)
        except OSError as error:
            raise SearchAppError(f"--plot {place} cannot be written: {error.strerror or error}") from error
        notice(f"plot written to {place}")


def show(found: Dimensions) -> None:
    """Print the table of one collection."""
    say(
        f"{found.collection} ({found.split}): {found.queries} queries, {found.documents:,} documents, "
        f"model {found.model}, {found.dim} dimensions"
    )
    for sentence in found.notes:
        say(sentence)
    metrics = list(found.forms[0].scores.per_query)
    rows = [["vectors", "bytes", "variance", *(cell for name in metrics for cell in (name, "to full", "p (Holm)"))]]
    rows += [_row(one, metrics) for one in found.forms]
    say(table(rows))
    held = ", ".join(f"{share:.0%} in {count}" for share, count in found.spectrum.items() if count is not None)
    if held:
        say(f"variance by axes of PCA: {held}")
    if found.auto is not None:
        _show_auto(found.auto, found, metrics)
    say(
        f"bytes of a vector in the searched index; rescored: the best {found.candidates} in the order of their float16 "
        f"rows ({2 * found.dim:,} bytes each, read from disk)"
    )
    say(
        "in brackets: 95 % bootstrap interval over the queries, of the value and of its difference to full float16; "
        "p: paired randomisation test, corrected for all forms"
    )


def _row(one: MeasuredForm, metrics: Sequence[str]) -> list[str]:
    cells = [label(one), f"{one.bytes:,}", f"{one.variance:.1%}"]
    for name in metrics:
        estimate, apart = one.scores.estimate(name), one.differences[name]
        cells.append(f"{estimate.value:.4f} [{estimate.low:.3f}, {estimate.high:.3f}]")
        is_reference = one.form.by == "full" and one.form.code == "float16"
        cells += ["", ""] if is_reference else [_signed(apart.value, apart.low, apart.high), f"{apart.p_holm:.3f}"]
    return cells


def label(one: MeasuredForm) -> str:
    """A form in words."""
    kept = {"full": "full", "pca": f"PCA {one.form.dim}", "truncation": f"first {one.form.dim}"}[one.form.by]
    return f"{kept}, {one.form.code}" + (", rescored" if one.form.rescored else "")


def _signed(value: float, low: float, high: float) -> str:
    return f"{value:+.4f} [{low:+.3f}, {high:+.3f}]"


def _show_auto(auto: AutoReduction, found: Dimensions, metrics: Sequence[str]) -> None:
    taken = f"{auto.dim} of {found.dim} dimensions" if auto.dim else f"all {found.dim} dimensions"
    rescored = f"{auto.candidates} rescored" if auto.candidates else "nothing rescored"
    for name in metrics:
        apart = auto.differences[name]
        say(
            f"build --pca auto takes {taken} ({auto.factory}, {auto.bytes:,.0f} bytes, {rescored}): recall@10 of exact "
            f"search {auto.recall:.3f}, {name} {auto.scores.estimate(name).value:.4f}, "
            f"to full {_signed(apart.value, apart.low, apart.high)}"
        )
    for note in auto.notes:
        say(f"  {note}")
