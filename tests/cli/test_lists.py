"""Lists of queries and ids from files and standard input, and what is printed, in whatever encoding."""

from __future__ import annotations

import codecs
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from searchapp.cli.lists import input_lines, listed
from searchapp.errors import SearchAppError

ENTRIES = ["bees", "d 1", "\u00e9\u5ddd\U0001f600", "a\u0085b", "x"]
CODECS = {
    "utf-8": b"", "utf-8-sig": b"", "utf-16": b"", "utf-32": b"", "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("codec", [*CODECS])
def test_lists_in_every_unicode_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, ending: str
) -> None:
    data = CODECS[codec] + ending.join([*ENTRIES[:2], "", *ENTRIES[2:], ""]).encode(codec)
    (tmp_path / "list").write_bytes(data)
    assert listed(tmp_path / "list", "--ids-from", "an id") == ENTRIES
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
    assert input_lines() == ENTRIES


@pytest.mark.parametrize("data", [b"caf\xe9\n", b"a\0b\n", "ab\n".encode("utf-16-le"), b"\xff\xfea"])
def test_what_is_no_text_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    (tmp_path / "list").write_bytes(b"first\n" * (data[:1] == b"c") + data)
    with pytest.raises(SearchAppError, match=r"--ids-from .* cannot be read: .*UTF-8, an id a line"):
        listed(tmp_path / "list", "--ids-from", "an id")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(SearchAppError, match="standard input: .*UTF-8"):
        input_lines()


def _program(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    return subprocess.run(
        [sys.executable, "-m", "searchapp", *map(os.fspath, arguments)],
        env={**keep, **environment}, capture_output=True, timeout=120, check=False,
    )  # fmt: skip


ENVIRONMENTS = [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a source and the index that was built of it where not even names of files are UTF-8."""
    folder = tmp_path_factory.mktemp("encodings")
    source = folder / os.fsdecode(b"od\xffd.jsonl")
    text = "bees \u00e9 \u5ddd \U0001f600"
    source.write_text(json.dumps({"id": "\u5ddd", "text": text}), encoding="utf-8")
    built = _program("build", source, "--index", folder / "ix", "--model", tiny_model, **ENVIRONMENTS[-1])
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda found: "-".join(found.values()))
def test_output_and_paths_in_another_encoding(built: Path, environment: dict[str, str]) -> None:
    """What a build says of its source is said by ``--dry-run`` too, which needs no model."""
    said = _program("build", *built.glob("*.jsonl"), "--index", built / "none", "--dry-run", **environment)
    assert said.returncode == 0, said.stderr
    assert b"od" in said.stdout + said.stderr
    found = _program("search", built / "ix", "bees", "--json", **environment)
    assert found.returncode == 0, found.stderr
    hit = json.loads(found.stdout)
    assert hit["id"] == "\u5ddd"
    assert _program("search", built / "ix", "bees", **environment).returncode == 0
