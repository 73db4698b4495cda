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


def test_long_work_says_how_long_and_without_a_terminal_where_it_stands(monkeypatch, clock) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "notice", said.append)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Bar(every=60) as bar:
        bar.stage("loading base")
        bar.stage("mntp", 1_000, "step", done=100)
        for _ in range(10):
            clock[0] += 20.0
            bar.advance(1, loss=2.5, tokens=100)
    assert said == [
        "loading base …",
        "mntp …",
        "mntp: 897 steps to go, about 4 h 59 min (loss 2.5, 5 tokens/s)",
        "mntp: step 106 of 1,000, loss 2.5, 5 tokens/s, about 4 h 58 min left",
        "mntp: step 109 of 1,000, loss 2.5, 5 tokens/s, about 4 h 57 min left",
    ]


def test_on_a_terminal_the_forecast_is_a_line_beside_the_bar(monkeypatch, clock) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "notice", said.append)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar(every=60) as bar:
        bar.stage("mntp", 100, "step")
        for _ in range(10):
            clock[0] += 20.0
            bar.advance(1, loss=2.5, tokens=100)
    assert said == ["mntp: 97 steps to go, about 32 min 20 s (loss 2.5, 5 tokens/s)"]


def test_what_is_over_in_a_moment_gets_no_forecast(monkeypatch, clock) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "notice", said.append)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Bar(every=60) as bar:
        bar.stage("mntp", 10, "step")
        for _ in range(10):
            clock[0] += 2.0
            bar.advance(1)
    assert said == ["mntp …"]
