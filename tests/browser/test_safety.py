"""Nothing that a document holds runs in the page, and the token stays where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.browser.conftest import (
    SWITCHES,
    Site,
    Watch,
    chromium_program,
    has_hits,
    searched,
    settled,
    settling,
    titles,
    until,
)
from tests.browser.corpora import PAYLOADS, hostile

pytestmark = pytest.mark.browser
JSON = {"content-type": "application/json"}
ATTACKS = [
    ("/", {}), ("/page/main.js", {}), ("/api/index", {}), ("/api/map", {}), ("/api/documents/bees", {}), ("/metrics", {}), ("/livez", {}),
    ("/openapi.json", {}), ("/api/judgements/pool/next", {}), ("/api/search", {"method": "POST", "headers": JSON, "body": '{"query": "honey"}'}),
    ("/v1/embeddings", {"method": "POST", "headers": JSON, "body": '{"input": "honey"}'}),
    ("/api/judgements/pool", {"method": "PUT", "headers": JSON, "body": '{"query": "q1", "document": "bees", "level": 2}'}),
]  # fmt: skip


def asked_for(url: str) -> dict[str, str]:
    """The parameters of a URL, those without a value too."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def unharmed(page: Any) -> None:
    """Nothing ran, and no element that could run is there."""
    page.wait_for_timeout(50)
    assert page.evaluate("window.hacked") is None
    assert (
        page.locator(
            "main img, main script, main iframe, main math, main style, main base, main svg:not(.joins)"
        ).count()
        == 0
    )
    assert page.locator("script").count() == 1
    followed = page.locator("main a, dialog a").evaluate_all("all => all.map((one) => one.href)")
    assert all(url.startswith(("http://", "https://")) for url in followed)


def test_documents_run_nothing(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.url(q="bee honey hive", index="hostile", k=25, filter="line >= 0"))
    searched(page)
    assert set(titles(page)) == {payload.strip() for payload in PAYLOADS}
    unharmed(page)
    with settling(page):
        page.locator("#fields .values button").first.click()
    has_hits(page)
    unharmed(page)
    page.goto(site.url(q="bee honey hive", index="hostile", k=25))
    searched(page)
    page.locator("article").first.get_by_role("button", name="Expand", exact=True).click()
    for name in ("Why", "More like this", "What its words do"):
        with settling(page):
            page.locator("article").first.get_by_role("button", name=name, exact=True).click()
    assert page.locator("article .steps, article .titles, article .effects").count() == 3
    unharmed(page)
    with settling(page):
        page.locator("article .titles button").first.click()
    assert page.locator("dialog article .text").is_visible()
    unharmed(page)
    page.goto(site.url(q="bee honey hive", index="hostile", view="columns"))
    settled(page)
    page.locator(".columns button").first.hover()
    unharmed(page)
    page.goto(site.url(q="bee honey hive", index="hostile", view="map"))
    settled(page)
    page.locator(".table summary").click()
    page.locator(".table tbody tr").first.wait_for()
    unharmed(page)
    page.goto(site.url(view="judge", index="hostile", set="attack"))
    settled(page)
    assert page.locator("#judge h3").inner_text() == hostile()[0]["title"]
    unharmed(page)


@pytest.mark.parametrize("scripted", [True, False], ids=["script", "no script"])
def test_what_the_url_holds_runs_nothing(
    site: Site, new_page: Callable[..., Any], watch: Watch, scripted: bool
) -> None:
    page = new_page(java_script_enabled=scripted)
    for payload in PAYLOADS[::2]:
        page.goto(site.url(q=payload, index="hostile", plain="" if scripted else 1))
        if scripted:
            searched(page)
            unharmed(page)
        assert page.locator("#q").input_value() == payload
        assert page.locator("#results img, #results iframe, form img, form svg, #results math").count() == 0
        quoted = payload.count('"') > 1  # only the one document that has it as it stands
        assert page.locator("#results article").count() == (1 if quoted else 10)


