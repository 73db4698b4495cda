"""The wheel: what lies in it, and that the program works from it with nothing of the checkout in reach."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import searchapp

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")


def _run(*command: object, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def _clean(**more: str) -> dict[str, str]:
    """The environment without what leads a Python to other folders."""
    leading = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX")
    return {**{name: value for name, value in os.environ.items() if name not in leading}, **more}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy: an old ``build`` folder in the checkout would add files that are gone."""
    root = tmp_path_factory.mktemp("wheel")
    (root / "src").mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, root / "src" / name)
    shutil.copytree(ROOT / "searchapp", root / "src" / "searchapp", ignore=shutil.ignore_patterns("__pycache__"))
    _run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", ".", "-w", root,
         cwd=root / "src", env=_clean())  # fmt: skip
    (built,) = root.glob("*.whl")
    shutil.rmtree(root / "src")
    return built


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fresh environment in ``env``: the wheel, and the installed libraries without the checkout.

    A line in a ``.pth`` file adds a folder, but does not read the ``.pth`` files in it, so an editable install there is
    not seen. The line comes after the wheel's installation: pip would take that install for an older version.
    """
    root = tmp_path_factory.mktemp("elsewhere")
    _run(sys.executable, "-m", "venv", "--without-pip", root / "env", cwd=root, env=_clean())
    python = root / "env" / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel,
         cwd=root, env=_clean())  # fmt: skip
    (packages,) = (root / "env").glob("lib/python*/site-packages")
    folders = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    (packages / "libraries.pth").write_text("\n".join(folders) + "\n")
    return root


def _installed(place: Path) -> dict[str, str]:
    return _clean(XDG_CACHE_HOME=str(place / "cache"), HF_HUB_OFFLINE="1")


@pytest.fixture
def program(place: Path):
    """Runs the installed ``searchapp`` in the folder; returns what it printed."""

    def run(*arguments: object) -> str:
        return _run(place / "env" / "bin" / "searchapp", *arguments, cwd=place, env=_installed(place))

    return run


def test_what_lies_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"searchapp-{searchapp.__version__}.dist-info"
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert archive.read(f"{info}/licenses/NOTICE") == (ROOT / "NOTICE").read_bytes()
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    folder = ROOT / "searchapp"
    here = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {name for name in names if name.startswith("searchapp/")} == {
        path.relative_to(ROOT).as_posix() for path in here
    }
    assert {"searchapp/py.typed", "searchapp/evaluate/instructions.json", "searchapp/adapt/recipe/small.toml"} <= names
    bundled = (
        "config.json",
        "encoder.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    )
    assert {f"searchapp/models/bundled/{name}" for name in bundled} <= names
    assert {name.split("/")[0] for name in names} == {"searchapp", info}
    assert (metadata["Version"], metadata["License-Expression"]) == (searchapp.__version__, "Apache-2.0")
    assert metadata["Author"] == "searchapp developers"


def test_nothing_of_the_checkout_is_in_reach(place: Path) -> None:
    code = (
        "import importlib.util, searchapp\n"
        "from importlib.metadata import version\n"
        "found = [name for name in ('tests', 'benchmarks', 'training') if importlib.util.find_spec(name)]\n"
        "print(searchapp.__file__, version('searchapp') == searchapp.__version__, found, sep='\\n')"
    )
    lines = _run(place / "env" / "bin" / "python", "-c", code, cwd=place, env=_clean()).splitlines()
    assert Path(lines[0]).is_relative_to(place / "env")
    assert lines[1:] == ["True", "[]"]


def test_build_search_evaluate_and_recipes_work_from_the_wheel(place: Path, program) -> None:
    folder = place / "animals"
    (folder / "qrels").mkdir(parents=True)
    texts = {"bees": "bees fly and make honey in their hives", "fox": "a fox jumps over a lazy dog"}
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": t}) for i, t in texts.items()))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "who makes honey"}))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tbees\t1\n")
    # two commands in one process, which imports torch once; the others by the program that was installed
    code = "import sys\nfrom searchapp.cli import main\n" + "".join(
        f"try:\n    main({command!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        for command in (["build", "animals", "--index", "ix"], ["evaluate", "retrieval", "animals"])
    )
    assert "nDCG@10" in _run(place / "env" / "bin" / "python", "-c", code, cwd=place, env=_installed(place))
    hit = json.loads(program("search", "ix", "who makes honey", "-k", 1, "--json"))
    assert (hit["id"], hit["text"]) == ("bees", texts["bees"])
    recipes = {path.stem for path in (ROOT / "searchapp" / "adapt" / "recipe").glob("*.toml")}
    shown = program("adapt", "recipes")
    assert recipes
    assert all(name in shown for name in recipes)


@pytest.mark.slow
def test_the_demo_works_from_the_wheel(program) -> None:
    shown = program("demo")
    assert "» read a csv file" in shown
    assert "Next:" in shown
    assert "csv" in program("search", "indexes/python-stdlib", "read a csv file", "-k", 1)
