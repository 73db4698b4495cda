"""The ground files: atomic writes, Unicode checks, versions, reasons."""

from __future__ import annotations

import errno
import inspect
import os
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from pkgutil import iter_modules

import pytest

from searchapp.atomic import atomic_directory, atomic_write, write_text
from searchapp.errors import SearchAppError, is_disk_full, reason_of, shown_address, why_unwritten
from searchapp.provenance import package_versions
from searchapp.unicode import find_surrogate


def test_a_file_keeps_its_old_content_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "list.tsv"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half of the ne")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["list.tsv"]
    write_text(path, "ñew", sync=True)
    assert path.read_bytes() == "ñew".encode()


def test_a_new_file_takes_no_other_files_place(tmp_path):
    path = tmp_path / "pairs.jsonl"
    with atomic_write(path, new=True) as file:
        file.write(b"first")
    with pytest.raises(FileExistsError), atomic_write(path, new=True) as file:
        file.write(b"second")
    assert path.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


@pytest.mark.parametrize("taken", [False, True])
def test_a_new_file_where_the_file_system_has_no_hard_links(tmp_path, monkeypatch, taken):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "pairs.jsonl"
    if taken:
        path.write_bytes(b"first")
        with pytest.raises(FileExistsError), atomic_write(path, new=True) as file:
            file.write(b"second")
    else:
        with atomic_write(path, new=True) as file:
            file.write(b"first")
    assert path.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_folder_takes_the_place_of_another_whole_or_not_at_all(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.json").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(path) as draft:
        (draft / "new.json").write_text("half of the ne")
        raise RuntimeError
    assert [file.name for file in path.iterdir()] == ["old.json"]
    with atomic_directory(path) as draft:
        (draft / "new.json").write_text("new")
        assert [file.name for file in path.iterdir()] == ["old.json"]
    assert [file.name for file in path.iterdir()] == ["new.json"]
    with atomic_directory(tmp_path / "a" / "b") as draft:
        (draft / "first").write_text("")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "model"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.json").write_text("old")
    real = type(path).rename

    def refuse(self, target):
        if self.suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(type(path), "rename", refuse)
    with pytest.raises(OSError, match="Input/output"), atomic_directory(path):
        pass
    assert [file.name for file in path.iterdir()] == ["old.json"]
    assert [item.name for item in tmp_path.iterdir()] == ["model"]


def test_lone_surrogates_are_found_where_they_stand():
    assert find_surrogate("plain") is None
    assert find_surrogate("\N{GRINNING FACE} é") is None
    assert find_surrogate("ab\ud800c") == 2
    assert find_surrogate(os.fsdecode(b"caf\xe9")) == 3


def test_versions_are_of_what_is_installed():
    import numpy

    assert package_versions(["numpy", "no-such-package"]) == {"numpy": numpy.__version__}


def test_the_reason_of_a_foreign_error_is_one_line():
    assert reason_of(ValueError("first.\nsecond")) == "first"
    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")) == "No such file or directory"


def test_the_tiers_name_files_that_are_there() -> None:
    from tests.tiers import FILES, FOLDERS

    tests = Path(__file__).parent
    assert not [name for name in (*FILES, *FOLDERS) if not (tests / name).exists()]


@pytest.mark.parametrize("room", ["corpus", "encoder", "index", "search"])
def test_names_of_a_room_come_from_its_modules(room: str) -> None:
    """Whatever was imported before, a name is what the room says; a module of that name would take its place."""
    package = import_module(f"searchapp.{room}")
    modules = {found.name for found in iter_modules(package.__path__)}
    assert not modules & set(package.__all__)
    for name in package.__all__:
        assert not inspect.ismodule(getattr(package, name))
    with pytest.raises(AttributeError, match=f"module 'searchapp.{room}' has no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EIO])
def test_room_is_asked_for_where_the_disk_is_full_only(number: int) -> None:
    error = OSError(number, os.strerror(number))
    assert is_disk_full(error) == (number in (errno.ENOSPC, errno.EDQUOT))
    said = why_unwritten(error)
    assert said.startswith(os.strerror(number))
    assert ("make room" in said) == is_disk_full(error) != ("permissions" in said)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://u:geheim@h:8=s0", "http://…@h:8=s0"), ("http://u:geheim@x/y@h", "http://…@h"),
        ("u:geheim@h", "…@h"), ("http://h:8?token=geheim", "http://h:8?…"), ("http://:geheim@h#geheim", "http://…@h#…"),
        ("http://[::1", "http://[::1"), ("ftp://h", "ftp://h"), ("", ""),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_what_may_be_secret(given: str, shown: str) -> None:
    assert shown_address(given) == shown == shown_address(shown)


@pytest.mark.parametrize("place", ["shards.peers:PeerAddress.of", "client.connection:Address.of",
                                   "assistants.connect:Address", "serve.door:origin"])  # fmt: skip
@pytest.mark.parametrize(
    "given", ["http://u:geheim@h:8", "http://:geheim@h:8", "http://u:geheim=x@h:8", "http://u:geheim/@h:x"]
)
def test_no_refusal_of_an_address_repeats_its_password(place: str, given: str) -> None:
    module, _, name = place.partition(":")
    found = import_module(f"searchapp.{module}")
    if name == "origin":
        with pytest.raises(SearchAppError, match="no origin") as refusal:
            found.Door.of("127.0.0.1", token=None, origins=[f"{given}/"])
    else:
        with pytest.raises(SearchAppError, match="no shard server|no server's address|is no address") as refusal:
            attrgetter(name)(found)(given)
    assert "geheim" not in str(refusal.value)
