"""``searchapp models``: what ``--model`` can be given on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, notice, say, say_json, table
from searchapp.cli.signatures import command
from searchapp.cli.wording import MEASURING

if TYPE_CHECKING:
    from searchapp.encoder.catalogue import FoundModel
    from searchapp.encoder.speed import Speed

UNKNOWN = "–"


@command("searchapp models", "searchapp models models/ --measure", "searchapp models downloads/model.gguf --json")
def models(
    folders: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER]...",
            help="Folders to look through: of models, a model's own, or a GGUF file.",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Load each and measure tokens a second; kept for later.", rich_help_panel=MEASURING
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """List the models that can be used here: the shipped one, those in the hub's cache, those in folders."""
    from searchapp.encoder.catalogue import find_models
    from searchapp.encoder.speed import kept_speed

    found = find_models(folders or [])
    if folders and not any(model.place == "folder" for model in found):
        notice(
            f"no model in {', '.join(folders)}: no folder with config.json or adapter_config.json, and no .gguf file"
        )
    speeds = [_measured(model) if measure and not model.problem else kept_speed(model.path) for model in found]
    if json:
        say_json({"models": [_to_json(*pair) for pair in zip(found, speeds, strict=True)]})
    else:
        _show(found, speeds)


def _measured(model: FoundModel) -> Speed | None:
    """Measure a model and keep what was found; one that cannot be loaded is said, and the others go on."""
    from searchapp.encoder.speed import keep_speed, measure_speed
    from searchapp.errors import ModelError

    try:
        speed = measure_speed(model.name)
    except ModelError as error:
        notice(f"{model.name} cannot be measured: {error}")
        return None
    keep_speed(model.path, speed)
    return speed


def _to_json(model: FoundModel, speed: Speed | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": model.name,
        "path": str(model.path),
        "place": model.place,
        "kind": model.kind,
        "family": model.family,
        "parameters": model.parameters,
        "dimension": model.dimension,
        "base": model.base,
        "bytes": model.bytes,
        "memory": model.memory,
        "speed": asdict(speed) if speed is not None else None,
        "licence": model.licence,
        "languages": list(model.languages),
        "scripts": list(model.scripts),
        "problem": model.problem,
    }


def _show(found: list[FoundModel], speeds: list[Speed | None]) -> None:
    rows = [["model", "family", "parameters", "dimension", "memory", "tokens/s", "licence", "languages"]]
    for model, speed in zip(found, speeds, strict=True):
        rows.append(
            [
                model.name,
                f"{model.family or UNKNOWN}{' (adapter)' if model.kind == 'adapter' else ''}",
                _count(model.parameters),
                str(model.dimension or UNKNOWN),
                bytes_text(model.memory) if model.memory is not None else UNKNOWN,
                f"{speed.tokens_per_second:,.0f}" if speed is not None else UNKNOWN,
                model.licence or UNKNOWN,
                _languages(model),
            ]
        )
    say(table(rows))
    say("memory: of the weights in float32, half of it in bfloat16; tokens/s: measured here, by --measure")
    for model in found:
        if model.problem:
            say(f"not usable: {model.name}: {model.problem}")


def _count(parameters: int | None) -> str:
    """A number of parameters as people read it: 9.7 M, 1.3 B, 157 k."""
    if parameters is None:
        return UNKNOWN
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if parameters >= size:
            return f"{parameters / size:.1f} {letter}"
    return f"{parameters / 1e3:.0f} k"


def _languages(model: FoundModel) -> str:
    """Those that its card names, else the scripts that its vocabulary has words of."""
    named = model.languages or model.scripts
    text = f"{', '.join(named[:3])} and {len(named) - 3} more" if len(named) > 4 else ", ".join(named) or UNKNOWN
    return f"in {text} script{'s' if len(named) > 1 else ''}" if model.scripts and not model.languages else text
