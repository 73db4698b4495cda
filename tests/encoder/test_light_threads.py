"""Small products run on one thread of OpenBLAS, and what was set before holds afterwards, whoever ends last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from searchapp.encoder.light import threads


class OpenBlas:
    """Stands for the library's switch."""

    def __init__(self) -> None:
        self.number = 4

    def get(self) -> int:
        return self.number

    def set(self, number: int) -> None:
        self.number = number


@pytest.fixture
def openblas(monkeypatch) -> OpenBlas:
    found = OpenBlas()
    library = threads._Library(found.get, found.set)
    monkeypatch.setattr(threads, "_library", lambda: library)
    return found


def test_one_thread_for_small_products_alone(openblas):
    with threads.threads_for(1e6):
        assert openblas.number == 1
    assert openblas.number == 4
    with threads.threads_for(1e12):
        assert openblas.number == 4
    with pytest.raises(ZeroDivisionError), threads.threads_for(1e6):
        raise ZeroDivisionError
    assert openblas.number == 4


def test_several_at_once_leave_what_was_set_before(openblas):
    inside = Barrier(3)

    def work(_: int) -> int:
        with threads.threads_for(1e6):
            inside.wait(timeout=30)
            return openblas.number

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(3))) == [1, 1, 1]
    assert openblas.number == 4


def test_the_library_of_numpy_is_found():
    if "openblas" not in str(np.show_config(mode="dicts")["Build Dependencies"]["blas"].get("name")):
        pytest.skip("this NumPy is linked to another library")
    library = threads._library()
    assert library is not None and library.get() >= 1


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(threads, "_library", lambda: None)
    with threads.threads_for(1e6):
        pass
