"""What loading an encoder costs beside transformers' own loading and one pass over 32 tokens, and its peak memory.

    python benchmarks/loading.py MODEL [--dtype float32] [--rounds 3]

Each measurement is a new process that has imported torch and transformers. In turn: transformers' tokenizer and model
by ``from_pretrained`` and one pass; ``Encoder.load`` with its fingerprint and an empty cache of the user; the same with
what that has left there. CPU seconds of one thread; the least of the rounds, and the ratio of these.

Memory is sampled from outside, in processes of their own: anonymous memory at its peak beyond what the code took, over
the bytes of the weights in the precision taken; and what of the weights stays mapped from the file. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PASS = 32  # tokens


def child(model: str, dtype: str, way: str, memory: bool) -> None:
    """Load in this process, between two lines on standard output: when it begins, and what it took."""
    import torch
    import transformers

    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if memory:  # what the code itself takes is no part of it
        with torch.device("meta"):
            transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(model))
    print(f"ready {transformers.__version__}", flush=True)
    sys.stdin.readline()
    wall, cpu = time.perf_counter(), time.process_time()
    if way == "theirs":
        from transformers import AutoModel, AutoTokenizer

        AutoTokenizer.from_pretrained(model)
        loaded = AutoModel.from_pretrained(model, dtype=getattr(torch, dtype))
        with torch.inference_mode():
            loaded(input_ids=torch.arange(PASS)[None] + 5, use_cache=False)
    else:
        from searchapp import Encoder

        encoder = Encoder.load(model, dtype=dtype, fingerprint=True)
        loaded, _ = encoder.model, encoder.fingerprint
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    size = sum(item.numel() * item.element_size() for item in loaded.parameters())
    print(json.dumps({**took, "weights": size}), flush=True)
    sys.stdin.readline()


def measured(model: str, dtype: str, way: str, cache: Path, *, memory: bool = False) -> dict[str, Any]:
    """What one new process took; with ``memory`` also bytes of its anonymous memory at its peak and of mapped files."""
    process = subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, __file__, model, "--dtype", dtype, "--child", way, *["--memory"] * memory],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        env={**os.environ, "SEARCHAPP_CACHE": str(cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    process.stdout.readline()
    before = resident(process.pid)
    process.stdin.write("\n")
    peak = before["RssAnon"]
    if memory:
        os.set_blocking(process.stdout.fileno(), False)
        while not (line := process.stdout.readline()):
            if process.poll() is not None:
                raise RuntimeError(f"{way} ended with exit code {process.returncode}")
            peak = max(peak, resident(process.pid)["RssAnon"])
            time.sleep(0.001)
    else:
        line = process.stdout.readline()
    after = resident(process.pid)
    process.stdin.write("\n")
    process.stdin.close()
    process.wait()
    grown = {"peak": peak - before["RssAnon"], "kept": after["RssAnon"] - before["RssAnon"]}
    return {**json.loads(line), **grown, "mapped": after["RssFile"] - before["RssFile"]}


def resident(process_id: int) -> dict[str, int]:
    """Bytes of a process that are in memory, by kind."""
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss")}


def main() -> None:
    """Measure in turn and print."""
    parser = argparse.ArgumentParser(description="The cost of loading a model beside transformers' own.")
    parser.add_argument("model", type=str)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.model, asked.dtype, asked.child, asked.memory)
        return
    rows: dict[str, list[dict[str, Any]]] = {"theirs": [], "first": [], "known": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.rounds):
            for way, found in rows.items():
                found.append(measured(asked.model, asked.dtype, way, Path(folder) / str(number)))
        least = {way: min(row["cpu"] for row in found) for way, found in rows.items()}
        for way in rows:
            print(f"{way}: {least[way]:.2f} s of CPU, {least[way] / least['theirs']:.2f} x theirs", flush=True)
        for way, cache in (("theirs", "0"), ("first", "m"), ("known", "m")):
            row = measured(asked.model, asked.dtype, way, Path(folder) / cache, memory=True)
            print(
                f"{way}: peak of anonymous memory {row['peak'] / 1e6:.0f} MB, {row['peak'] / row['weights']:.2f} x the "
                f"weights ({row['weights'] / 1e6:.0f} MB); kept {row['kept'] / 1e6:.0f} MB, "
                f"mapped {row['mapped'] / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()
