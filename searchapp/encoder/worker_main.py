"""The program of a worker: an encoder in a process of its own, asked over its standard input."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import numpy as np

from searchapp.encoder.encoder import Encoder
from searchapp.encoder.window import EncodeInput
from searchapp.errors import ModelError


def main() -> None:
    """Serve one parent until it closes our standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends us
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that nothing a library prints gets between the vectors

    def answer(message: dict[str, Any], content: bytes = b"") -> None:
        answers.write(json.dumps(message).encode() + b"\n" + content)
        answers.flush()

    try:
        encoder = Encoder.load(**json.loads(sys.stdin.readline()))
        answer({"ready": True})
        for line in sys.stdin:
            task = json.loads(line)
            vectors, tokens = encoder.compute([EncodeInput(*item) for item in task["inputs"]], task["most"])
            content = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
            answer({"rows": len(vectors), "dim": encoder.dim, "tokens": tokens}, content)
    except Exception as error:  # told to the parent, which knows what to do
        answer({"error": f"{type(error).__name__}: {error}" if not isinstance(error, ModelError) else str(error)})
