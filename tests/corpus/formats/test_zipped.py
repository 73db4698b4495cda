"""Zip files that must not be unpacked are refused before they are, and those that lie about their size while they are."""

from __future__ import annotations

import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from searchapp.corpus.formats.reading import Limits, Unreadable
from searchapp.corpus.formats.zipped import Zipped
from tests.corpus.formats.packages import LIMITS, package


def refusal(path: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(Unreadable) as caught, Zipped(path, limits) as opened:
        for name in opened.names:
            opened.read(name)
    return str(caught.value)


def test_a_bomb_is_refused_by_its_directory(tmp_path: Path) -> None:
    bomb = package(tmp_path / "a.zip", {"a.xml": b" " * 12_000_000})
    assert "a zip bomb" in refusal(bomb)
    assert bomb.stat().st_size < 100_000
    many = package(tmp_path / "b.zip", {f"{n}.xml": b" " * 6_000_000 for n in range(2)})
    assert "a zip bomb" in refusal(many)  # each below 10 MB, all together not


def test_a_bomb_that_lies_about_its_packed_size_is_refused_too(tmp_path: Path) -> None:
    data = bytearray(package(tmp_path / "a.zip", {"a.xml": b" " * 12_000_000}).read_bytes())
    at = data.index(b"PK\x01\x02") + 20
    data[at : at + 4] = struct.pack("<I", 6_000_000)
    (tmp_path / "a.zip").write_bytes(data)
    assert "a zip bomb" in refusal(tmp_path / "a.zip")


def test_what_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = package(tmp_path / "a.zip", {"a": bytes(range(256)) * 100, "b": b"x" * 100})
    assert "unpacks to 25,700 bytes" in refusal(path, Limits(unpacked=20_000))


def test_stored_parts_are_counted_while_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"x" * 30_000)
    assert refusal(path, Limits(unpacked=20_000)) == "unpacks to more than 20,000 bytes"


def test_a_part_larger_than_the_directory_says_is_damaged(tmp_path: Path) -> None:
    path = package(tmp_path / "a.zip", {"a": b"x" * 100_000})
    data = bytearray(path.read_bytes())
    for place in (data.index(b"PK\x01\x02") + 24, 22):  # the size in the directory, then in the local header
        data[place : place + 4] = struct.pack("<I", 10)
    path.write_bytes(data)
    assert refusal(path).startswith("damaged: part a")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..\\x", "C:x"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    assert "leads out" in refusal(package(tmp_path / "a.zip", {name: "x"}))


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("a", "x")
        file.writestr("a", "y")
    assert "two parts of one name" in refusal(tmp_path / "a.zip")


def test_too_many_parts_are_refused(tmp_path: Path) -> None:
    path = package(tmp_path / "a.zip", {str(n): "" for n in range(11)})
    assert refusal(path, Limits(parts=10)) == "11 parts; at most 10 are unpacked"


def test_encrypted_parts_are_a_password(tmp_path: Path) -> None:
    path = package(tmp_path / "a.zip", {"a": "x"})
    data = bytearray(path.read_bytes())
    for place in (data.index(b"PK\x01\x02") + 8, 6):
        data[place] |= 1
    path.write_bytes(data)
    assert refusal(path) == "password"


def test_other_methods_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("a", "x" * 1000)
    assert refusal(tmp_path / "a.zip") == "packed by a method other than deflate"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "damaged"),
        (b"PK\x03\x04 and no more", "damaged"),
        (bytes(5000), "damaged"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512), "password or old Office format"),
    ],
)
def test_what_is_no_zip_file(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.docx").write_bytes(data)
    assert refusal(tmp_path / "a.docx").startswith(reason)


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_file_cut_short_is_damaged(tmp_path: Path, kept: float) -> None:
    data = package(tmp_path / "a.zip", {"a": bytes(range(256)) * 20}).read_bytes()
    (tmp_path / "a.zip").write_bytes(data[: int(len(data) * kept)])
    assert refusal(tmp_path / "a.zip").startswith("damaged")


@pytest.mark.parametrize(("place", "value"), [(42, 0xFFFFFFF0), (42, 7), (28, 200)])
def test_a_directory_that_says_nonsense_is_damaged(tmp_path: Path, place: int, value: int) -> None:
    """The offset of a part, the length of its name."""
    data = bytearray(package(tmp_path / "a.zip", {"a": "x" * 100, "b": "y"}).read_bytes())
    at = data.index(b"PK\x01\x02") + place
    data[at : at + 4] = struct.pack("<I", value)
    (tmp_path / "a.zip").write_bytes(data)
    assert refusal(tmp_path / "a.zip").startswith(("damaged", "password"))


def test_names_that_are_no_text_are_damaged(tmp_path: Path) -> None:
    data = package(tmp_path / "a.zip", {"ä": "x"}).read_bytes()
    place = data.index("ä".encode())  # that of the part itself, not of the directory
    (tmp_path / "a.zip").write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    assert refusal(tmp_path / "a.zip").startswith("damaged")
