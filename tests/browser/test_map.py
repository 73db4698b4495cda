"""The map: hits are lit, an area's documents are listed, and the table has the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Site, settled, settling

pytestmark = pytest.mark.browser
MARGIN = 24


def test_an_area_lists_the_documents_that_lie_in_it(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(q="honey", view="map"))
    settled(page)  # what comes above the map moves it
    found = site.ask("api/map")
    box = page.locator("canvas").bounding_box()
    places = {
        name: (x * (box["width"] - 2 * MARGIN) + MARGIN, y * (box["height"] - 2 * MARGIN) + MARGIN)
        for name, x, y in zip(found["ids"], found["x"], found["y"], strict=True)
    }
    left, top, right, bottom = 5, 5, box["width"] / 2, box["height"] - 5
    expected = {name for name, (x, y) in places.items() if left < x < right and top < y < bottom}
    assert 0 < len(expected) < len(places)
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(box["x"] + left, box["y"] + top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    page.mouse.up()
    assert page.locator(".chosen li").count() == len(expected)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    lines = download.value.path().read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == expected


def test_hits_are_lit_and_first_in_the_table(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(q="honey", view="map", k=10))
    settled(page)  # what comes above the map moves it
    lit = page.evaluate("""() => {
        const canvas = document.querySelector("canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let place = 0; place < data.length; place += 4)
          if (data[place] === 0 && data[place + 1] === 105 && data[place + 2] === 92 && data[place + 3] === 255) count += 1;
        return count;
    }""")
    assert lit > 500  # the accent's pixels: ten discs of radius 10, over each other where they meet
    page.locator(".table summary").click()
    rows = page.locator(".table tbody tr")
    rows.first.wait_for()
    hits = site.search("honey", k=10)["hits"]
    assert rows.nth(0).locator("td").first.inner_text() == "1"
    assert rows.nth(0).locator("button").inner_text() == hits[0]["title"]
    assert rows.count() == len(site.ask("api/map")["ids"])
    with settling(page):
        rows.nth(0).locator("button").click()
    assert page.locator("dialog article").is_visible()
