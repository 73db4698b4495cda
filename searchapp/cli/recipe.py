"""``searchapp adapt run``, ``check`` and ``recipes``: whole recipes, from a file or shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, complain, notice, say, say_json, seconds_text, table
from searchapp.cli.launch import together
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.adapt.estimate import Estimate
    from searchapp.adapt.recipe.recipe import Recipe, RecipeStage

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="A .toml file, or the name of a recipe that `adapt recipes` lists.", show_default=False
    ),
]
To = Annotated[Path | None, typer.Option("--to", help="Where the stages go, each by its name; default: the recipe's.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="STAGE.KEY=VALUE",
        help="Change the recipe, as in mntp.steps=10, mntp.text=FILE, supervised.pairs=FILE or base=DIR; repeat it.",
    ),
]
Only = Annotated[
    list[str] | None, typer.Option("--stage", help="Only this stage and those it starts from; repeat it for more.")
]


def run(recipe: RecipeName, to: To = None, changes: Set = None, only: Only = None) -> None:
    """Run the stages of a recipe in order. One that was stopped goes on where it was; a complete one is kept."""
    from searchapp.adapt.distributed import env_rank
    from searchapp.adapt.recipe.recipe import run_recipe
    from searchapp.adapt.recipe.toml import read_recipe
    from searchapp.cli.progress import Bar

    try:
        found = read_recipe(recipe, _changes(to, changes), only=only or (), inspect_files=True)
    except SearchAppError as error:
        _refuse(error)
    places = {stage.name: place for place, stage in enumerate(found.stages, 1)}

    def announce(stage: RecipeStage) -> None:
        bar.close()
        if env_rank():
            return
        where = f"{found.model(stage)} → {found.to / stage.name}"
        notice(f"stage {stage.name} ({places[stage.name]} of {len(places)}): {where}")

    with together(), Bar(every=60) as bar:
        records = run_recipe(found, progress=bar, announce=announce)
    if env_rank():
        return
    wide = max(len(stage.name) for stage in found.stages)
    for stage, record in zip(found.stages, records, strict=True):
        say(f"{stage.name:<{wide}}  {record.directory}" + (" (was complete already)" if record.already_done else ""))


def check(
    recipe: RecipeName, to: To = None, changes: Set = None, only: Only = None, json: options.Json = False
) -> None:
    """Say whether a recipe could be run here: with which settings, in how much memory and time; no model is loaded.

    A shipped recipe as it is names data that only its user has: it is checked without them. Memory and time are
    estimated where the base is on this machine; a stage that cannot fit is refused.
    """
    from searchapp.adapt.estimate import estimate
    from searchapp.adapt.recipe.toml import find_recipe, read_recipe, shipped_recipes

    try:
        as_shipped = not changes and find_recipe(recipe).resolve() in {
            path.resolve() for path in shipped_recipes().values()
        }
        found = read_recipe(recipe, _changes(to, changes), only=only or (), inspect_files=not as_shipped)
    except SearchAppError as error:
        if json:
            say_json({"ok": False, "problems": _problems(error)})
            raise typer.Exit(2) from error
        _refuse(error)
    estimates = estimate(found)
    problems = [each.problem for each in estimates if each.problem]
    if json:
        say_json({"ok": not problems, "problems": problems, **_content(found), "estimates": _estimates(estimates)})
    else:
        _show(found)
        _show_estimates(estimates)
        if missing := sum(not path.exists() for stage in found.stages for path in _files(stage)):
            notice(
                f"the settings are sound; {missing} data files are not here: name yours with --set STAGE.text=FILE and "
                "--set STAGE.pairs=FILE, or copy the recipe"
            )
        for problem in problems:
            complain(problem)
    if problems:
        raise typer.Exit(2)


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, to be copied.", show_default=False)] = None,
) -> None:
    """List the recipes that come with searchapp, or print one of them."""
    from searchapp.adapt.recipe.toml import find_recipe, shipped_recipes

    if name is not None:
        say(find_recipe(name).read_text(encoding="utf-8").rstrip())
        return
    shipped = shipped_recipes()
    wide = max(map(len, shipped))
    for key, path in shipped.items():
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        say(f"{key:<{wide}}  {title}")


def _changes(to: Path | None, changes: Sequence[str] | None) -> list[str]:
    return [*(changes or []), *([] if to is None else [f"to={to}"])]


def _problems(error: SearchAppError) -> list[str]:
    return list(getattr(error, "problems", [str(error)]))


def _refuse(error: SearchAppError) -> NoReturn:
    """End the command with everything that is wrong, one line each."""
    for problem in _problems(error):
        complain(problem)
    raise typer.Exit(2) from error


def _content(recipe: Recipe) -> dict[str, Any]:
    from searchapp.adapt.config import flat
    from searchapp.adapt.recipe.recipe import describe_model

    return {
        "recipe": recipe.name,
        "base": {"model": recipe.base, "found": describe_model(recipe.base)},
        "adapters": [{"model": name, "found": describe_model(name)} for name in recipe.adapters],
        "to": str(recipe.to),
        "stages": [
            {
                "name": stage.name,
                "kind": stage.kind,
                "from": stage.start,
                "to": str(recipe.to / stage.name),
                "settings": flat(stage.settings),
                "text": [{"path": str(path), "bytes": _bytes(path)} for path in stage.text],
                "pairs": [asdict(file) | {"path": str(file.path), "bytes": _bytes(file.path)} for file in stage.pairs],
            }
            for stage in recipe.stages
        ],
    }


def _show(recipe: Recipe) -> None:
    from searchapp.adapt.recipe.recipe import describe_model

    say(f"recipe    {recipe.name}")
    say(f"base      {recipe.base}: {describe_model(recipe.base)}")
    for name in recipe.adapters:
        say(f"adapter   {name}: {describe_model(name)}")
    say(f"to        {recipe.to}")
    say()
    say(table(_rows(recipe)))
    say()
    files = [["data", "stage", "size", "share"]]
    for stage in recipe.stages:
        files += [[str(path), stage.name, _size(path), ""] for path in stage.text]
        files += [[str(file.path), stage.name, _size(file.path), f"{file.share:g}"] for file in stage.pairs]
    say(table(files))


def _estimates(estimates: Sequence[Estimate]) -> list[dict[str, Any]]:
    return [
        {
            "stage": each.stage,
            "memory": None if each.need is None else each.need.total,
            "free": each.free,
            "seconds": None if each.seconds is None else round(each.seconds, 1),
        }
        for each in estimates
    ]


def _show_estimates(estimates: Sequence[Estimate]) -> None:
    """A line for each stage: the memory it takes of what is free, and how long it takes at most."""
    if not estimates:
        return
    rows = [["estimate", "memory", "free", "time"]]
    for each in estimates:
        need = "does not fit" if each.need is None else bytes_text(each.need.total)
        free = "" if each.free is None else bytes_text(each.free)
        rows.append([each.stage, need, free, "" if each.seconds is None else seconds_text(each.seconds)])
    say()
    say(table(rows))


def _files(stage: RecipeStage) -> list[Path]:
    return [*stage.text, *(file.path for file in stage.pairs)]


def _bytes(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _size(path: Path) -> str:
    size = _bytes(path)
    return "missing" if size is None else bytes_text(size)


def _rows(recipe: Recipe) -> list[list[str]]:
    """A column for each stage, a row for each setting that decides what is learned."""
    from searchapp.adapt.config import flat

    rows = [["", *(stage.name for stage in recipe.stages)]]
    rows.append(["kind", *(stage.kind for stage in recipe.stages)])
    rows.append(["from", *(stage.start for stage in recipe.stages)])
    every = [flat(stage.settings) for stage in recipe.stages]
    for values in every:
        values["schedule_steps"] = values["schedule_steps"] or values["steps"]
        if not values.get("teacher"):
            values |= {"teacher_weight": None, "teacher_scale": None}
    hidden = ("device", "attention", "save_steps", "keep_checkpoints", "tensorboard")
    names = [name for name in dict.fromkeys(name for values in every for name in values) if name not in hidden]
    for name in names:
        cells = [_cell(values.get(name)) for values in every]
        if any(cells):
            rows.append([name, *cells])
    return rows


def _cell(value: Any) -> str:
    match value:
        case None | "" | ():
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(map(str, value))
    text = str(value)
    return text if len(text) <= 24 else text[:23] + "…"
