"""The run that answers what a GPU is asked: its every line on a CPU, and parts that hang, die or fail."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.gpu.carry import NEEDED
from benchmarks.gpu.page import DOCUMENT, page
from benchmarks.gpu.parts import BUDGET, NAMED, PARTS, Part
from benchmarks.gpu.runner import run_parts
from benchmarks.gpu.shapes import SHAPES
from tests.bench.lines.sitecustomize import counted

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "benchmarks" / "gpu"
ONLY = "# on a GPU only"
MOST = 10  # statements that only a GPU runs


# What a run in order never comes to, in a process whose lines are noted.
SMALL = """
import sys
from pathlib import Path
from benchmarks.gpu import recipe, setup
from benchmarks.gpu.carry import Need, prepare_faiss
from benchmarks.gpu.checks import outcomes
from benchmarks.gpu.page import page
from benchmarks.gpu.recipe import Saved
from benchmarks.gpu.record import make_run, read_lines
place = Path(sys.argv[1])
run = make_run("checks", "cpu", "tiny", place, place)
report = place / "report.xml"
report.write_text('<s><testcase classname="a.b" name="c"><failure message="not equal">trace</failure></testcase>'
                  '<testcase classname="a.b" name="d"><skipped message="no card"/></testcase></s>')
assert outcomes(run, report) == {"passed": 0, "failed": 1, "left_out": 1}
with run.rows.open("a") as file:
    file.write('{"what": "cut sh')
failed, left = read_lines(run.rows)
assert failed == {"what": "b::c", "error": "not equal", "traceback": "trace"} and left["skipped"] == "no card"
assert read_lines(place / "nothing") == []
setup.NEEDED = (Need("no_such_module", "no-such", "nothing"), Need("json", "torch", "json"))
lines = setup.packages(run)["missing"]
assert lines == ["missing: no-such (ModuleNotFoundError: No module named 'no_such_module'), for nothing; "
                 "python -m benchmarks.gpu carry"], lines
row = {"what": "8B: searchapp, packed", "of_matmul_rate": 0.5}
record = {"part": "encode", "device": "cuda", "shapes": "full", "seconds": 1.0, "figures": [row], "error": "died of X"}
assert "| 0.5 |" in page([record]) and "Failed: died of X" in page([record])
assert prepare_faiss(place / "fresh" / "faissgpu", place / "nowhere") == [], "it is there already"
assert "name the kit's folder with --kit" in prepare_faiss(place / "other", place / "nowhere")[0]
class Listed:
    # its files are removed between their listing and the look at them
    def rglob(self, name):
        return [place / "removed" / "run.json"]
