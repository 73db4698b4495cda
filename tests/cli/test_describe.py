"""What a build prints of time: work and waiting apart, warm and cold apart, nothing where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path

from searchapp.cli.describe import describe_cold, describe_notes, describe_work
from searchapp.index.intake.files import FileCounts


def test_work_and_waiting_are_apart(run, index: Path) -> None:
    seconds = json.loads(run("info", index, "--json").out)["build"]["seconds"]
    for part in ("read", "encode", "index"):
        assert 0 <= seconds[f"{part}_wait"] <= seconds[part] + seconds.get("reduce", 0.0)
        assert seconds[f"{part}_cpu"] >= 0
    said = describe_work(seconds)
    assert said.startswith("read ") and "; encode " in said and "; reduce and index " in said
    made = {"encode": 9.0, "encode_cpu": 6.0, "encode_wait": 2.5, "cpu": 7.0}
    assert describe_work(made) == "encode 6.0 s of CPU, 2.5 s waiting"
    assert describe_work({"encode": 9.0, "cpu": 7.0}) == ""  # of an index made before


def test_warm_and_cold_are_apart() -> None:
    said = {"milliseconds": 1.0, "cold_milliseconds": 6.0, "pages": 100.0, "page_milliseconds": 0.05}
    assert describe_cold({**said, "load_milliseconds": 2_500.0}) == (
        "6.00 ms/query while the vectors are on disk only (100 reads of 50 µs); reading all codes, once, 2.5 s"
    )
    exact = {**said, "cold_milliseconds": 1.0, "pages": 0.0, "load_milliseconds": 40.0}
    assert describe_cold(exact) == "reading the whole index, once, 40 ms"
    assert describe_cold({"milliseconds": 1.0}) == ""


def test_formats_without_a_reader_are_named_with_what_can_be_read() -> None:
    counts = FileCounts()
    for ending in (".msg", ".msg", ".azw3", ".png"):
        counts.count("skipped", f"no reader for {ending}")
    assert list(describe_notes(counts)) == [
        "convert        2 .msg files to .eml, which can be read", "convert        1 .azw3 file to .epub, which can be read",
    ]  # fmt: skip
