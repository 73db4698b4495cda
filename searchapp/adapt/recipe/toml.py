"""Recipes as TOML files: found, read, and checked as a whole, so that all that is wrong is said at once.

::

    base = "path-or-hub-id"         # adapters = ["path-or-hub-id", …]: merged into it, in order
    to = "models/mine"              # each stage goes to models/mine/NAME
    [[stage]]
    kind = "mntp"                   # or simcse, supervised
    name = "mntp"                   # default: the kind
    from = "base"                   # or the name of an earlier stage; default: the one before
    text = ["data/texts.txt"]       # for mntp and simcse
    steps = 200                     # every other key is a setting of the stage, see config.py
    [[stage]]
    kind = "supervised"
    [[stage.pairs]]                 # for supervised; `pairs = ["a.jsonl"]` where a file needs no more than its name
    file = "data/pairs.jsonl"
    instruction = "…"               # also document_instruction, symmetric, share: see PairFile

Paths start at the working directory, as on the command line; one that is not there is looked for beside the recipe.
Only ``to`` always starts at the working directory.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from searchapp.adapt.config import STAGES, StageConfig, flat, make_stage, unknown
from searchapp.adapt.data import PairFile
from searchapp.adapt.recipe.recipe import BASE, Recipe, RecipeError, RecipeStage, find_problems
from searchapp.encoder.checkpoint import is_shipped
from searchapp.errors import AdaptError, reason_of

SHIPPED = Path(__file__).resolve().parent
TOP_KEYS = (BASE, "adapters", "to", "stage")
STAGE_KEYS = ("kind", "name", "from", "text", "pairs")
PAIR_KEYS = {"file": "", "instruction": "", "document_instruction": "", "symmetric": False, "share": 1.0}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # of a stage: it becomes a directory, and --set splits at the dot
HEADER = re.compile(r"\s*\[+\s*([\w.-]+)\s*\]")
KEY = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""")

Place = tuple[int, int, str]  # number of the stage and of the pairs in it (-1: outside of any), key


