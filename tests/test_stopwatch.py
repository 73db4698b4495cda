"""A stopwatch tells work from waiting, whichever thread works."""

from __future__ import annotations

import threading
import time

import pytest

from searchapp import stopwatch
from searchapp.stopwatch import Elapsed, Stopwatch


def _work(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.fixture(params=["the system's threads", "Python's", "this one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path) -> str:
    if request.param != "the system's threads":
        monkeypatch.setattr(stopwatch, "TASKS", tmp_path / "none")
    if request.param == "this one":
        monkeypatch.delattr(time, "pthread_getcpuclockid", raising=False)
    return request.param


def test_sleep_is_waiting_and_work_is_not(way: str) -> None:
    watch = Stopwatch()
    time.sleep(0.1)
    _work(0.1)
    found = watch.read()
    assert found.clock >= 0.2
    assert 0.1 <= found.cpu <= found.clock + 0.01
    assert 0.09 <= found.waiting <= found.clock - 0.09


def test_work_of_another_thread_is_no_waiting(way: str) -> None:
    over, go = threading.Event(), threading.Event()

    def run() -> None:
        _work(0.1)
        over.set()
        go.wait()  # a thread that has ended is not seen

    worker = threading.Thread(target=run)
    watch = Stopwatch()
    worker.start()
    over.wait()
    found = watch.read()
    go.set()
    worker.join()
    assert found.cpu >= 0.1
    if way != "this one":
        assert found.waiting <= found.clock - 0.09


def test_times_add_up() -> None:
    assert Elapsed(1, 2, 0.5) + Elapsed(3, 4, 0.25) == Elapsed(4, 6, 0.75)
