"""The user's cache: keys of files that change with them, hashes that are read once and never wrong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from searchapp import user_cache
from searchapp.encoder import fingerprint
from searchapp.encoder.checkpoint import Checkpoint
from searchapp.encoder.fingerprint import checksum, hash_beside
from searchapp.user_cache import cache_folder, file_stamp, remember, remembered


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Seconds that have passed since every change of a file: a list of one number."""
    passed = [3600.0]
    now = user_cache.time.time
    monkeypatch.setattr(user_cache, "now", lambda: now() + passed[0])
    return passed


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files have been hashed, in a list of one number; nothing is known in the process from before."""
    count = [0]
    real = hashlib.file_digest

    def counting(*given):
        count[0] += 1
        return real(*given)

    monkeypatch.setattr(fingerprint.hashlib, "file_digest", counting)
    monkeypatch.setattr(fingerprint, "_FOUND", {})
    return count


def truth(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEARCHAPP_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("SEARCHAPP_CACHE")
    assert cache_folder() == tmp_path / "shared" / "searchapp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "searchapp"


def test_what_is_kept_is_found_by_kind_and_key() -> None:
    remember("a", "key", "text")
    remember("a", "other \udcff", "more")
    assert (remembered("a", "key"), remembered("b", "key"), remembered("a", "other \udcff")) == ("text", None, "more")
    remember("a", "key", "new")
    assert remembered("a", "key") == "new"
    assert len(list((cache_folder() / "a").iterdir())) == 2, "no drafts are left"


def test_a_file_is_hashed_once(tmp_path: Path, clock, read, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    (tmp_path / "link").symlink_to(path)
    assert checksum(path) == checksum(path) == checksum(tmp_path / "link") == truth(path)
    monkeypatch.setattr(fingerprint, "_FOUND", {})  # another process
    assert checksum(path) == truth(path)
    assert read == [1]


@pytest.mark.parametrize("passed", [0.0, 3600.0])
def test_a_changed_file_never_has_its_old_hash(tmp_path: Path, clock, read, passed: float) -> None:
    """Same size, and the old time put back: by its time alone it would not be told."""
    clock[0] = passed
    path = tmp_path / "w"
    path.write_bytes(b"one")
    before = path.stat()
    assert checksum(path) == truth(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert checksum(path) == truth(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_changed_just_now_has_no_key(tmp_path: Path, clock, read) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"one")
    clock[0] = 0.0
    assert file_stamp(path) is None
    assert checksum(path) == checksum(path) == truth(path)
    assert read == [2]
    clock[0] = user_cache.SETTLED + 1
    assert file_stamp(path) is not None
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 1e6))  # a clock that was wrong
    assert file_stamp(path) is None


@pytest.mark.parametrize("content", [b"", b"f" * 63, b"F" * 64, b"\xff" * 64, b"g" * 64])
def test_a_damaged_hash_is_worked_out_again(tmp_path: Path, clock, read, monkeypatch, content: bytes) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    checksum(path)
    for kept in (cache_folder() / "checksums").iterdir():
        kept.write_bytes(content)
    monkeypatch.setattr(fingerprint, "_FOUND", {})
    assert checksum(path) == truth(path)
    assert read == [2]


def test_a_hash_that_was_begun_is_awaited_and_not_made_twice(tmp_path: Path, clock, read) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(os.urandom(1 << 22))
    hash_beside(Checkpoint("m", tmp_path, (), tmp_path, tmp_path, ""))
    assert checksum(path) == truth(path)
    assert read == [1]
    path.unlink()
    hash_beside(Checkpoint("m", tmp_path, (), tmp_path, tmp_path, ""))  # and nothing is said of what is gone


def test_without_a_folder_to_keep_it_in_a_process_still_hashes_once(tmp_path, clock, read, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEARCHAPP_CACHE", str(tmp_path / "file"))
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    assert checksum(path) == checksum(path) == truth(path)
    assert read == [1]