def shipped_recipes() -> dict[str, Path]:
    """Files of the recipes that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def find_recipe(name: str) -> Path:
    """Find a recipe by the path of its file, or by its name among the shipped ones; AdaptError if it is neither."""
    path, shipped = Path(name), shipped_recipes()
    if _is_there(path) and path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    found = "is a directory" if _is_there(path) else "is neither a file nor a shipped recipe"
    raise AdaptError(f"{name} {found}; expected a .toml file, or one of {', '.join(shipped)}")


def read_recipe(
    name: str, overrides: Sequence[str] = (), *, only: Sequence[str] = (), inspect_files: bool = False
) -> Recipe:
    """Read and check the recipe of that path or shipped name.

    ``overrides`` are ``stage.key=value``, or ``key=value`` for base, adapters and to; values are spelled as in TOML,
    where texts need no quotes. ``only`` are stages to keep, with those they start from. ``inspect_files`` looks at
    data and models as ``find_problems`` does.

    Raises RecipeError with everything that is wrong, AdaptError for a recipe that is not there.
    """
    path = find_recipe(name)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise AdaptError(f"{path}: cannot be read: {reason_of(error)}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise AdaptError(f"{path}: invalid UTF-8 at byte {error.start + 1}; save the recipe as UTF-8") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is the first; a number of thousands of digits
        raise AdaptError(f"{path}: not valid TOML: {error}; correct it") from error
    reader = _Reader(path, table, _places(text))
    for option in overrides:
        reader.override(option)
    recipe, problems = reader.recipe(), reader.problems
    try:
        recipe = recipe.only(only) if only and not problems else recipe
    except AdaptError as error:
        problems.append(str(error))
    if inspect_files:
        problems += find_problems(recipe)
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return recipe


class _Reader:
    """Turns the table of a recipe into dataclasses and gathers what is wrong with it."""

    def __init__(self, path: Path, table: dict[str, Any], lines: Mapping[Place, int]) -> None:
        self.path = path
        self.problems: list[str] = []
        self._table = table
        self._lines = lines
        self._overridden: dict[Place, str] = {}
        self._wrong_places: set[Place] = set()

    def override(self, option: str) -> None:
        """Put the value of an option ``key=value`` in its place."""
        target, equals, value = option.partition("=")
        stage, dot, key = target.strip().rpartition(".")
        settable = [key for key in TOP_KEYS if key != "stage"]
        if not equals or not key or (dot and not stage):
            self.problems.append(f"--set {option}: expected STAGE.KEY=VALUE, such as mntp.steps=10, or base=DIRECTORY")
        elif not dot and key not in settable:
            self.problems.append(f"--set {option}: {unknown(key, settable)}; for a stage's, STAGE.{key}=VALUE")
        elif not dot:
            self._put(self._table, -1, key, value, option, spelled=True)
        else:
            tables = [table for table in _tables(self._table.get("stage")) if isinstance(table, dict)]
            names = [str(table.get("name", table.get("kind"))) for table in tables]
            if stage not in names:
                self.problems.append(f"--set {option}: no stage {stage!r}; the stages: {', '.join(names) or 'none'}")
                return
            number = names.index(stage)
            kind = tables[number].get("kind")
            default = flat(STAGES[kind]()).get(key) if isinstance(kind, str) and kind in STAGES else None
            spelled = key in STAGE_KEYS or isinstance(default, str)
            self._put(tables[number], number, key, value, option, spelled=spelled)

    def _put(self, table: dict[str, Any], stage: int, key: str, value: str, option: str, *, spelled: bool) -> None:
        table[key] = _typed(value.strip(), spelled)
        self._overridden[stage, -1, key] = option

    def recipe(self) -> Recipe:
        """Read everything that can be read."""
        table = self._table
        self._known(table, TOP_KEYS, -1, -1)
        base = self._model(self._get(table, BASE, "", -1))
        if BASE not in table:
            self._wrong('no base; add base = "directory or hub id", or give --set base=…', (-1, -1, BASE))
        elif base == "" and (-1, -1, BASE) not in self._wrong_places:
            self._wrong("base is empty; give a directory or a hub id", (-1, -1, BASE))
        adapters = tuple(self._model(name) for name in self._texts(table, "adapters", -1))
        to = self._get(table, "to", "", -1)
        if not to and (-1, -1, "to") not in self._wrong_places:
            self._wrong('no `to`; add to = "directory of the results", or give --to DIRECTORY', (-1, -1, "to"))
        given = table.get("stage")
        if not _tables(given):
            self._wrong("no stages; add a [[stage]] table with its kind, or more of them", (-1, -1, "stage"))
        elif isinstance(given, dict):
            self._wrong("[stage] is a single table; write [[stage]]", (-1, -1, "stage"))
        stages: list[RecipeStage] = []
        names: list[str] = []  # also of stages that are wrong, lest those that start from them be called wrong too
        for number, entry in enumerate(_tables(given)):
            if not isinstance(entry, dict):
                self._wrong(f"stage is {entry!r}; expected [[stage]] tables", (-1, -1, "stage"))
            elif stage := self._stage(entry, number, names):
                stages.append(stage)
        return Recipe(self.path.stem, base, adapters, _home(to), tuple(stages))

    def _stage(self, table: dict[str, Any], number: int, names: list[str]) -> RecipeStage | None:
        kind = self._get(table, "kind", "", number)
        named = self._get(table, "name", kind, number) or kind
        name = named or f"number {number + 1}"
        if named:
            self._check_name(named, number, names)
        start = self._get(table, "from", names[-1] if names else BASE, number)
        if start not in (BASE, *names):
            earlier = ", ".join((BASE, *names))
            self._wrong(f"stage {name}: from is {start!r}; expected {earlier}: an earlier stage", (number, -1, "from"))
        names.append(name)
        if kind not in STAGES:
            found = f"kind is {kind!r}" if "kind" in table else "no kind"
            if (number, -1, "kind") not in self._wrong_places:
                self._wrong(f"stage {name}: {found}; expected one of {', '.join(STAGES)}", (number, -1, "kind"))
            return None
        own = flat(STAGES[kind]())
        self._known(table, (*STAGE_KEYS, *own), number, -1, f"stage {name}: ")
        given = {key: value for key, value in table.items() if key in own}
        settings = self._settings(kind, name, given, number)
        wanted, other = ("pairs", "text") if kind == "supervised" else ("text", "pairs")
        if other in table:
            self._wrong(f"stage {name}: a {kind} stage takes {wanted}, not {other}", (number, -1, other))
        text = tuple(map(self._find, self._texts(table, "text", number))) if wanted == "text" else ()
        pairs = self._pairs(table, name, number) if wanted == "pairs" else ()
        if not table.get(wanted):
            example = "[[stage.pairs]] tables with a file" if wanted == "pairs" else 'text = ["FILE"]'
            self._wrong(f"stage {name}: no {wanted}; add {example}", (number, -1, wanted))
        return RecipeStage(kind, name, start, settings, text, pairs)

    def _check_name(self, name: str, number: int, names: Sequence[str]) -> None:
        problem = ""
        if name.casefold() in (earlier.casefold() for earlier in names):
            problem = "an earlier stage has that name; give each its own `name`"
        elif name == BASE:
            problem = "the name stands for the base model; give another one"
        elif not NAME.fullmatch(name):
            problem = "expected a name of letters, digits, - and _, as it becomes a directory"
        if problem:
            self._wrong(f"stage {name}: {problem}", (number, -1, "name"))

    def _settings(self, kind: str, name: str, given: dict[str, Any], number: int) -> StageConfig:
        """Make the settings, leaving out a wrong value at a time until none is left."""
        left_out = False
        while True:
            try:
                return make_stage(kind, given)
            except AdaptError as error:
                message = str(error.__cause__ or error)
                word = re.match(r"\w+", message)
            key = word[0] if word and word[0] in given else None
            # with a value left out, what is said of two together may not hold
            if not left_out or "; expected" in message:
                self._wrong(f"stage {name}: {message}", (number, -1, key or ""))
            if key is None:
                return STAGES[kind]()
            given = {other: value for other, value in given.items() if other != key}
            left_out = True

    def _pairs(self, table: dict[str, Any], name: str, number: int) -> tuple[PairFile, ...]:
        files = []
        for place, entry in enumerate(_tables(table.get("pairs"))):
            where = f"stage {name}: pairs: "
            if isinstance(entry, str):
                entry = {"file": entry}
            if not isinstance(entry, dict):
                self._wrong(f"{where}found {entry!r}; expected a table with a file, or its name", (number, place, ""))
                continue
            before = len(self.problems)
            self._known(entry, tuple(PAIR_KEYS), number, place, where)
            values = {key: self._get(entry, key, default, number, place) for key, default in PAIR_KEYS.items()}
            if not values["file"] and (number, place, "file") not in self._wrong_places:
                self._wrong(f'{where}no file; add file = "FILE.jsonl"', (number, place, "file"))
            if len(self.problems) > before:
                continue
            path = self._find(values.pop("file"))
            try:
                files.append(PairFile(path, **values))
            except AdaptError as error:
                self._wrong(f"{where}{error}", (number, place, "share" if "share is" in str(error) else "file"))
        return tuple(files)

    def _get(self, table: Mapping[str, Any], key: str, default: Any, stage: int, pair: int = -1) -> Any:
        """The value of a key, which must be of its default's type; else the default."""
        value = table.get(key, default)
        kind = int | float if isinstance(default, float) else type(default)
        if isinstance(value, kind) and isinstance(value, bool) == isinstance(default, bool):
            return value
        expected = {str: "a text", bool: "true or false", float: "a number"}[type(default)]
        self._wrong(f"{key} is {value!r}; expected {expected}", (stage, pair, key))
        return default

    def _texts(self, table: Mapping[str, Any], key: str, stage: int) -> tuple[str, ...]:
        value = table.get(key, [])
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and all(isinstance(item, str) and item for item in values):
            return tuple(values)
        self._wrong(f"{key} is {value!r}; expected a list of names", (stage, -1, key))
        return ()

    def _known(self, table: Mapping[str, Any], known: Sequence[str], stage: int, pair: int, where: str = "") -> None:
        for key in table:
            if key not in known:
                self._wrong(where + unknown(key, known), (stage, pair, key))

    def _find(self, name: str) -> Path:
        """A path from the working directory, or beside the recipe where it is only there."""
        path = _home(name)
        beside = self.path.parent / path
        return beside if not _is_there(path) and _is_there(beside) else path

    def _model(self, name: str) -> str:
        if not name or is_shipped(name):
            return name
        found = self._find(name)
        return str(found) if _is_there(found) and found.is_dir() else name

    def _wrong(self, message: str, place: Place) -> None:
        stage, pair, _ = place
        option = self._overridden.get(place) or self._overridden.get((stage, -1, "pairs" if pair >= 0 else ""))
        lines = (self._lines.get(at) for at in (place, (stage, pair, ""), (stage, -1, "pairs"), (stage, -1, "")))
        line = next((line for line in lines if line is not None), None)
        where = f"--set {option}" if option else f"{self.path}: line {line}" if line else str(self.path)
        self._wrong_places.add(place)
        self.problems.append(f"{where}: {message}")


def _tables(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _typed(value: str, spelled: bool) -> Any:
    """The value of an option as TOML reads it; ``spelled`` texts need no quotes."""
    if spelled and not value.startswith(('"', "'", "[", "{")):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return value


def _places(text: str) -> dict[Place, int]:
    """Find the lines of keys and tables, which tomllib does not tell; good enough to point at them."""
    places: dict[Place, int] = {}
    stage = pair = -1
    for number, line in enumerate(text.split("\n"), 1):
        if header := HEADER.match(line):
            first, _, second = header[1].partition(".")
            places.setdefault((-1, -1, first), number)
            if first != "stage":
                continue
            stage, pair = (stage, pair + 1) if second else (stage + 1, -1)
            places.setdefault((stage, pair, ""), number)
            if second:
                places.setdefault((stage, -1, second), number)
        elif key := KEY.match(line):
            places.setdefault((stage, pair, key[1]), number)
    return places


def _home(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no such user
        return Path(name)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False
