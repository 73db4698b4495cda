"""Every screen is accessible by axe's rules, in both schemes, wide and narrow, and nothing runs out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import NARROW, WIDE, Site, searched, settled, settling

pytestmark = pytest.mark.browser


def violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def open_all(page: Any) -> None:
    """Open everything of the first hit."""
    page.locator("article").first.get_by_role("button", name="Expand", exact=True).click()
    for name in ("Why", "More like this", "What its words do"):
        with settling(page):
            page.locator("article").first.get_by_role("button", name=name, exact=True).click()
    assert page.locator("article .steps, article .titles, article .effects").count() == 3
    page.locator("#timing summary").click()


def open_table(page: Any) -> None:
    page.locator(".table summary").click()
    page.locator(".table tbody tr").first.wait_for()


def open_first(page: Any) -> None:
    with settling(page):
        page.locator(".columns section:not([hidden]) button").first.click()


SCREENS: dict[str, tuple[dict[str, str], str, Callable[[Any], None] | None]] = {
    "empty": ({}, ".about", None),
    "hits": ({"q": "honey from bees", "set": "pool"}, ".hits", open_all),
    "columns": ({"q": "honey", "view": "columns", "rerank": "bundled"}, "#panel-3 button", lambda page: page.locator(".columns section:not([hidden]) button").first.focus()),
    "filter": ({"q": "honey", "filter": 'kind == "craft" and year < 2000'}, "#fields fieldset", None),
    "wrong filter": ({"q": "honey", "filter": "year >"}, ".wrong", None),
    "no hits": ({"q": "qqzzx", "mode": "bm25"}, ".empty", None),
    "map": ({"q": "honey", "view": "map"}, "canvas", open_table),
    "judge": ({"view": "judge", "set": "pool"}, "#judge article", None),
    "help": ({"q": "honey"}, ".hits", lambda page: page.click("#help-open")),
    "dialog": ({"q": "honey", "view": "columns"}, ".columns button", lambda page: open_first(page)),
}  # fmt: skip


def visit(page: Any, site: Site, name: str) -> None:
    """Show a screen."""
    state, ready, step = SCREENS[name]
    page.goto(site.url(**state))
    settled(page)
    assert page.locator(ready).count() and page.locator("#fields fieldset").count(), name
    if step:
        step(page)


LOOKS = [(WIDE, False, list(SCREENS)), (NARROW, True, list(SCREENS)), (WIDE, True, ["hits", "columns", "filter"]),
         (NARROW, False, ["hits", "columns", "judge"])]  # fmt: skip


@pytest.mark.parametrize(("size", "dark", "screens"), LOOKS, ids=["wide", "narrow dark", "wide dark", "narrow"])
def test_axe_finds_nothing(
    site: Site, new_page: Callable[..., Any], size: dict[str, int], dark: bool, screens: list[str]
) -> None:
    page = new_page(size=size, dark=dark, bypass_csp=True, reduced_motion="reduce")
    wrong = {}
    for name in screens:
        visit(page, site, name)
        if found := violations(page):
            wrong[name] = found
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
    assert wrong == {}
    visit(page, site, screens[0])
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert violations(page) != []  # axe looks


@pytest.mark.parametrize("width", [320, 640])
def test_nothing_stands_beyond_the_edge(site: Site, new_page: Callable[..., Any], width: int) -> None:
    """640 is 1,280 at 200 %; 320 is 1,280 at 400 %."""
    page = new_page(size={"width": width, "height": 800})
    for name in SCREENS:
        visit(page, site, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_a_title_of_ten_thousand_characters_is_cut(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(q="a title without an end", k=25))
    searched(page)
    heading = page.locator("h3", has_text="honey and a title without an end")
    assert heading.bounding_box()["height"] < 90
    heading.locator("xpath=..").get_by_role("button", name="Expand").click()
    assert heading.bounding_box()["height"] > 500
    page.goto(site.url(q="a title without an end", view="columns"))
    assert page.locator(".columns [data-document=long]").first.bounding_box()["height"] < 90


def test_right_to_left_text_stands_right(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(q="عسل النحل"))
    searched(page)
    heading = page.locator("h3", has_text="النحل والعسل")
    assert heading.evaluate("one => getComputedStyle(one).direction") == "rtl"
    assert page.locator("#q").evaluate("one => getComputedStyle(one).direction") == "rtl"
    assert page.locator("h3", has_text="Keeping bees").evaluate("one => getComputedStyle(one).direction") == "ltr"
