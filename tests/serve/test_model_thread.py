"""The model's thread: it batches queries, slices the rest, lets none starve, and survives what it is given."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from searchapp.encoder.window import EncodeInput
from searchapp.serve.limits import Limits
from searchapp.serve.model_thread import Lane, ModelThread, Ticket
from searchapp.serve.problem import ProblemError


class Made:
    """An encoder whose vectors are the lengths of texts; it notes its batches, waits when told, and hates poison."""

    dim, document_reach = 2, 100

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.seconds = 0.0

    def tokenize(self, inputs):
        return [Tokens(len(item.text)) for item in inputs]

    def embed(self, items):
        self.gate.wait(10)
        time.sleep(self.seconds)
        return np.array([[item.count, 1.0] for item in items], dtype=np.float32)

    def document_tokens(self, texts):
        return np.array([len(text) for text in texts])


class Tokens:
    def __init__(self, count: int) -> None:
        self.count, self.start, self.end = count, 0, min(count, 100)
        self.ids = np.zeros(min(count, 100), dtype=np.int32)


class Noting(Made):
    def tokenize(self, inputs):
        self.batches.append([item.text for item in inputs])
        if any(item.text == "poison" for item in inputs):
            raise ValueError("poison")
        return super().tokenize(inputs)


def inputs(*texts: str) -> list[EncodeInput]:
    return [EncodeInput(text, None) for text in texts]


@pytest.fixture
def thread():
    made = ModelThread(Limits(batch_texts=8))
    yield made
    made.stop()
    assert not made.is_alive


def hold(thread: ModelThread, encoder: Noting):
    """Keep the thread busy until the gate opens, so that what comes meanwhile waits."""
    encoder.gate.clear()
    future = thread.submit(Lane.QUERY, encoder, inputs("first"), Ticket())
    while not encoder.batches:
        time.sleep(0.001)
    return future


def test_queries_that_wait_are_one_batch_and_equal_ones_are_encoded_once(thread: ModelThread) -> None:
    encoder = Noting()
    hold(thread, encoder)
    futures = [thread.submit(Lane.QUERY, encoder, inputs(text), Ticket()) for text in ("aa", "bbb", "aa", "c")]
    encoder.gate.set()
    results = [future.result(5) for future in futures]
    assert encoder.batches[1] == ["aa", "bbb", "c"]
    for text, result in zip(("aa", "bbb", "aa", "c"), results, strict=True):
        expected = np.array([len(text), 1.0]) / np.hypot(len(text), 1)
        np.testing.assert_allclose(result.vectors[0], expected, rtol=1e-6)
        assert result.tokens.tolist() == [len(text)]


def test_a_query_passes_a_long_job_between_slices(thread: ModelThread) -> None:
    encoder = Noting()
    encoder.seconds = 0.01
    long = thread.submit(Lane.BULK, encoder, inputs(*(f"text {number}" for number in range(200))), Ticket())
    while not encoder.batches:
        time.sleep(0.001)
    query = thread.submit(Lane.QUERY, encoder, inputs("query"), Ticket())
    query.result(5)
    assert not long.done()
    place = encoder.batches.index(["query"])
    assert place <= len(encoder.batches) and len(encoder.batches) < 25
    assert len(long.result(20).vectors) == 200


def test_a_small_job_does_not_wait_for_a_large_one_of_its_lane(thread: ModelThread) -> None:
    encoder = Noting()
    encoder.seconds = 0.01
    long = thread.submit(Lane.BULK, encoder, inputs(*(f"text {number}" for number in range(200))), Ticket())
    small = thread.submit(Lane.BULK, encoder, inputs("small"), Ticket())
    small.result(5)
    assert not long.done()
    assert len(long.result(20).vectors) == 200


def test_no_lane_starves(thread: ModelThread) -> None:
    encoder = Noting()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            thread.submit(Lane.QUERY, encoder, inputs(f"q{time.monotonic()}"), Ticket()).result(5)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        assert len(thread.submit(Lane.BACKGROUND, encoder, inputs("low"), Ticket()).result(5).vectors) == 1
    finally:
        stop.set()
        for asker in askers:
            asker.join()


def test_one_text_that_fails_takes_no_other_with_it(thread: ModelThread) -> None:
    encoder = Noting()
    hold(thread, encoder)
    good = thread.submit(Lane.QUERY, encoder, inputs("good"), Ticket())
    bad = thread.submit(Lane.QUERY, encoder, inputs("poison"), Ticket())
    encoder.gate.set()
    assert len(good.result(5).vectors) == 1
    with pytest.raises(ValueError, match="poison"):
        bad.result(5)
    bulk = thread.submit(Lane.BULK, encoder, inputs(*["x"] * 20, "poison", *["y"] * 20), Ticket())
    with pytest.raises(ValueError, match="poison"):
        bulk.result(5)
    assert thread.is_alive and thread.waiting(Lane.BULK) == 0
    assert len(thread.submit(Lane.QUERY, encoder, inputs("after"), Ticket()).result(5).vectors) == 1


def test_what_was_given_up_or_is_too_late_is_not_encoded(thread: ModelThread) -> None:
    encoder = Noting()
    hold(thread, encoder)
    left, late = Ticket(), Ticket(deadline=time.monotonic() + 0.01)
    one = thread.submit(Lane.QUERY, encoder, inputs("left"), left)
    two = thread.submit(Lane.QUERY, encoder, inputs("late"), late)
    left.cancelled = True
    time.sleep(0.02)
    encoder.gate.set()
    for future, status in ((one, 499), (two, 504)):
        with pytest.raises(ProblemError) as caught:
            future.result(5)
        assert caught.value.status == status
    assert encoder.batches == [["first"]]


def test_cut_texts_are_known(thread: ModelThread) -> None:
    encoder = Noting()
    result = thread.submit(Lane.BULK, encoder, inputs("x" * 100, "x" * 101, "x"), Ticket()).result(5)
    assert result.cut.tolist() == [False, True, False]


def test_a_call_is_done_between_batches_and_its_error_is_its_own(thread: ModelThread) -> None:
    assert thread.call(Lane.BULK, Ticket(), lambda: threading.current_thread().name).result(5) == "model"
    with pytest.raises(ZeroDivisionError):
        thread.call(Lane.BULK, Ticket(), lambda: 1 / 0).result(5)
    assert thread.is_alive


def test_a_receiver_that_fails_does_not_end_the_thread(thread: ModelThread) -> None:
    from searchapp.serve.model_thread import Job

    def deliver(_):
        raise RuntimeError("no")

    thread.put(Job(Lane.QUERY, Ticket(), Noting(), inputs("a"), deliver=deliver))
    assert len(thread.submit(Lane.QUERY, Noting(), inputs("b"), Ticket()).result(5).vectors) == 1


def test_nothing_is_taken_after_the_end() -> None:
    made = ModelThread(Limits())
    made.stop()
    with pytest.raises(ProblemError):
        made.submit(Lane.QUERY, Noting(), inputs("a"), Ticket())
