"""A recipe: a base model and the stages it goes through, one trained on the result of another."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from searchapp.adapt import run
from searchapp.adapt.config import StageConfig, SupervisedConfig
from searchapp.adapt.data import PairFile, TrainingPair, read_pairs, read_texts
from searchapp.adapt.run_record import RunRecord
from searchapp.encoder.checkpoint import is_shipped, refuse
from searchapp.encoder.json_files import read_json
from searchapp.errors import AdaptError, SearchAppError, reason_of
from searchapp.progress import Progress

BASE = "base"
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


class RecipeError(AdaptError):
    """A recipe cannot be run; ``problems`` are all that were found, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = len(problems) - 1
        super().__init__(problems[0] + (f" (and {more} more)" if more else ""))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class RecipeStage:
    """A stage; ``start`` is the name of the earlier one whose result it trains on, or ``base``.

    ``text`` are the files of an MNTP or SimCSE stage, ``pairs`` those of a supervised one.
    """

    kind: str
    name: str
    start: str
    settings: StageConfig
    text: tuple[Path, ...] = ()
    pairs: tuple[PairFile, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What is trained: ``base`` (a directory, a hub id or ``bundled``) with adapters merged into it, and where to.

    The result of a stage goes to the directory of its name in ``to``.
    """

    name: str
    base: str
    adapters: tuple[str, ...]
    to: Path
    stages: tuple[RecipeStage, ...]

    def model(self, stage: RecipeStage) -> str:
        """The model that a stage trains on."""
        return self.base if stage.start == BASE else str(self.to / stage.start)

    def only(self, names: Sequence[str]) -> Recipe:
        """Leave out all stages but the named ones and those they start from.

        Raises AdaptError for a name that no stage has.
        """
        starts = {stage.name: stage.start for stage in self.stages}
        kept = set()
        for name in names:
            if name not in starts:
                raise AdaptError(f"{self.name} has no stage {name!r}; expected one of {', '.join(starts)}")
            while name != BASE:
                kept.add(name)
                name = starts[name]
        return replace(self, stages=tuple(stage for stage in self.stages if stage.name in kept))


def run_recipe(
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    announce: Callable[[RecipeStage], None] | None = None,
) -> list[RunRecord]:
    """Run the stages in their order and return their records; ``announce`` is called with each before it begins.

    Raises RecipeError, before any work, for what ``find_problems`` finds; then what ``run_stage`` raises.
    """
    if problems := find_problems(recipe):
        raise RecipeError(problems)
    records = []
    for stage in recipe.stages:
        if announce is not None:
            announce(stage)
        record = run.run_stage(
            stage.settings,
            model=recipe.model(stage),
            to=recipe.to / stage.name,
            texts=stage.text,
            pairs=stage.pairs,
            adapters=recipe.adapters if stage.start == BASE else (),
            progress=progress,
        )
        records.append(record)
    return records


def find_problems(recipe: Recipe) -> list[str]:
    """Say what keeps a recipe from being run, without loading a model: one line for each problem.

    The data files are opened and the first row of each is read; models are looked at as ``describe_model`` does.
    """
    looks: list[tuple[str, Callable[[], object]]] = []
    if recipe.base:  # else the reader has said so
        looks.append((BASE, partial(describe_model, recipe.base)))
    looks += [("adapters", partial(describe_model, name)) for name in recipe.adapters]
    for stage in recipe.stages:
        where = f"stage {stage.name}"
        if isinstance(stage.settings, SupervisedConfig) and stage.settings.teacher:
            looks.append((f"{where}: teacher", partial(describe_model, stage.settings.teacher)))
        looks += [(where, partial(_first_text, path)) for path in stage.text]
        looks += [(where, partial(_first_pair, file)) for file in stage.pairs]
        looks.append(("to", partial(_check_target, recipe.to / stage.name)))
    problems = []
    for where, look in looks:
        try:
            look()
        except SearchAppError as error:
            problems.append(f"{where}: {error}")
        except OSError as error:
            problems.append(f"{where}: {error.filename}: cannot be read: {reason_of(error)}; check its permissions")
    return list(dict.fromkeys(problems))


def describe_model(name: str) -> str:
    """Say what kind of model a name means, from its files alone; a hub id is not looked up.

    Raises AdaptError for a path that is not there, ModelError for a directory that holds no model.
    """
    expected = "expected a model's directory, a hub id, or `bundled`"
    if is_shipped(name):
        return "the bundled model" if name == "bundled" else "an adapter that comes with searchapp"
    path = Path(name)
    if not path.exists():
        if HUB_ID.fullmatch(name):
            return "a hub id, not checked"
        raise AdaptError(f"{name}: no such directory; {expected}")
    if not path.is_dir():
        raise AdaptError(f"{name}: a file; {expected}")
    if (path / "adapter_config.json").exists():
        return "an adapter's directory"
    config = read_json(path / "config.json") if (path / "config.json").exists() else {}
    if config and any(path.glob("*.safetensors")):
        return "a model's directory"
    refuse(path, config)


def _first_text(path: Path) -> str:
    return next(read_texts([path]))


def _first_pair(file: PairFile) -> TrainingPair:
    return next(read_pairs(file))


def _check_target(path: Path) -> None:
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise AdaptError(f"{place}: a file; expected a directory to write to, or none yet; give another one")
