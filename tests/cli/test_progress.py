"""The bar: rates are of what this run did in the time of this run."""

from __future__ import annotations

import io
import sys

import pytest

from searchapp.cli import progress as module
from searchapp.cli.progress import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Seconds that pass only when they are told to, for the bar and for tqdm."""
    import time

    from tqdm import std

    now = [1_000.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(std, "time", lambda: now[0])
    assert time.perf_counter() == 1_000.0
    return now


@pytest.mark.parametrize("done", [0, 900])
def test_rates_count_the_steps_and_the_time_of_this_run_alone(monkeypatch, clock, done: int) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar() as bar:
        bar.stage("mntp", 1_000, "step", done=done)
        for _ in range(10):
            clock[0] += 2.0
            bar.advance(1, loss=0.5, tokens=100)
        shown = bar._bar.format_dict
        assert shown["n"] == done + 10
        assert shown["rate"] == pytest.approx(0.5)  # a step in 2 seconds
        assert bar._bar.postfix == "loss 0.5, 50 tokens/s"


def test_the_first_step_takes_its_time_too(monkeypatch, clock) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar() as bar:
        bar.stage("mntp", 100, "step", done=40)
        clock[0] += 8.0
        bar.advance(1, loss=0.5, tokens=80)
        assert bar._bar.format_dict["rate"] == pytest.approx(1 / 8)
        assert bar._bar.postfix == "loss 0.5, 10 tokens/s"


@pytest.mark.parametrize(("options", "said"), [({}, "mining …\n"), ({"lines": False}, ""), ({"keep": False}, "")])
def test_without_a_terminal_a_stage_is_a_line_or_nothing(monkeypatch, options: dict[str, bool], said: str) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Bar(**options) as bar:
        bar.stage("mining", unit="query")
        bar.advance(10)
    assert sys.stderr.getvalue() == said
