"""The cache of vectors: only what is new is encoded, another encoder never finds it, it is bounded and survives a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.cache import FILE, VectorCache
from searchapp.errors import SearchAppError

TEXTS = ["bees fly", "make honey", "the quick brown fox", "bees fly", ""]


def test_only_what_is_new_is_encoded(tiny_model: Path, tmp_path: Path) -> None:
    first = Encoder.load(str(tiny_model), cache=tmp_path)
    plain = Encoder.load(str(tiny_model)).encode_counted(TEXTS)
    one = first.encode_counted(TEXTS)
    again = Encoder.load(str(tiny_model), cache=tmp_path).encode_counted(TEXTS)
    assert (one.tokens, again.tokens) == (plain.tokens, 0)
    np.testing.assert_array_equal(one.vectors, plain.vectors)
    np.testing.assert_array_equal(again.vectors, plain.vectors)
    more = first.encode_counted([*TEXTS, "something new"])
    assert 0 < more.tokens < plain.tokens
    np.testing.assert_array_equal(more.vectors[: len(TEXTS)], plain.vectors)
    raw = Encoder.load(str(tiny_model)).encode(TEXTS, normalize=False)
    np.testing.assert_allclose(first.encode(TEXTS, normalize=False), raw, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"pooling": "last_token"}, {"dtype": "bfloat16"}, {"bidirectional": False}, {"max_length": 3}]
)
def test_another_encoder_finds_nothing(tiny_model: Path, tmp_path: Path, options: dict) -> None:
    Encoder.load(str(tiny_model), cache=tmp_path).encode(TEXTS)
    other = Encoder.load(str(tiny_model), cache=tmp_path, **options)
    assert other.encode_counted(TEXTS).tokens == Encoder.load(str(tiny_model), **options).encode_counted(TEXTS).tokens


def test_an_instruction_makes_another_key(tiny_model: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(tiny_model), cache=tmp_path)
    encoder.encode("bees fly")
    assert encoder.encode_counted("bees fly", "find:").tokens
    assert (
        len({VectorCache.key("scope", *pair) for pair in [("ab", "c"), ("b", "ca"), ("bc", "a"), ("abc", None)]}) == 4
    )


def test_it_is_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, limit=200_000)
    keys = [cache.key("s", str(number), None) for number in range(2_000)]
    vectors = np.random.default_rng(0).random((2_000, 64), dtype=np.float32)
    for begin in range(0, 2_000, 100):
        cache.write(keys[begin : begin + 100], vectors[begin : begin + 100])
    found = cache.read(keys)
    assert 0 < len(found) < 1_000
    assert 1_999 in found
    assert 0 not in found
    for number, vector in found.items():
        np.testing.assert_array_equal(vector, vectors[number])
    assert (tmp_path / FILE).stat().st_size < 300_000


def test_two_processes_at_once_and_one_killed(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from searchapp.encoder.cache import VectorCache\n"
        "from pathlib import Path\n"
        "cache = VectorCache(Path(sys.argv[1]))\n"
        "number = 0\n"
        "while number < int(sys.argv[3]):\n"
        "    cache.write([cache.key(sys.argv[2], str(number), None)], np.full((1, 8), number, np.float32))\n"
        "    number += 1\n"
        "    print(number, flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    endless = subprocess.Popen([*command, "a", "1000000"], stdout=subprocess.PIPE, text=True)
    other = subprocess.Popen([*command, "b", "200"], stdout=subprocess.PIPE, text=True)
    other.communicate(timeout=120)
    for _ in range(50):
        endless.stdout.readline()
    endless.send_signal(signal.SIGKILL)
    endless.communicate()
    assert other.returncode == 0
    cache = VectorCache(tmp_path)
    for name, count in (("a", 50), ("b", 200)):
        found = cache.read([cache.key(name, str(number), None) for number in range(count)])
        assert [found[number][0] for number in range(count)] == list(range(count))


def test_a_build_after_a_small_change_costs_the_change(tiny_model: Path, tmp_path: Path, run) -> None:
    source = tmp_path / "docs.jsonl"
    rows = [f'{{"_id": "d{number}", "text": "bees fly {number} times"}}' for number in range(30)]
    command = ["build", source, "--model", tiny_model, "--cache", tmp_path / "kept", "--index"]
    made = []
    for name, count in (("one", 29), ("two", 30)):
        source.write_text("\n".join(rows[:count]) + "\n")
        assert run(*command, tmp_path / name).code == 0
        made.append(json.loads(run("info", tmp_path / name, "--json").out)["build"])
    assert made[0]["tokens"] > 10 * made[1]["tokens"] > 0


def test_a_damaged_cache_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(SearchAppError, match=r"cannot be used .*delete it"):
        VectorCache(tmp_path)
    with pytest.raises(SearchAppError, match="cannot be made"):
        VectorCache(tmp_path / FILE / "below")
