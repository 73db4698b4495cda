"""Nothing is reported to anybody: the libraries' switches are set in time, and the program opens no connection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from searchapp import telemetry

# Every way out of a Python process by a socket; what is tried is written down too, because a library may catch the error.
FORBIDDEN = """
import socket, sys
tried = []
def forbid(*arguments, **named):
    tried.append(str(arguments[1:]))
    raise OSError("a connection was tried")
class Forbidden(socket.socket):
    connect = connect_ex = sendto = forbid
socket.socket = Forbidden
socket.create_connection = socket.getaddrinfo = forbid
"""
RUN = (
    FORBIDDEN
    + """
import json, time
from searchapp.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as stop:
        assert stop.code == 0, arguments
time.sleep(0.5)  # for what a thread of a library would send in the background
print("TRIED", tried, file=sys.stderr)
"""
)
NAMES = (
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "CI",
    "TF_BUILD",
    "JENKINS_URL",
    *telemetry.SWITCHES,
)


def _online(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set nothing, with a home folder of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    return {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def _run(tmp_path: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=_online(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """A test collection of two documents and a query."""
    folder = tmp_path / "animals"
    (folder / "qrels").mkdir(parents=True)
    texts = {"bees": "bees fly and make honey in their hives", "fox": "a fox jumps over a lazy dog"}
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": t}) for i, t in texts.items()))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "who makes honey"}))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tbees\t1\n")
    return folder


def test_build_search_and_evaluate_with_sockets_forbidden(tmp_path: Path, animals: Path) -> None:
    ix = str(tmp_path / "ix")
    commands = [
        ["build", str(animals), "--index", ix],
        ["search", ix, "who makes honey", "--hybrid"],
        ["evaluate", "retrieval", str(animals), "--hybrid"],
    ]
    done = _run(tmp_path, RUN, json.dumps(commands))
    assert all(word in done.stdout for word in ("recall@10", "bees fly and make honey", "nDCG@10"))
    assert done.stderr.splitlines()[-1] == "TRIED []"


def test_the_test_sees_a_connection(tmp_path: Path) -> None:
    code = FORBIDDEN + (
        "import urllib.request\n"
        "try:\n    urllib.request.urlopen('http://127.0.0.1:9/')\n"
        "except OSError:\n    pass\n"
        "print(len(tried))"
    )
    assert int(_run(tmp_path, code).stdout) >= 1


def test_the_switches_are_set_before_the_libraries_are_imported(tmp_path: Path) -> None:
    code = (
        "import sys, searchapp\n"
        "assert not {'huggingface_hub', 'transformers', 'datasets'} & set(sys.modules)\n"
        "import datasets.config, huggingface_hub.constants\n"
        "print(huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY, datasets.config.HF_UPDATE_DOWNLOAD_COUNTS)"
    )
    assert _run(tmp_path, code).stdout.split() == ["True", "False"]


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    telemetry.switch_off()
    assert (os.environ["HF_HUB_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"]) == ("0", "1")


def test_openvino_reports_nothing(tmp_path: Path, tiny_model: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    code = FORBIDDEN + (
        "from searchapp import Encoder\n"
        "import time\n"
        f"vectors = Encoder.load({str(tiny_model)!r}, backend='openvino').encode(['bees'])\n"
        "time.sleep(1)\n"
        "print(vectors.shape[0], tried, sys.modules['openvino_telemetry'], 'openvino.tools.ovc.telemetry_stub' in sys.modules)"
    )
    assert _run(tmp_path, code).stdout.splitlines()[-1] == "1 [] None True"
    assert not (tmp_path / "intel").exists()  # where openvino_telemetry keeps its id
