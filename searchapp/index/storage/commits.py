"""The commits on disk: manifests by number, their copies, and what is wrong with the files they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from searchapp.index.storage.directory import FileEntry, checksum
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.manifest_json import CorruptManifestError, load


@dataclass(frozen=True)
class CommitOnDisk:
    """A manifest on disk: what it says, and what is wrong with it or with the files it names."""

    number: int
    path: Path
    manifest: Manifest | None  # None where neither it nor its copy can be read
    problems: tuple[str, ...] = ()
    notice: str = ""  # that its copy is used in its place
    missing: tuple[str, ...] = ()  # files it names that are not there, or not of their size

    @property
    def usable(self) -> bool:
        """Whether the state can be opened."""
        return self.manifest is not None and not self.problems


def copy_of(path: Path) -> Path:
    """Where the copy of a manifest lies. It is written once its manifest is in place, and removed before it."""
    return path.with_suffix(".copy")


def numbered(root: Path) -> list[tuple[int, Path]]:
    """Numbers and paths of all manifests, newest first, including those of which only the copy is left."""
    found = [(re.fullmatch(r"manifest-([0-9]{1,18})\.(json|copy)", path.name), path) for path in root.iterdir()]
    numbers = {int(match[1]): path.with_suffix(".json") for match, path in found if match}
    return sorted(numbers.items(), reverse=True)


def commits(root: Path) -> Iterator[CommitOnDisk]:
    """Read every manifest, newest first; a file that a writer removes meanwhile is passed over.

    Where one is missing or damaged, its copy is read. A state of which only the copy is left, beside a newer one that
    is usable, was being removed; it is passed over.
    """
    usable = False
    for number, path in numbered(root):
        manifest, problem = _read(path)
        notice = ""
        if manifest is None and copy_of(path).exists() and not (usable and problem is None):
            manifest, _ = _read(copy_of(path))
            if manifest is not None:
                notice = f"{problem or f'{path.name} is missing'}; its copy is used"
                path = copy_of(path)
        if manifest is None:
            if problem is not None:
                yield CommitOnDisk(number, path, None, (problem,))
            continue
        wrong = _misfits(root, manifest)
        if wrong and not path.exists():
            continue
        problems = tuple(f"{path.name}: {problem}" for problem in wrong.values())
        usable = usable or not wrong
        yield CommitOnDisk(number, path, manifest, problems, notice, tuple(wrong))


def _read(path: Path) -> tuple[Manifest | None, str | None]:
    """A manifest, or why it cannot be read; neither where it is not there."""
    try:
        return load(path), None
    except FileNotFoundError:
        return None, None
    except CorruptManifestError as error:
        return None, str(error)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"{path} cannot be read ({error})"


def missing_files(root: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the files of a state, looked at from outside: one that is missing, or not of its size."""
    return list(_misfits(root, manifest).values())


def _misfits(root: Path, manifest: Manifest) -> dict[str, str]:
    entries = manifest.files.items()
    return {name: problem for name, entry in entries if (problem := _misfit(root / "data" / name, entry))}


def _misfit(path: Path, entry: FileEntry) -> str | None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"data/{path.name} is missing"
    except OSError as error:
        return f"data/{path.name} cannot be read ({error.strerror})"
    return None if size == entry.size else f"data/{path.name} has {size} bytes, expected {entry.size}"


def damage(path: Path, entry: FileEntry) -> str | None:
    """What is wrong with a data file, read whole and compared with its checksum; None where nothing is."""
    problem = _misfit(path, entry)
    if problem is None:
        try:
            same = checksum(path) == entry.checksum
            problem = None if same else f"data/{path.name} does not match its checksum (its bytes have changed)"
        except OSError as error:
            problem = f"data/{path.name} cannot be read ({error.strerror})"
    return problem
