"""The page's files: what they may do, what is sent again, and hits for browsers that run no JavaScript."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

import searchapp.serve
from tests.serve.conftest import records, write
from tests.serve.local import Running, running

FOLDER = Path(searchapp.serve.__file__).parent / "page"
SCRIPT = "<script>alert(1)</script>\"'&"


class Read(HTMLParser):
    """The tags of a page with their attributes, and its texts by tag."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_every_file_is_sent_with_its_type_and_a_policy(served: Running) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    files = [path for path in FOLDER.iterdir() if path.suffix in types]
    assert len(files) > 10 and sum(path.stat().st_size for path in FOLDER.iterdir()) < 100_000
    for path in files:
        answer = served.get(f"/page/{path.name}")
        assert answer.status == 200 and answer.content == path.read_bytes()
        assert answer.headers["content-type"].startswith(types[path.suffix])
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert served.get("/favicon.ico").content == (FOLDER / "icon.svg").read_bytes()
    policy = served.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_the_page_holds_no_inline_script_or_style_and_names_no_other_host(served: Running) -> None:
    page = Read(served.get("/").content.decode())
    assert all("src" in one for one in page.named("script")) and not page.named("style")
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        for name in ("src", "href", "action"):
            assert not re.match(r"[a-z]*:?//", attributes.get(name) or ""), attributes
    for path in FOLDER.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", path.read_text()
        )


def test_what_is_known_is_not_sent_again(served: Running) -> None:
    for path in ("/", "/page/main.js", "/page/style.css", "/favicon.ico"):
        first = served.get(path)
        again = served.get(path, {"if-none-match": f'"other", W/{first.headers["etag"]}'})
        assert (again.status, again.content) == (304, b"")
        assert served.get(path, {"if-none-match": '"other"'}).status == 200


@pytest.mark.parametrize(
    "name",
    ["index.html", "..%2fapp.py", "..%2f..%2fpyproject.toml", "%2e%2e", "", "main.js%00", "x" * 3_000, "MAIN.JS"],
)
def test_other_files_are_not_there(served: Running, name: str) -> None:
    assert served.get(f"/page/{name}").status == 404


def test_without_scripts_the_hits_are_those_of_the_api(served: Running) -> None:
    query = {"q": "bee honey", "mode": "bm25", "k": "7", "filter": "year >= 1995"}
    page = Read(served.get(f"/?{urlencode({**query, 'plain': '1'})}").content.decode())
    hits = served.search("bee honey", mode="bm25", k=7, filter="year >= 1995", passages="words")["hits"]
    assert page.texts["h3"] == [hit["title"] for hit in hits]
    assert [one["value"] for one in page.named("input") if "checked" in one] == ["bm25"]
    words = [hit["text"][start:end] for hit in hits for start, end in hit["passage"]["words"]]
    assert page.texts.get("b", []) == words
    assert not Read(served.get(f"/?{urlencode(query)}").content.decode()).named(
        "article"
    )  # scripts search by themselves


def test_what_is_wrong_is_said_in_the_page(served: Running) -> None:
    wrong = {"filter": "year >=", "mode": "sparse", "index": "nobody", "k": "9999"}
    for name, value in wrong.items():
        answer = served.get(f"/?{urlencode({'q': 'bee', 'plain': '1', name: value})}")
        assert answer.status == 200
        assert len("".join(Read(answer.content.decode()).texts["p"])) > 10, name


def test_documents_and_queries_stay_text(tmp_path: Path, tiny_encoder) -> None:
    from searchapp.index import build

    documents = [{"_id": SCRIPT, "title": SCRIPT, "text": f"bee {SCRIPT} {{{{hits}}}}", "metadata": {SCRIPT: SCRIPT}}]
    build([str(write(tmp_path / "d.jsonl", documents + records(3)))], tmp_path / "ix", tiny_encoder)
    with running({"ix": tmp_path / "ix"}) as served:
        query = f"bee {SCRIPT} {{{{hits}}}}"
        page = Read(served.get(f"/?plain=1&q={quote(query)}&filter={quote('kind == ' + SCRIPT)}").content.decode())
        assert len(page.named("script")) == 1
        assert next(one for one in page.named("input") if one.get("id") == "q")["value"] == query
        page = Read(served.get(f"/?plain=1&q={quote(query)}").content.decode())
        assert len(page.named("script")) == 1 and "".join(page.texts["h3"]).count(SCRIPT) == 1


def test_with_a_token_the_page_comes_without_hits(built: Path) -> None:
    with running({"notes": built}, token="t" * 20) as served:
        answer = served.get("/?q=bee&plain=1")
        assert answer.status == 200 and b"<article" not in answer.content
        assert served.get("/page/main.js").status == 200
        assert served.get("/api/index").status == 401


def test_while_the_models_load_the_page_comes(built: Path) -> None:
    with running({"notes": built}, loaded=False) as served:
        assert served.get("/").status == 200
        answer = served.get("/?q=bee&plain=1")
        assert answer.status == 200 and b"being loaded" in answer.content
