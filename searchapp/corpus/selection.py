"""Which files below a folder are read: by the table of formats, the user's patterns, and files such as .gitignore."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.corpus.column_names import ColumnNames
from searchapp.corpus.formats.table import BY_NAME, FORMATS, Format, format_of
from searchapp.errors import CorpusError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

log = logging.getLogger(__name__)

FILES = (".ignore", ".searchappignore")  # of every folder, beside .gitignore in a work tree; later ones win
ARCHIVED = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
ARCHIVES = tuple(f"*{ending}=archive" for ending in ARCHIVED)  # patterns of --archives
FOLDERS = ("node_modules", "__pycache__", ".venv")
IGNORED, LEFT_OUT = "ignored by its folder's rules", "left out by --include or --exclude"


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user wants of a folder.

    ``include``: only files that match one of these patterns are read; ``PATTERN=FORMAT``: files that match are read as
    this format, whatever they are named. ``exclude``: files and folders that match are not. A pattern without ``/`` is
    that of a name, one with ``/`` of the path below the folder. ``ignores``: whether ignore files count.
    ``columns``: of a table, as ``ColumnNames.parse`` takes them.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignores: bool = True
    columns: str = ""

    def to_json(self) -> dict[str, Any] | None:
        """Its fields as JSON values; None where all is wanted."""
        if self == Selection():
            return None
        content = {"include": list(self.include), "exclude": list(self.exclude), "ignores": self.ignores}
        return {**content, "columns": self.columns} if self.columns else content

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> Selection:
        """What ``to_json`` was called on."""
        if content is None:
            return cls()
        columns = str(content.get("columns", ""))
        return cls(tuple(content["include"]), tuple(content["exclude"]), bool(content["ignores"]), columns)

    @property
    def reading(self) -> Selection:
        """What of it decides how a file is read, rather than which files are."""
        return Selection(include=tuple(pattern for pattern in self.include if "=" in pattern), columns=self.columns)

    def options(self) -> str:
        """The options that ask for it, as they are typed."""
        given = [f"--include {shlex.quote(pattern)}" for pattern in self.include if pattern not in ARCHIVES]
        given += ["--archives"] * (set(ARCHIVES) <= set(self.include))
        given += [f"--exclude {shlex.quote(pattern)}" for pattern in self.exclude]
        given += ["--no-ignore"] * (not self.ignores)
        return " ".join(given + [f"--columns {shlex.quote(self.columns)}"] * bool(self.columns))

    def check(self) -> None:
        """Raise CorpusError for a pattern that names no format, and for columns that are not understood."""
        ColumnNames.parse(self.columns)
        for pattern in self.include:
            name = pattern.partition("=")[2]
            known = [format.name for format in FORMATS if format.is_cut]
            if "=" in pattern and name not in known:
                raise CorpusError(f"--include {pattern!r} names no format; expected one of {', '.join(known)}")

    def excludes(self, relative: str) -> bool:
        """Whether a file or folder is left out, by its path below the folder."""
        return any(_fits(relative, pattern) for pattern in self.exclude)

    def format(self, relative: str) -> Format | None:
        """The format that a file is read as, by its path below the folder; None where there is none."""
        for pattern in self.include:
            glob, _, name = pattern.partition("=")
            if name and _fits(relative, glob):
                return BY_NAME[name]
        found = format_of(relative.rpartition("/")[2])
        return found if found is not None and found.is_cut else None

    def includes(self, relative: str) -> bool:
        """Whether a file is among those that are wanted."""
        plain = [pattern for pattern in self.include if "=" not in pattern]
        given = (pattern.partition("=")[0] for pattern in self.include)
        return not plain or any(_fits(relative, pattern) for pattern in given)


def _fits(relative: str, pattern: str) -> bool:
    pattern = pattern.removesuffix("/")
    if "/" not in pattern:
        return fnmatchcase(relative.rpartition("/")[2], pattern)
    return fnmatchcase(relative, pattern.removeprefix("/"))


class Ignores:
    """The ignore files of a folder and those above it in its work tree; paths are asked for folder by folder."""

    def __init__(self, folder: Path) -> None:
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._root = folder.absolute()
        self._tree = next((path for path in (self._root, *self._root.parents) if (path / ".git").exists()), None)
        self._base = self._tree or self._root

    def ignores(self, path: Path, is_folder: bool) -> bool:
        """Whether a file or folder below the folder is ignored. Those above it are not; they were asked before."""
        if is_folder and path.name in FOLDERS:
            return True
        path = path.absolute()
        for folder in path.parents:
            spec = self._spec(folder)
            if spec is not None:
                name = path.relative_to(folder).as_posix() + ("/" if is_folder else "")
                decided = spec.check_file(name).include
                if decided is not None:
                    return bool(decided)
            if folder == self._base:
                break
        return False

    def _spec(self, folder: Path) -> GitIgnoreSpec | None:
        """The patterns of a folder; None where it has none."""
        if folder not in self._specs:
            names = FILES if folder == self._root or self._root in folder.parents else ()
            if self._tree is not None:
                names = (".gitignore", *names)
            lines: list[str] = []
            if folder == self._tree:
                lines += _lines(folder / ".git" / "info" / "exclude")
            for name in names:
                lines += _lines(folder / name)
            self._specs[folder] = _compiled(lines, folder)
        return self._specs[folder]


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if path.is_file() else ()
    except OSError:
        return ()


def _compiled(lines: Iterable[str], folder: Path) -> GitIgnoreSpec | None:
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    if not lines:
        return None
    if find_spec("pathspec") is None:
        _warn()
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise CorpusError(f"{folder}: an ignore file has a pattern that cannot be read ({error}); mend it") from error


@cache
def _warn() -> None:
    """Say it once."""
    log.warning(".gitignore and other ignore files are not obeyed: that needs `pip install 'searchapp[files]'`")
