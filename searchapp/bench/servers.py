"""Servers as programs of their own, on ports of this machine: started, waited for, ended, and what they cost."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from searchapp.errors import SearchAppError

OURS, FASTAPI, SENTENCES, INFINITY = "searchapp", "fastapi", "sentence-transformers", "infinity"
RIVALS = (FASTAPI, SENTENCES, INFINITY)
START = 120.0  # seconds a server has to be ready
EMBEDDINGS = {INFINITY: "/embeddings"}  # where it is not OpenAI's path


@dataclass
class Program:
    """A server that runs."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Seconds of processor time so far, of all its threads; nan where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def embeddings(self) -> str:
        """The path of its embeddings."""
        return EMBEDDINGS.get(self.name, "/v1/embeddings")

    def post(self, path: str, body: Any) -> Any:
        """The JSON of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, json.dumps(body).encode(), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status != 200:
            raise SearchAppError(f"the server {self.name} answers {path} with {answer.status}: {text[:200]!r}")
        return json.loads(text)


def check_rivals(rivals: Sequence[str], infinity: Path | None) -> None:
    """Raise SearchAppError for one that is unknown or not installed."""
    for name in rivals:
        if name not in RIVALS:
            raise SearchAppError(f"rival {name!r} is unknown; expected {', '.join(RIVALS)}")
    needed = {FASTAPI: ("fastapi",), SENTENCES: ("fastapi", "sentence_transformers")}
    for name in rivals:
        if missing := [module for module in needed.get(name, ()) if find_spec(module) is None]:
            packages = " ".join(missing).replace("_", "-")
            raise SearchAppError(f"the rival {name} needs {packages}; `pip install {packages}`, or leave it out")
    if INFINITY in rivals and (infinity is None or not infinity.is_file()):
        raise SearchAppError(
            "infinity needs an environment of its own: `python -m venv ENV && ENV/bin/pip install "
            "'infinity-emb[server,torch]'`, then --infinity ENV/bin/infinity_emb"
        )


def ours(directory: Path) -> list[str]:
    """The command of our own server; ``{port}`` stands for the port."""
    return [sys.executable, "-m", "searchapp", "serve", str(directory), "--port", "{port}"]


def rival(*words: str) -> list[str]:
    """The command of a server of ``searchapp.bench.serving_rivals``."""
    kind, place, *more = words
    return [sys.executable, "-m", "searchapp.bench.serving_rivals", kind, place, "{port}", *more]


def infinity(program: Path, folder: Path, model: str) -> list[str]:
    """The command of infinity, which is in an environment of its own."""
    return [
        str(program), "v2", "--model-id", str(folder), "--port", "{port}", "--host", "127.0.0.1",
        "--device", "cpu", "--engine", "torch", "--no-bettertransformer", "--served-model-name", model,
    ]  # fmt: skip


def with_older_names(folder: Path) -> Path:
    """A sentence-transformers folder with the names that versions before 6, as infinity has them, know."""
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].rpartition('.')[2]}"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, "tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": settings.get("model_max_length", 512), "do_lower_case": False}), encoding="utf-8"
    )
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file():
        known = json.loads(pooling.read_text(encoding="utf-8"))
        if "pooling_mode" in known:
            mode = {f"pooling_mode_{known['pooling_mode']}_tokens": True}
            width = known.get("embedding_dimension", known.get("word_embedding_dimension"))
            pooling.write_text(json.dumps({"word_embedding_dimension": width, **mode}), encoding="utf-8")
    return folder


@contextmanager
def started(name: str, words: Sequence[str], threads: int) -> Iterator[Program]:
    """A server, from when it answers until the end of the block. Raises SearchAppError where it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if name == INFINITY:
        environment.pop("PYTHONPATH", None)  # packages of this environment are none of its own
        environment |= {"HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - our own words, and a program that the user has named
            [word.format(port=port) for word in words], stdout=said, stderr=said, env=environment
        )
        try:
            _wait(name, process, port)
            if process.poll() is not None:
                said.seek(0)
                lines = said.read().decode("utf-8", "replace").strip().splitlines() or ["it says nothing"]
                raise SearchAppError(f"the server {name} did not start: {lines[-1]}")
            yield Program(name, port, process)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START
    path = {OURS: "/readyz", INFINITY: "/health"}.get(name, "/openapi.json")
    while process.poll() is None:
        if time.monotonic() > until:
            raise SearchAppError(f"the server {name} is not ready after {START:g} s; try again on a quieter machine")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
