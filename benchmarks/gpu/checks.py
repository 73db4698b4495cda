"""``pytest -m gpu``: the tests that a device has to pass, each as a row when it did not."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.gpu.record import Run
from benchmarks.gpu.runner import ROOT, environment


def measure(run: Run) -> None:
    """Run the tests on the run's device."""
    report = run.work / "pytest.xml"
    told = {**environment(run.work), "SEARCHAPP_TEST_DEVICE": run.device, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}",
         *run.shapes.tests],
        cwd=ROOT, env=told, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if not report.exists():
        raise RuntimeError(f"pytest ended with exit status {done.returncode} and no report; log.txt has what it said")
    counts = outcomes(run, report)
    run.row("tests", **counts)
    if done.returncode or not counts["passed"]:
        raise RuntimeError(f"pytest ended with exit status {done.returncode}: {counts}")


def outcomes(run: Run, report: Path) -> dict[str, int]:
    """Count what a JUnit report holds; leave a row for each test that failed or was left out."""
    counts = {"passed": 0, "failed": 0, "left_out": 0}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
        name = f"{case.get('classname', '').rsplit('.', 1)[-1]}::{case.get('name')}"
        found = [(kind, part) for kind in ("failure", "error", "skipped") if (part := case.find(kind)) is not None]
        counts[{"skipped": "left_out"}.get(found[0][0], "failed") if found else "passed"] += 1
        for kind, part in found[:1]:
            said = {"skipped" if kind == "skipped" else "error": part.get("message") or kind}
            run.row(name, **said, **({} if kind == "skipped" else {"traceback": part.text or ""}))
    return counts
