from __future__ import annotations

import hashlib
import inspect
import json
import pathlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from searchapp.corpus import Document, open_source
from tests.corpus.records import read


@pytest.fixture(scope="module")
def stdlib() -> dict[str, Document]:
    documents, rejected = read("python:stdlib")
    assert rejected == []
    found = {document.id: document for document in documents}
    assert len(found) == len(documents)
    return found


def test_several_thousand_documents_of_every_kind(stdlib: dict[str, Document]) -> None:
    assert len(stdlib) > 4000
    assert {document.metadata["kind"] for document in stdlib.values()} == {"module", "class", "function", "method"}
    for id, document in stdlib.items():
        assert not any(part.startswith("_") for part in id.split("."))
        assert len(document.title) <= 160
        assert document.metadata["module"].split(".")[0] in sys.stdlib_module_names
    skipped = {"test", "tests", "idlelib", "lib2to3", "turtledemo"}
    assert not any(skipped & set(id.split(".")[:-1]) for id in stdlib if stdlib[id].metadata["kind"] != "method")


@pytest.mark.parametrize(
    ("id", "value"),
    [
        ("json.dumps", json.dumps),
        ("json.JSONEncoder", None),
        ("json.encoder.JSONEncoder.default", json.JSONEncoder.default),
        ("pathlib.Path.glob", pathlib.Path.glob),
        ("textwrap.dedent", textwrap.dedent),
        ("inspect.signature", inspect.signature),
    ],
)
def test_functions_agree_with_inspect(stdlib: dict[str, Document], id: str, value: object) -> None:
    if value is None:
        assert id not in stdlib  # documented where it is defined, not where it is imported
        return
    document = stdlib[id]
    title = id + str(inspect.signature(value))  # type: ignore[arg-type]
    assert document.title == (title if len(title) <= 160 else title[:159] + "…")
    assert document.text == inspect.getdoc(value)
    file = inspect.getsourcefile(value)  # type: ignore[arg-type]
    assert file is not None
    assert Path(file).as_posix().endswith("/" + document.metadata["file"])
    assert document.metadata["line"] == inspect.getsourcelines(value)[1]  # type: ignore[arg-type]


def test_modules_classes_and_properties(stdlib: dict[str, Document]) -> None:
    assert stdlib["json"].title == "module json"
    assert stdlib["json"].text == inspect.getdoc(json)
    assert stdlib["json"].metadata == {"module": "json", "kind": "module", "line": 1, "file": "json/__init__.py"}
    assert stdlib["pathlib.Path"].title == "class pathlib.Path(PurePath)"
    assert stdlib["pathlib.Path"].metadata["line"] == inspect.getsourcelines(pathlib.Path)[1]
    assert stdlib["pathlib.PurePath.parent"].title == "pathlib.PurePath.parent"


def test_modules_in_c(stdlib: dict[str, Document]) -> None:
    assert stdlib["str.split"].text == inspect.getdoc(str.split)
    assert stdlib["str.split"].title == "str.split" + str(inspect.signature(str.split))
    assert stdlib["str.split"].metadata == {"module": "builtins", "kind": "method"}
    assert stdlib["len"].metadata["kind"] == "function"
    assert stdlib["bool"].title == "class bool(int)"
    assert stdlib["math.sqrt"].title == "math.sqrt(x, /)"
    assert {"itertools.chain", "time.sleep", "sys.getsizeof", "array.array.append", "dict.update"} <= stdlib.keys()


def test_another_run_is_identical(stdlib: dict[str, Document]) -> None:
    program = (
        "import hashlib; from searchapp.corpus import open_source; d = hashlib.sha256()\n"
        "for r in open_source('python:stdlib').records(): d.update(repr(r.item).encode())\n"
        "print(d.hexdigest())"
    )
    digest = hashlib.sha256()
    for document in stdlib.values():
        digest.update(repr(document).encode())
    # Another process has another hash seed, and none of what the tests have imported.
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest.hexdigest()
    assert len(open_source("python:stdlib").identity()) == 64
