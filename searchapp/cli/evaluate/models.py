"""``searchapp evaluate models``: which model is best for the documents of an index, and what it costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.cli import options
from searchapp.cli.console import bytes_text, notice, say, say_json, table
from searchapp.cli.option_fields import option
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import EVALUATION, OUTPUT
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.evaluate import Collection
    from searchapp.evaluate.models import Estimate, Gap, ModelFigures
    from searchapp.search import Index

CLEAR = 0.05  # a difference of a smaller p is taken for one


@dataclass(frozen=True)
class ModelsOptions:
    """Which models are compared, by which queries, over how many documents."""

    models: tuple[str, ...] = option(
        (), "Models to compare with that of the index, with commas, or repeat it.", EVALUATION, flags=("--models", "-m")
    )
    collection: Path | None = option(
        None, "Judged queries of these documents: a folder that `evaluate init` made.", EVALUATION
    )
    split: str | None = option(None, "Its judgements to use; default: test, or the only ones.", EVALUATION)
    queries: int = option(100, "Queries to make from titles where no collection is given.", EVALUATION, min=10)
    documents: int = option(2_000, "Documents that every model encodes.", EVALUATION, min=10)
    seed: int = option(0, "Of the documents and titles that are drawn.", EVALUATION, min=0)
    plot: Path | None = option(None, "Draw quality against speed into this PNG file.", OUTPUT)
    json: bool = option(False, "Write JSON to standard output, and nothing else.", OUTPUT)

    def names(self) -> list[str]:
        """The models, each once, in the order given. Raises SearchAppError where there is none."""
        given = [name.strip() for text in self.models for name in text.split(",")]
        if not any(given):
            raise SearchAppError("no model to compare with; name some, as in --models bundled,path/to/model")
        return [*dict.fromkeys(name for name in given if name)]


@command(
    "searchapp evaluate models indexes/notes --models bundled,models/mine --plot models.png",
    "searchapp evaluate models indexes/notes -m models/mine --collection my-collection",
)
@options_from("asked", ModelsOptions())
def models(index: options.Directory, asked: ModelsOptions, device: options.Device = "auto") -> None:
    """Compare models on the documents of an index: quality with intervals, speed and size.

    Without judged queries, titles are the queries and their documents the answers: that tells models apart, not how
    good the search is.
    """
    from searchapp.cli.evaluate.dimensions import check_plot
    from searchapp.cli.progress import Bar
    from searchapp.evaluate.models import evaluate_models
    from searchapp.search import Index

    names = asked.names()
    if asked.plot is not None:
        check_plot(asked.plot)
    opened = Index.open(index, device=device)
    loaders = _loaders(opened, names, device)
    with tempfile.TemporaryDirectory(prefix="searchapp-") as folder, Bar() as bar:
        collection = _collection(opened, asked, Path(folder) / "drawn")
        found = evaluate_models(collection, loaders, Path(folder), progress=bar, each=_told)
    if asked.plot is not None:
        _draw(found, asked.plot)
    if asked.json:
        setting = {"collection": collection.name, "split": collection.split, "queries": len(collection.queries)}
        say_json({"setting": setting, "models": [one.to_json() for one in found]})
        return
    _show(found, len(collection.queries), made=asked.collection is None)


def _loaders(opened: Index, names: Sequence[str], device: str) -> list[tuple[str, Callable[[], Encoder]]]:
    """The model of the index, then the others. Raises ModelError, before anything is encoded, for one not there."""
    from searchapp.encoder import Encoder
    from searchapp.encoder.checkpoint import locate
    from searchapp.index.given import has_given_vectors

    found: list[tuple[str, Callable[[], Encoder]]] = []
    if not has_given_vectors(opened.vectors.manifest):
        encoder = opened.encoder
        reference = opened.vectors.manifest.encoder["reference"]
        found.append((reference["model"], lambda: encoder))
        plain = not reference["adapters"]
        names = [name for name in names if not (plain and name == reference["model"])]
    for name in names:
        locate(name)
        found.append((name, partial(Encoder.load, name, device=device)))
    if len(found) < 2:
        raise SearchAppError(f"{names[0] if names else found[0][0]} is the only model; name one to compare it with")
    return found


def _collection(opened: Index, asked: ModelsOptions, folder: Path) -> Collection:
    """The collection given, or one drawn."""
    from searchapp.evaluate import load_collection
    from searchapp.evaluate.sample import draw

    if asked.collection is not None:
        return load_collection(asked.collection, asked.split)
    made = draw(
        folder, opened.vectors, opened.encoder, count=asked.queries, documents=asked.documents, pool=1, seed=asked.seed
    )
    notice(f"{made.queries} titles are the queries, over {made.documents:,} of {made.of:,} documents")
    return replace(load_collection(folder, asked.split), name=f"titles of {opened.vectors.snapshot.root.name}")


def _told(one: ModelFigures) -> None:
    notice(f"{one.name}: {one.tokens:,} tokens at {one.tokens_per_second:,.0f} a second ({one.dtype} on {one.device})")


def _show(found: Sequence[ModelFigures], queries: int, *, made: bool) -> None:
    """The table, and what can be said of it."""
    from searchapp.evaluate.models import METRIC

    head = ["model", f"vectors {METRIC}", f"default search {METRIC}", "tokens/s", "a vector", "weights", "read"]
    rows = [head]
    for one in found:
        rows.append(
            [
                one.name, _cell(one.dense, one.gaps.get("dense")), _cell(one.hybrid, one.gaps.get("hybrid")),
                f"{one.tokens_per_second:,.0f}", bytes_text(one.vector_bytes), bytes_text(one.model_bytes),
                f"{one.reach:.0%}",
            ]
        )  # fmt: skip
    say(table(rows))
    say(f"{queries} queries; in brackets: 95 % bootstrap interval; *: differs from {found[0].name} (p < {CLEAR})")
    if made:
        say("the queries are titles: that tells models apart, not how good the search is; judge your own with `init`")


def _cell(estimate: Estimate, gap: Gap | None) -> str:
    mark = " *" if gap is not None and gap.p < CLEAR else ""
    return f"{estimate.value:.4f} [{estimate.low:.3f}, {estimate.high:.3f}]{mark}"


def _draw(found: Sequence[ModelFigures], path: Path) -> None:
    from searchapp.evaluate.figures import against_speed
    from searchapp.evaluate.models import METRIC

    points = []
    for one in found:
        ways = (("vectors alone", one.dense), ("default search", one.hybrid))
        values = [(what, measured.value, measured.low, measured.high) for what, measured in ways]
        points.append((one.name, one.tokens_per_second, values))
    path.write_bytes(against_speed("models", METRIC, points).light)
    notice(f"plot written to {path}")