def test_without_scripts_a_form_finds_the_same(site: Site, new_page: Callable[..., Any]) -> None:
    page = new_page(site.address, java_script_enabled=False)
    page.fill("#q", "honey from bees")
    page.fill("#filter-text", "year >= 1990")
    page.get_by_label("BM25").check(force=True)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: asked_for(url).get("q") == "honey from bees")
    expected = site.search("honey from bees", mode="bm25", filter="year >= 1990", passages="words")["hits"]
    assert [title[:40] for title in titles(page)] == [hit["title"][:40] for hit in expected]
    words = [expected[0]["text"][start:end] for start, end in expected[0]["passage"]["words"]]
    assert page.locator("article").first.locator("b").all_inner_texts() == words
    page.fill("#filter-text", "year >=")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: asked_for(url)["filter"] == "year >=")
    assert "not understood" in page.inner_text("#status")


def test_markup_cannot_be_made_of_text_at_all(site: Site, new_page: Callable[..., Any], watch: Watch) -> None:
    page = new_page(site.address)
    watch.expected.append("TrustedHTML")
    blocked = page.evaluate(
        "() => { try { document.body.innerHTML = '<b></b>'; return 'made' } catch (error) { return error.name } }"
    )
    assert blocked == "TypeError"


def test_the_token_comes_by_the_fragment_and_stays_in_the_tab(
    new_page: Callable[..., Any], watch: Watch, built: Path
) -> None:
    from tests.serve.local import running

    secret = "a-token-of-the-test-0123"
    with running({"notes": built}, token=secret) as served:
        page = new_page(f"{served.url}/?{urlencode({'q': 'honey'})}#token={secret}")
        searched(page)
        assert len(titles(page)) == 10
        assert secret not in page.url and page.evaluate(
            "localStorage.length < 2 && !JSON.stringify(localStorage).includes('token')"
        )
        page.reload()
        searched(page)
        watch.expected.append("status of 401")
        other = new_page(f"{served.url}/?{urlencode({'q': 'honey'})}")
        settled(other)
        assert other.get_by_label("Token").count() == 1
        other.get_by_label("Token").fill(secret)
        with settling(other):
            other.keyboard.press("Enter")
        has_hits(other)
        plain = new_page(f"{served.url}/?{urlencode({'q': 'honey'})}", java_script_enabled=False)
        assert titles(plain) == []


def test_while_the_models_load_it_waits(new_page: Callable[..., Any], watch: Watch, built: Path) -> None:
    from tests.serve.local import running

    watch.expected.append("status of 503")
    with running({"notes": built}, loaded=False) as served:
        page = new_page(f"{served.url}/?{urlencode({'q': 'honey'})}")
        until(page, "/being loaded/.test(document.getElementById('status').textContent)")
        served.server.load()
        searched(page)
        assert len(titles(page)) == 10


def test_a_name_that_leads_here_from_elsewhere_gets_nothing(chromium: Any, site: Site) -> None:
    """DNS rebinding: a page of another name, once that name resolves to this machine, is of one origin with the server."""
    port = urlsplit(site.address).port
    with chromium.browser_type.launch(
        executable_path=chromium_program(), args=[*SWITCHES, "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    ) as browser:
        page = browser.new_page(bypass_csp=True)  # as a page that was there before has no policy of this server
        answer = page.goto(f"http://evil.example:{port}/?q=honey")
        assert answer.status == 403 and answer.json()["error"]["code"] == "host"
        assert "Keeping bees" not in page.content()
        for path, options in ATTACKS:
            found = page.evaluate(
                "async ([path, options]) => { const answer = await fetch(path, options);"
                " return [answer.status, await answer.text()] }",
                [path, options],
            )
            assert found[0] == 403 and "not one this server is known by" in found[1], (path, found)
        own = browser.new_page()
        assert own.goto(site.address).status == 200  # the same server, by its own name
