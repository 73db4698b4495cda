"""The model of cost against figures that were worked out by hand, and what it refuses."""

from __future__ import annotations

import pytest

from searchapp.errors import SearchAppError
from searchapp.shards.cost import CONSTANTS, DEVICES, Wanted, estimate_cost, parse_device


def test_a_billion_documents_as_worked_out_by_hand():
    found = estimate_cost(Wanted(1e9, 4_096, 200, "h200", 8, 8, rate=10_000))
    assert (found.chunks, found.shards, found.devices) == (66_667, 100, 64)
    assert found.device_hours == pytest.approx(5_556 / 0.97, rel=1e-3)
    assert found.encoding / 86_400 == pytest.approx(3.6 / 0.97, rel=0.01)  # 64 devices: 3.6 days
    assert found.vectors == pytest.approx(8.2e12, rel=0.01) and found.codes == pytest.approx(136e9)
    assert found.postings == pytest.approx(0.72e12) and found.text == pytest.approx(1e12)
    assert (found.machines_by_disk, found.machines_by_memory) == (1, 2)
    assert found.reads == pytest.approx(200 + 2 * 2**0.5 * 100)


def test_small_numbers_and_the_models_size():
    found = estimate_cost(Wanted(1e6, 4_096, 200, "h200", 1))
    assert 5e9 < found.parameters < 8e9 and found.machines == 1 and found.shards == 1
    assert found.rate == pytest.approx(989e12 * 0.4 / (2 * found.parameters))
    assert estimate_cost(Wanted(1e6, 4_096, 200, "h200", 8)).encoding == pytest.approx(found.encoding / 8)


def test_devices_by_name():
    assert parse_device("h200x8") == ("h200", 8) and parse_device("L4") == ("l4", 1) and parse_device("l40sx2")[1] == 2
    for wrong in ("h300x8", "h200x0", "8", "h200 x 8", ""):
        with pytest.raises(SearchAppError, match="is not known; expected NAMExCOUNT"):
            parse_device(wrong)
    with pytest.raises(SearchAppError, match="--documents 0"):
        estimate_cost(Wanted(0, 4_096, 200))
    with pytest.raises(SearchAppError, match="above 0"):
        estimate_cost(Wanted(1, 4_096, 200, machines=0))


def test_every_number_has_a_source():
    assert all(one.source and one.unit for one in CONSTANTS.values()) and all(one.source for one in DEVICES.values())
