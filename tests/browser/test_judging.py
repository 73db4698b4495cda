"""Judging by keys, in the pool and in the results: what was said is in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import Site, searched, until

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _nothing_judged(site: Site) -> Iterator[None]:
    (site.folder / "qrels" / "test.tsv").unlink(missing_ok=True)
    yield
    (site.folder / "qrels" / "test.tsv").unlink(missing_ok=True)


def shown(page: Any) -> str:
    """The id of the document that waits."""
    page.locator("#judge article").wait_for()
    return page.evaluate("document.querySelector('#judge article').hit.id")


def press(page: Any, key: str) -> None:
    """Press a key, and wait until another pair is shown."""
    before = shown(page)
    page.keyboard.press(key)
    until(page, "before => document.querySelector('#judge article').hit.id !== before", arg=before)


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


def test_a_judgement_takes_little_time(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(view="judge", set="pool"))
    shown(page)
    for _ in range(6):
        press(page, "1")
    spent = page.evaluate(
        "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/api/judgements/pool'))"
        ".map((one) => one.duration)"
    )
    assert len(spent) == 6 and min(spent) <= 50, spent


def test_hits_are_judged_where_they_stand(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(q="iron and oil", set="pool"))
    searched(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("2")
    article = page.locator("article").first
    article.get_by_role("button", name="2: relevant", pressed=True).wait_for()
    identifier = article.evaluate("one => one.hit.id")
    (key,) = site.judged
    assert key[1] == identifier and site.judged[key] == 2
    page.reload()
    page.locator("article").first.get_by_role("button", name="2: relevant", pressed=True).click()
    page.locator("article").first.get_by_role("button", name="2: relevant", pressed=False).wait_for()
    assert site.judged == {}
