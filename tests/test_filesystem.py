"""Systems that lack something: no ``fcntl`` and ``resource``, no hard links, names in another Unicode form."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
import unicodedata
from pathlib import Path

import pytest

from searchapp import filesystem
from tests.preloaded import Server
from tests.program import Outcome

# What Windows lacks, taken away before searchapp is imported, and after the libraries that on Linux count on it: psutil,
# below transformers' Trainer, wants `resource`, and the SDK of assistants `fcntl`. `preloaded` has imported them.
HIDDEN = """
import mmap, os, sys
assert not any(name.split(".")[0] == "searchapp" for name in sys.modules)
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for module, name in ((os, "preadv"), (mmap, "MAP_ANONYMOUS"), (os, "sched_getaffinity")):
    delattr(module, name)
"""
# Commands as JSON, one after the other in one process; the exit code is the last one's.
RUN = (
    HIDDEN
    + """
import json
from searchapp.cli import main
code = 0
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as stop:
        code = stop.code
    if code:
        break
sys.exit(code)
"""
)
HOLD = HIDDEN + (
    "import time, pathlib\nfrom searchapp.index.storage.writer import Writer\n"
    "with Writer.open(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
)
DOCUMENTS = [{"_id": "bees", "text": "bees make honey"}, {"_id": "fox", "text": "a fox jumps over a dog"}]


def _hidden(preloaded: Server, *commands: tuple[object, ...], code: int = 0) -> Outcome:
    given = json.dumps([list(map(str, command)) for command in commands])
    done = preloaded.start(given, code=RUN).finish()
    assert done.code == code, (commands, done)
    return done


def _write(path: Path, documents: list[dict[str, str]]) -> Path:
    path.write_text("\n".join(map(json.dumps, documents)))
    return path


def test_every_module_can_be_imported_without_fcntl_and_resource(preloaded: Server) -> None:
    code = HIDDEN + (
        "import pkgutil, importlib, searchapp\n"
        "names = [m.name for m in pkgutil.walk_packages(searchapp.__path__, 'searchapp.') if m.name[-9:] != '.__main__']\n"
        "for name in names:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:  # what other programs bring, where they are not installed\n"
        "        if not name.startswith('searchapp.integrations.') or error.name.startswith('searchapp'):\n"
        "            raise\n"
        "        assert error.name.split('.')[0] in ('langchain_core', 'llama_index', 'haystack'), error\n"
        "print(len(names))"
    )
    done = preloaded.start(code=code).finish()
    assert done.code == 0, done.err
    assert int(done.out) > 100


def test_an_index_is_written_and_searched_without_fcntl_and_resource(
    tmp_path: Path, tiny_model: Path, preloaded: Server
) -> None:
    ix = tmp_path / "ix"
    more = _write(tmp_path / "more.jsonl", [{"_id": "cat", "text": "a cat sleeps"}])
    done = _hidden(
        preloaded,
        ("build", _write(tmp_path / "d.jsonl", DOCUMENTS), "--index", ix, "--model", tiny_model, "--no-lexical"),
        ("add", ix, more),
        ("delete", ix, "--id", "fox"),
        ("compact", ix),
        ("verify", ix),
        ("search", ix, "bees make honey", "--json"),
    )
    assert "is sound" in done.out
    found = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    assert {hit["id"] for hit in found} == {"bees", "cat"}
    # the system that has both opens the same index, to the same scores
    done = preloaded.start("search", ix, "bees make honey", "--json").finish()
    assert done.code == 0, done.err
    assert [json.loads(line) for line in done.out.splitlines()] == found


def test_without_flock_there_is_one_writer_and_a_killed_one_lets_go(
    tmp_path: Path, tiny_model: Path, preloaded: Server
) -> None:
    """The lock is filelock's: here by its own ``flock``, on Windows by ``msvcrt``; the kernel lets go of both."""
    ix = tmp_path / "ix"
    build = ("build", _write(tmp_path / "d.jsonl", DOCUMENTS), "--index", ix, "--model", tiny_model)
    holder = preloaded.start(ix, code=HOLD)
    while holder.out.read_text() != "held\n":
        assert holder.poll() is None, holder.err.read_text()
        time.sleep(0.01)
    refused = _hidden(preloaded, build, code=2)
    (line,) = [line for line in refused.err.splitlines() if line.startswith("searchapp: error: ")]
    assert line.startswith(f"searchapp: error: {ix} is being written by process {holder.pid};")
    assert holder.kill() == -signal.SIGKILL
    assert "is sound" in _hidden(preloaded, build, ("verify", ix)).out


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_publishing_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("new")
    filesystem.publish(source, target)
    assert (target.read_text(), source.exists()) == ("new", False)
    source.write_text("newer")
    with pytest.raises(FileExistsError):
        filesystem.publish(source, target)
    assert target.read_text() == "new"


