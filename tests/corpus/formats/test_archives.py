"""Archives: the files in them, by their own readers, and what must not be unpacked."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from searchapp.corpus.formats.archives import read
from searchapp.corpus.formats.reading import Limits, Unreadable
from tests.corpus.formats import packages
from tests.corpus.formats.packages import package, shown

FILES = {
    "a.md": b"# Bees\n\nfly\n",
    "d/b.py": b"def f(): pass\n",
    "c.bin": b"?",
    ".hidden.md": b"no",
    "d/e.ipynb": b"broken",
}
EXPECTED = ["*H1 a.md", "H2 # Bees", "T fly", "*H1 d/b.py", "S def f(): pass"]


def tarred(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.md")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
def test_files_are_read_by_their_own_readers(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.zip":
        package(path, FILES)
    else:
        path.write_bytes(gzip.compress(tarred(FILES)) if "gz" in name else tarred(FILES))
    facts, blocks = packages.read(read, path)
    assert shown(blocks) == EXPECTED
    assert [(block.where or {})["archive"] for block in blocks] == [f"{name}!/a.md"] * 3 + [f"{name}!/d/b.py"] * 2
    assert facts.notes == {"files in archives not read": 2}


def test_a_packed_file_and_archives_in_archives(tmp_path: Path) -> None:
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(b"# Bees\n"))
    assert shown(packages.read(read, tmp_path / "a.md.gz")[1]) == ["*H1 a.md", "H2 # Bees"]
    inner = package(tmp_path / "in.zip", {"x.md": "deep", "y.md.gz": gzip.compress(b"packed")}).read_bytes()
    path = package(
        tmp_path / "a.zip",
        {"in.zip": inner, "broken.zip": b"PK", "z.md": "last", "l.1.gz": gzip.compress(b".TH L 1\nx\n")},
    )
    blocks = packages.read(read, path)[1]
    assert shown(blocks) == [
        "*H1 in.zip!/x.md",
        "T deep",
        "*H1 in.zip!/y.md.gz!/y.md",
        "T packed",
        "*H1 z.md",
        "T last",
        "*H1 l.1.gz",
        "H2 l(1)",
        "T x",
    ]
    assert (blocks[2].where or {})["archive"] == "a.zip!/in.zip!/y.md.gz!/y.md"


def test_archives_in_archives_end_at_the_third(tmp_path: Path) -> None:
    data = b"deep"
    name = "x.md"
    for depth in range(6):
        data = package(tmp_path / "a.zip", {name: data}).read_bytes()
        name = f"{depth}.zip"
    facts, blocks = packages.read(read, tmp_path / "a.zip")
    assert (blocks, facts.notes) == ([], {"files in archives not read": 1})


def test_bombs_are_refused_whatever_they_are_packed_in(tmp_path: Path) -> None:
    zeros = b" " * 12_000_000
    bomb = package(tmp_path / "bomb.zip", {"a.md": zeros}).read_bytes()
    package(tmp_path / "outer.zip", {"bomb.zip": bomb})
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(zeros))
    (tmp_path / "a.tgz").write_bytes(gzip.compress(tarred({"a.md": zeros})))
    small = package(tmp_path / "s.zip", {"a.md": b" " * 9_000_000}).read_bytes()  # each is small enough alone
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as file:
        for number in range(3):
            file.writestr(f"{number}.zip", small)
    for name in ("bomb.zip", "outer.zip", "a.md.gz", "a.tgz", "many.zip"):
        with pytest.raises(Unreadable, match="a zip bomb"):
            list(read(tmp_path / name, Limits()))


def test_limits(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tarred(FILES))
    for limits, reason in ((Limits(unpacked=2_000), "unpacks to more"), (Limits(parts=2), "more than 2 parts")):
        with pytest.raises(Unreadable, match=reason):
            list(read(tmp_path / "a.tar", limits))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.zip", b"noise", "damaged"),
        ("a.tar", b"noise" * 300, "damaged"),
        ("a.tar.gz", gzip.compress(tarred(FILES))[:200], "damaged"),
        ("a.gz", b"noise", "damaged"),
        ("a.tar", tarred({"../x.md": b"out"}), "leads out"),
        ("a.rar", b"Rar!", "no archive"),
    ],
)
def test_refused(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Unreadable, match=reason):
        list(read(tmp_path / name, Limits()))