saved = Saved(Listed(), place)
saved.look()
assert saved.figures() == {"times_saved": 0, "pieces": 0, "bytes": 0, "left_out": 0}
(place / "made").mkdir()
(place / "made" / "run.json").write_text("{}")
recipe.PIECES = 0
saved = Saved(place / "made", place)
saved.look()
assert saved.figures()["left_out"] == 1, "there is room for nothing"
"""


@dataclass
class Place:
    """Where a run is made: its environment, and what it leaves."""

    out: Path
    lines: Path
    environment: dict[str, str]

    def python(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=ROOT, env={**self.environment, **environment}, text=True,
            capture_output=True,
        )  # fmt: skip


def make_wheel(folder: Path) -> None:
    """A wheel of one module, as one is carried."""
    folder.mkdir(parents=True)
    about = "carried_thing-1.0.dist-info"
    with zipfile.ZipFile(folder / "carried_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried_thing.py", "VALUE = 1\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: carried-thing\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "carried_thing.py,,\n")


def make_kit(folder: Path) -> None:
    """What a carried FAISS looks like from outside: a script that unpacks to SITE and says with what it is used."""
    folder.mkdir(parents=True)
    (folder / "assemble.sh").write_text(
        'set -eu\nmkdir -p "$SITE"\n'
        'echo "export PYTHONPATH=$SITE${PYTHONPATH:+:$PYTHONPATH}" > "$SITE/env.sh"\n'
        'echo "export FAISS_CUBLAS13=/nowhere/libcublas.so.13" >> "$SITE/env.sh"\n'
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("gpu")
    carried = folder / "carried"
    make_wheel(carried / "wheels")
    make_kit(carried / "faissgpu" / "p1")
    environment = {
        **os.environ,
        "SEARCHAPP_LINES": str(folder / "lines"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "bench" / "lines"), str(ROOT)]),
        "GPU_CARRY": str(carried),
        "PYTEST_ADDOPTS": "",
    }
    return Place(folder / "out", folder / "lines", environment)


@pytest.fixture(scope="module")
def whole(place: Place) -> subprocess.CompletedProcess[str]:
    """`make gpu` over tiny shapes on the CPU."""
    return subprocess.run(
        ["make", "gpu", "SHAPES=tiny", "DEVICE=cpu", f"OUT={place.out}", f"PYTHON={sys.executable}", "PART="],
        cwd=ROOT, env=place.environment, text=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def faulty(place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Parts that hang, die, raise and fail by half, and one that is sound; every one in a run of its own but together."""
    out = tmp_path_factory.mktemp("faulty")
    names = ("hangs", "dies", "raises", "half", "sound")
    parts = ", ".join(f"Part({name!r}, 'tests.bench.faulty', {1.5 if name == 'hangs' else 30}, '')" for name in names)
    code = (
        "import json, sys; from pathlib import Path\n"
        "from benchmarks.gpu.parts import Part; from benchmarks.gpu.runner import run_parts\n"
        f"run_parts([{parts}], 'cpu', 'tiny', Path(sys.argv[1]), budget=60)\n"
        f"run_parts([Part('late', 'tests.bench.faulty', 30, '')], 'cpu', 'tiny', Path(sys.argv[1]), budget=0.1)\n"
    )
    done = place.python("-c", code, out)
    assert done.returncode == 0, done.stderr
    return out, [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(place: Place, whole: subprocess.CompletedProcess[str]) -> None:
    records = [json.loads(line) for line in (place.out / "results.jsonl").read_text().splitlines()]
    failed = [row for record in records for row in (record, *record["figures"]) if "error" in row]
    assert not failed, json.dumps(failed, indent=1)
    assert whole.returncode == 0, whole.stderr
    assert [record["part"] for record in records] == [part.name for part in PARTS]
    assert {(record["device"], record["shapes"]) for record in records} == {("cpu", "tiny")}
    assert all(record["seconds"] > 0 and record["figures"] for record in records)
    skipped = [row["what"] for record in records for row in record["figures"] if "skipped" in row]
    assert skipped == ["8B: searchapp, padded, flash_attention_2"]
    assert all(row.get("agrees", True) for record in records for row in record["figures"])
    assert len(list(place.out.iterdir())) <= 8
    assert "`" not in whole.stdout and all(f"{part.name} on cpu, tiny shapes" in whole.stdout for part in PARTS)
    assert "| 8B encode, compiled | ≥ 0.80 | not yet run |" in (place.out / "gpu.md").read_text(), "tiny is no figure"


@pytest.mark.slow
def test_every_line_runs_but_those_of_a_gpu(
    place: Place, whole: subprocess.CompletedProcess[str], faulty: object, tmp_path: Path
) -> None:
    """With the commands beside `run`, which need neither torch nor a network to be tried."""
    results = place.out / "results.jsonl"
    assert place.python("-m", "benchmarks.gpu", "page", results, "--to", tmp_path / "gpu.md").returncode == 0
    refused = place.python("-m", "benchmarks.gpu", "run", "--part", "nonsense", "--out", tmp_path)
    assert refused.returncode == 2 and "no part 'nonsense'; expected one of setup" in refused.stderr
    kit = tmp_path / "kit"
    kit.mkdir()
    (kit / "prepare.sh").write_text('mkdir -p "$1/p1" && echo part > "$1/p1/part"\n')
    done = place.python(
        "-m", "benchmarks.gpu", "carry", "--to", tmp_path / "fresh", "--kit", kit, PIP_NO_INDEX="1", PIP_FIND_LINKS=""
    )
    assert done.returncode == 1 and "the checkout" in done.stdout and "faissgpu/p1" in done.stdout
    assert "bm25s has no wheel for Python 3.12" in done.stderr
    small = place.python("-c", SMALL, tmp_path)
    assert small.returncode == 0, small.stderr
    ran = set(place.lines.read_text().split())
    unseen, special = [], []
    for path in sorted(PACKAGE.glob("*.py")):
        if path.name in ("__main__.py", "__init__.py", "load.py"):  # started as programs, by the run itself
            continue
        lines = path.read_text().splitlines()
        for node in counted(ast.parse(path.read_text())):
            if any(ONLY in line for line in lines[node.lineno - 1 : node.end_lineno]) and not hasattr(node, "body"):
                special.append(f"{path.name}:{node.lineno}")
            elif f"{path.name}:{node.lineno}" not in ran and not isinstance(node, ast.Raise):
                unseen.append(f"{path.name}:{node.lineno} {lines[node.lineno - 1].strip()}")
    assert not unseen, "\n".join(unseen)
    assert 0 < len(special) <= MOST
    assert not set(special) & ran


def test_what_hangs_dies_or_fails_loses_only_itself(faulty: tuple[Path, list[dict]]) -> None:
    out, found = faulty
    records = {record["part"]: record for record in found}
    assert list(records) == ["hangs", "dies", "raises", "half", "sound", "late"]
    for name in ("hangs", "dies", "raises", "half", "sound"):
        first = records[name]["figures"][0]
        assert first == {"what": "before", "value": 1.5, "none": None, "nested": {"list": [1, True, "text"]}}
    assert records["hangs"]["error"] == "ran past its limit of 6 s and was killed"
    assert records["dies"]["error"] == "died of SIGKILL"
    assert records["raises"]["error"] == "ValueError: what the part says"
    assert "faulty.py" in records["raises"]["traceback"]
    half = records["half"]["figures"]
    assert (
        "error" not in records["half"] and "ZeroDivisionError" in half[1]["error"] and "lambda" in half[1]["traceback"]
    )
    assert half[2] == {"what": "is left out", "skipped": "nothing to measure with"} and half[3]["figure"] == 2
    assert "error" not in records["sound"]
    assert records["late"]["error"].startswith("not begun") and records["late"]["figures"] == []
    child = int((out / "child").read_text())
    deadline = time.time() + 10
    while Path(f"/proc/{child}").exists() and time.time() < deadline:
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists(), "what a part had started lives on"
    assert "died of SIGKILL" in (out / "table.txt").read_text()


def test_a_run_that_is_stopped_stops_its_part(tmp_path: Path) -> None:
    part = Part("hangs", "tests.bench.faulty", 60, "")
    code = (
        "import sys; from pathlib import Path; from benchmarks.gpu.parts import Part\n"
        "from benchmarks.gpu.runner import run_parts\n"
        f"run_parts([{part!r}], 'cpu', 'tiny', Path(sys.argv[1]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        time.sleep(0.05)
    process.send_signal(2)
    process.wait(20)
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    time.sleep(0.2)
    assert not child.exists() or child.read_text().split()[2] == "Z"


@pytest.mark.slow
def test_what_a_device_has_to_pass_passes_on_a_cpu() -> None:
    """All that `pytest -m gpu` runs in full shapes; tiny ones leave out the builds that are killed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *SHAPES["full"].tests],
        cwd=ROOT, env={**os.environ, "SEARCHAPP_TEST_DEVICE": "cpu", "PYTEST_ADDOPTS": ""}, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout


def test_the_limits_fit_into_nine_minutes() -> None:
    assert sum(part.limit for part in PARTS) <= BUDGET == 540
    assert all(PARTS[0].limit + part.limit <= BUDGET for part in NAMED)
    assert PARTS[0].name == "setup" and len({part.name for part in PARTS}) == len(PARTS)


def test_the_page_claims_nothing_without_a_record() -> None:
    text = page([])
    assert text.count("not yet run.") == len(PARTS) + len(NAMED)
    asked = [line for line in text.splitlines() if line.endswith("| not yet run |")]
    assert len(asked) == 9 and any("sentence-transformers | ≥ 1.5 × |" in line for line in asked)
    written = (ROOT / DOCUMENT).read_text()
    assert "## Goals" in written and all(f"## {part.name}" in written for part in (*PARTS, *NAMED))


def test_a_figure_of_a_card_reaches_the_goals() -> None:
    row = {"what": "8B: searchapp, packed", "of_matmul_rate": 0.7654}
    record = {"part": "encode", "device": "cuda", "shapes": "full", "seconds": 1.0, "figures": [row]}
    assert "| 8B encode, of the matmul rate | ≥ 0.70 | 0.7654 |" in page([record])
    assert "| 8B encode, compiled | ≥ 0.80 | no figure |" in page([record])
    assert "0.7654 |\n| 8B encode, compiled" not in page([{**record, "shapes": "tiny"}])


def test_the_needed_packages_are_those_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    known = {item.package.lower().replace("-", "_") for item in NEEDED}
    for line in project:
        name = line.split(">")[0].lower().replace("-", "_")
        assert name in known, f"{name} may be missing on a GPU machine, and nothing says so"


def test_results_of_runs_are_added_to_one_file(tmp_path: Path) -> None:
    part = Part("sound", "tests.bench.faulty", 30, "")
    for _ in range(2):
        run_parts([part], "cpu", "tiny", tmp_path)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2