def test_publishing_passes_other_faults_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("new")
    with pytest.raises(OSError, match="no space"):
        filesystem.publish(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_an_index_where_there_are_no_hard_links(tmp_path: Path, tiny_encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from searchapp import Index
    from searchapp.index import build

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    build([str(_write(tmp_path / "d.jsonl", DOCUMENTS))], tmp_path / "ix", tiny_encoder)
    assert {hit.id for hit in Index.open(tmp_path / "ix", encoder=tiny_encoder).search("honey", k=2)} == {"bees", "fox"}


def test_an_index_below_a_linked_folder(tmp_path: Path, tiny_encoder) -> None:
    """As on macOS, where ``/tmp`` is a link to ``/private/tmp``: both names are the same index."""
    from searchapp import Index
    from searchapp.index import build

    (tmp_path / "private").mkdir()
    (tmp_path / "tmp").symlink_to("private")
    build([str(_write(tmp_path / "d.jsonl", DOCUMENTS))], tmp_path / "tmp" / "ix", tiny_encoder)
    for folder in ("tmp", "private"):
        assert Index.open(tmp_path / folder / "ix", encoder=tiny_encoder).search("honey", k=1)


def test_names_in_decomposed_unicode(tmp_path: Path, tiny_encoder) -> None:
    """As macOS gives them: the index lies there, and an id is the name that the file system gave."""
    from searchapp import Index
    from searchapp.index import build

    name = unicodedata.normalize("NFD", "Übersicht-é.md")
    folder = tmp_path / unicodedata.normalize("NFD", "Müller")
    folder.mkdir()
    (folder / name).write_text("# Bees\n\nBees make honey.\n")
    build([str(folder)], folder / "ix", tiny_encoder)
    (hit,) = Index.open(folder / "ix", encoder=tiny_encoder).search("honey", k=5)
    assert hit.id.startswith(f"{folder.name}/{name}#")


def test_no_two_files_of_an_index_differ_in_case_alone(tmp_path: Path, tiny_encoder) -> None:
    """So that a file system that folds case (macOS, Windows) keeps all of them."""
    from searchapp.index import build

    build([str(_write(tmp_path / "d.jsonl", DOCUMENTS))], tmp_path / "ix", tiny_encoder)
    names = [path.relative_to(tmp_path).as_posix() for path in (tmp_path / "ix").rglob("*")]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(character not in name for name in names for character in '<>:"\\|?*')  # Windows takes none of these


def test_no_two_files_of_the_repository_differ_in_case_alone() -> None:
    package = Path(filesystem.__file__).parent
    names = [path.relative_to(package).as_posix() for path in package.rglob("*") if "__pycache__" not in path.parts]
    assert len({name.casefold() for name in names}) == len(names)


def test_memory_that_cannot_be_measured_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from searchapp.bench import machine
    from searchapp.errors import SearchAppError

    assert 1 << 20 < machine.resident() < 1 << 40

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert machine.resident() > 1 << 20  # the most this process ever held
    monkeypatch.setattr(machine, "resource", None)
    with pytest.raises(SearchAppError, match="does not say how much memory"):
        machine.resident()
