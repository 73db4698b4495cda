"""A server with the bundled model as a program of its own, and pages of Chromium that tell what went wrong in them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.browser.corpora import hostile, notes, write, write_pool

SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 375, "height": 812}


@dataclass
class Site:
    """A server that runs: its address, and the folder that it writes judgements to."""

    address: str
    folder: Path

    def url(self, **state: object) -> str:
        return f"{self.address}?{urlencode(state)}"

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the API answers, without a browser."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}{path}", content, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def search(self, query: str, **more: Any) -> dict[str, Any]:
        return self.ask("api/search", {"query": query, **more})["results"][0]

    @property
    def judged(self) -> dict[tuple[str, str], int]:
        """The judgements in the file."""
        file = self.folder / "qrels" / "test.tsv"
        if not file.exists():
            return {}
        lines = [line.split("\t") for line in file.read_text().splitlines()[1:]]
        return {(query, document): int(level) for query, document, level in lines}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Chromium under Playwright; skipped with the reason where one of them is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; do `make test-browser`")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium; install it, as with `apt-get install chromium`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """``searchapp serve`` over the notes and the hostile documents."""
    from searchapp import Encoder
    from searchapp.index import build

    root = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    folders = []
    encoder = Encoder.load("bundled")
    for name, documents in (("notes", notes()), ("hostile", hostile())):
        build([str(write(root / f"{name}.jsonl", documents))], root / name, encoder)
    for name, documents in (("pool", [str(one["_id"]) for one in notes()]), ("attack", [str(hostile()[0]["_id"])])):
        folders.append(write_pool(root / name, documents))
    program = subprocess.Popen(
        [sys.executable, "-m", "searchapp", "serve", str(root / "notes"), str(root / "hostile"), "--port", "0",
         "--rerank", "bundled", *(part for folder in folders for part in ("--judgements", str(folder)))],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    try:
        lines = []
        for line in program.stderr:
            lines.append(line)
            if found := re.search(r"ready: (http://\S+)", line):
                break
        else:
            raise AssertionError("".join(lines))
        yield Site(found[1], folders[0])
    finally:
        program.terminate()
        program.wait(40)


@dataclass
class Watch:
    """What pages did that they must not; ``expected`` are parts of messages that a test brings about."""

    messages: list[str]
    elsewhere: list[str]
    expected: list[str]

    def faults(self) -> list[str]:
        wrong = [text for text in self.messages if not any(part in text for part in self.expected)]
        return wrong + [f"asked {url}" for url in self.elsewhere]


@pytest.fixture
def watch() -> Watch:
    return Watch([], [], [])


@pytest.fixture
def new_page(chromium: Any, site: Site, watch: Watch) -> Iterator[Callable[..., Any]]:
    """Pages in contexts of their own. At the end none of them may have complained, or asked another host."""
    contexts = []
    hosts = {urlsplit(site.address).netloc}

    def make(url: str | None = None, *, size: dict[str, int] = WIDE, dark: bool = False, **options: Any) -> Any:
        context = chromium.new_context(viewport=size, color_scheme="dark" if dark else "light", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: message.type in ("error", "warning") and watch.messages.append(message.text))
        page.on("pageerror", lambda error: watch.messages.append(f"raised {error}"))
        page.on("dialog", lambda dialog: (watch.messages.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda asked: _note(asked.url, hosts, watch))
        if url is not None:
            hosts.add(urlsplit(url).netloc)
            page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert watch.faults() == []


def _note(url: str, hosts: set[str], watch: Watch) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("blob", "data") and parts.netloc not in hosts:
        watch.elsewhere.append(url)


def until(page: Any, expression: str, arg: Any = None, seconds: float = 30) -> None:
    """Wait until an expression is true in the page. Its policy forbids what Playwright's own waiting does: eval."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"{expression} is not true after {seconds:g} s: {page.inner_text('body')[:400]}"
        page.wait_for_timeout(15)


def titles(page: Any) -> list[str]:
    """The titles of the hits that are shown."""
    return page.locator("#results .hits h3").all_inner_texts()


def settled(page: Any, beyond: int = 0) -> None:
    """Wait until the page has begun something (more than ``beyond`` requests) and has the answer to all it asked for.

    Enough by itself for a page that was just opened or loaded anew: its counts begin at 0. What is done in a page that
    stands there already goes into ``settling``, since what is waited for may be true before it.
    """
    until(
        page,
        "beyond => { const { begun, ended } = document.documentElement.dataset; return begun > beyond && begun === ended; }",
        arg=beyond,
    )


@contextmanager
def settling(page: Any) -> Iterator[None]:
    """Do in the block what makes the page ask the server; the block ends when all of it is answered and shown."""
    settled(page)
    begun = page.evaluate("Number(document.documentElement.dataset.begun)")
    yield
    settled(page, begun)


def searched(page: Any) -> None:
    """Wait for the hits of a page that was just opened or loaded anew."""
    settled(page)
    has_hits(page)


def has_hits(page: Any) -> None:
    """The page says how many hits it shows."""
    assert re.search(r"hits? .*in \d+ ms", page.inner_text("#status")), page.inner_text("body")[:400]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Any) -> Path:
    """The notes with a tiny model, for servers in this process."""
    from searchapp.index import build

    folder = tmp_path_factory.mktemp("notes")
    build([str(write(folder / "notes.jsonl", notes()))], folder / "notes", tiny_encoder)
    return folder / "notes"
