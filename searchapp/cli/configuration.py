"""Defaults of options: ``searchapp.toml`` in the working folder or beside the index, and ``SEARCHAPP_*`` variables.

A section is a command, a key an option without its dashes::

    [search]
    k = 5
    mode = "dense"

    [evaluate.retrieval]
    depth = 50

``SEARCHAPP_SEARCH_K=5`` says the same. The command line goes before a variable, a variable before the file in the
working folder, that before the file beside the index. Keys that no option has are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp.cli.which import is_index
from searchapp.errors import SearchAppError, reason_of

FILE = "searchapp.toml"
PREFIX = "SEARCHAPP_"
SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Setting:
    """A default: the words of the command, the option without dashes, its value, and its file or variable."""

    command: tuple[str, ...]
    option: str
    value: Any
    origin: str

    @property
    def name(self) -> str:
        """Command and option, as in the file."""
        return ".".join((*self.command, self.option))


def files(arguments: Sequence[str]) -> list[Path]:
    """The files that hold for these arguments, the one that goes before the other first."""
    places = [Path(), *(index.parent for index in _indexes(arguments))]
    found: dict[Path, Path] = {}
    for place in places:
        path = place / FILE
        if path.is_file():
            found.setdefault(path.resolve(), path)
    return list(found.values())


def is_configured(arguments: Sequence[str]) -> bool:
    """Whether there is anything to read for a command."""
    start = PREFIX + arguments[0].upper() + "_" if arguments else PREFIX
    return any(name.startswith(start) for name in os.environ) or bool(files(arguments))


def _indexes(arguments: Sequence[str]) -> Iterator[Path]:
    """Folders among the arguments that are indexes, or are named as one to be made."""
    for before, word in zip(["", *arguments], arguments, strict=False):
        path = Path(word.removeprefix("--index="))
        if word.startswith("-") and path == Path(word) or "\0" in word:
            continue
        try:
            if before == "--index" or path != Path(word) or is_index(path):
                yield path
        except (OSError, ValueError):
            continue


def read(path: Path) -> list[Setting]:
    """The settings of a file. Raises SearchAppError where it cannot be read."""
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SearchAppError(
            f"{path} cannot be read: {reason_of(error)}; expected TOML: [search], then k = 5"
        ) from error
    return list(_settings(content, (), str(path)))


def _settings(content: Mapping[str, Any], command: tuple[str, ...], origin: str) -> Iterator[Setting]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _settings(value, (*command, key), origin)
        else:
            yield Setting(command, key, value, origin)


@dataclass(frozen=True)
class Configuration:
    """The options that commands have, and what is set for them. ``program`` is the group of all commands."""

    program: Any

    def settings(self, arguments: Sequence[str], *, every: bool = False) -> list[Setting]:
        """What is set for the command of these arguments, or for ``every`` one; the last of a name holds.

        Raises SearchAppError for a section, a key or a variable that says nothing.
        """
        asked = self._asked(arguments)
        found = [setting for path in reversed(files(arguments)) for setting in read(path)]
        commands = dict.fromkeys(setting.command for setting in found)
        for command in commands:
            self._command(command, next(setting for setting in found if setting.command == command))
        wanted = [setting for setting in found if every or setting.command == asked]
        for setting in wanted:
            self._option(setting)
        for command in self._every() if every else ([asked] if asked else []):
            wanted += self._variables(command)
        return wanted

    def defaults(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The same as what click takes for its ``default_map``."""
        result: dict[str, Any] = {}
        for setting in self.settings(arguments):
            inner = result
            for word in setting.command:
                inner = inner.setdefault(word, {})
            parameter = self._option(setting)
            inner[parameter.name] = _value(setting, parameter)
        return result

    def blamed(self, arguments: Sequence[str], parameter: Any) -> Setting | None:
        """The setting that an option has its value from; None where the command line or nothing gives it."""
        given = {word.partition("=")[0] for word in arguments}
        if parameter is None or given & {*parameter.opts, *parameter.secondary_opts}:
            return None
        return next((one for one in reversed(self.settings(arguments)) if self._option(one) is parameter), None)

    def _asked(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """The words of the command that is run."""
        command, words = self.program, []
        for word in arguments:
            if word.startswith("-"):
                continue
            if word not in getattr(command, "commands", {}):
                break
            command = _loaded(command, word)
            words.append(word)
        return tuple(words)

    def _every(self) -> Iterator[tuple[str, ...]]:
        for name in self.program.commands:
            inner = getattr(_loaded(self.program, name), "commands", None)
            yield from [(name,)] if inner is None else [(name, other) for other in inner]

    def _command(self, words: tuple[str, ...], setting: Setting) -> Any:
        """The command of a section. Raises SearchAppError where there is none."""
        command = self.program
        if not words:
            raise SearchAppError(
                f"{setting.origin}: the key {setting.option!r} stands in no section; expected the command before it, "
                "as in [search]"
            )
        for word in words:
            known = getattr(command, "commands", {})
            if word not in known:
                raise SearchAppError(
                    f"{setting.origin}: the section [{'.'.join(words)}] is no command; {_near(word, known)}"
                )
            command = _loaded(command, word)
        return command

    def _option(self, setting: Setting) -> Any:
        """The option that is set. Raises SearchAppError where there is none."""
        options = _options(self._command(setting.command, setting))
        key = setting.option.replace("_", "-")
        if key not in options:
            words = " ".join(setting.command)
            raise SearchAppError(
                f"{setting.origin}: {setting.option!r} is no option of `searchapp {words}`; {_near(key, options)}"
            )
        return options[key]

    def _variables(self, command: tuple[str, ...]) -> list[Setting]:
        start = PREFIX + "_".join(command).upper().replace("-", "_") + "_"
        found = []
        for name in sorted(os.environ):
            if name.startswith(start):
                option = name.removeprefix(start).lower().replace("_", "-")
                setting = Setting(command, option, os.environ[name], name)
                self._option(setting)
                found.append(setting)
        return found


def _loaded(group: Any, name: str) -> Any:
    """A command of a group, imported."""
    return group.load(name) if name in getattr(group, "table", {}) else group.commands[name]


def _options(command: Any) -> dict[str, Any]:
    """The options of a command, by their names without dashes."""
    found = {}
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.expose_value:
            for flag in parameter.opts:
                found[flag.lstrip("-")] = parameter
    return found


def _value(setting: Setting, parameter: Any) -> Any:
    """A value as the option takes it. Raises SearchAppError for one of another kind."""
    value = setting.value
    wrong = SearchAppError(f"{setting.origin}: {setting.name} is {value!r}; expected ")
    if parameter.is_flag:
        if isinstance(value, str) and value.lower() in SWITCH:
            value = SWITCH[value.lower()]
        if not isinstance(value, bool):
            raise SearchAppError(f"{wrong}true or false")
        return value
    if parameter.multiple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        return [str(part) for part in value] if isinstance(value, list) else [str(value)]
    if isinstance(value, list | Mapping | bool):
        raise SearchAppError(f"{wrong}one value")
    return str(value)


def _near(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    names = [one for one in known if len(one) > 1 or len(name) == 1]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(sorted(names))}"
