"""Judging by keys, in the pool and in the results: what was said is in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import Site, searched, settled, settling

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _nothing_judged(site: Site) -> Iterator[None]:
    (site.folder / "qrels" / "test.tsv").unlink(missing_ok=True)
    yield
    (site.folder / "qrels" / "test.tsv").unlink(missing_ok=True)


def shown(page: Any) -> str:
    """The id of the document that waits."""
    settled(page)
    return page.evaluate("document.querySelector('#judge article').hit.id")


def press(page: Any, key: str) -> None:
    """Press a key; another pair is shown then."""
    before = shown(page)
    with settling(page):
        page.keyboard.press(key)
    assert shown(page) != before


def test_a_pool_is_judged_by_keys(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(view="judge", set="pool"))
    first = shown(page)
    assert page.inner_text(".asked") == "honey of bees"
    assert page.locator("#judge .rank, #judge .place").count() == 0  # blind
    assert page.locator("#judge .clamped").count() == 1
    page.keyboard.press("x")
    assert page.locator("#judge .clamped").count() == 0
    press(page, "2")
    assert site.judged == {("q1", first): 2}
    second = shown(page)
    press(page, "0")
    third = shown(page)
    press(page, "s")
    fourth = shown(page)
    assert len({first, second, third, fourth}) == 4
    press(page, "1")
    assert site.judged == {("q1", first): 2, ("q1", second): 0, ("q1", fourth): 1}
    press(page, "u")
    assert shown(page) == fourth
    assert site.judged == {("q1", first): 2, ("q1", second): 0}
    press(page, "2")
    assert site.judged[("q1", fourth)] == 2
    assert "3 judged" in page.inner_text("#judge-counts")
    page.reload()
    assert shown(page) == third  # skipped, and still open
    found = site.ask("api/judgements/pool/figures")
    said = [
        f"{name} {one['nDCG@10']:.2f}" for name, one in zip(("dense", "BM25", "hybrid"), found["figures"], strict=True)
    ]
    text = page.inner_text("#judge-figures")
    assert text.startswith("nDCG@10 over 1 judged query: ") and all(part in text for part in said), text


def test_a_judgement_takes_little_time(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(view="judge", set="pool"))
    for _ in range(12):
        press(page, "1")
    spent = page.evaluate(
        "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/api/judgements/pool'))"
        ".map((one) => one.duration)"
    )
    assert len(spent) == 12 and min(spent) <= 50, spent


def test_hits_are_judged_where_they_stand(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(q="iron and oil", set="pool"))
    searched(page)
    page.keyboard.press("ArrowDown")
    with settling(page):
        page.keyboard.press("2")
    article = page.locator("article").first
    assert article.get_by_role("button", name="2: relevant", pressed=True).count() == 1
    identifier = article.evaluate("one => one.hit.id")
    (key,) = site.judged
    assert key[1] == identifier and site.judged[key] == 2
    page.reload()
    searched(page)
    with settling(page):
        article.get_by_role("button", name="2: relevant", pressed=True).click()
    assert article.get_by_role("button", name="2: relevant", pressed=False).count() == 1
    assert site.judged == {}


def test_a_judgement_outlives_a_late_answer_of_what_was_judged_before(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page()
    held = []
    page.route("**/api/judgements/pool?*", lambda route: held.append(route))
    page.goto(site.url(q="iron and oil", set="pool"))
    page.locator("article").first.focus()
    page.keyboard.press("2")
    pressed = page.locator("article").first.get_by_role("button", name="2: relevant", pressed=True)
    pressed.wait_for()
    (asked,) = held
    asked.fulfill(json={"query_id": None, "levels": {}})
    settled(page)
    assert pressed.count() == 1
