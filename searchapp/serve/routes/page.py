"""The page to search on: files of the package, and without JavaScript a form with hits that are rendered here."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from searchapp.errors import SearchAppError
from searchapp.search import MODES
from searchapp.serve.app import Route
from searchapp.serve.bodies import HitBody, SearchAnswer, SearchRequest
from searchapp.serve.exchange import Answer, Exchange
from searchapp.serve.problem import ProblemError, refused
from searchapp.serve.routes.search import search
from searchapp.serve.server import Server

TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
POLICY = (
    b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
GAP = re.compile(r"\{\{(\w+)\}\}")
PASSAGE = 280  # characters of a text without a passage


@dataclass(frozen=True)
class File:
    """A file of the page as it is sent."""

    content: bytes
    media_type: bytes

    @property
    def tag(self) -> bytes:
        """The ETag: another content has another one."""
        return b'"' + hashlib.sha256(self.content).hexdigest()[:24].encode() + b'"'


def _files() -> dict[str, File]:
    folder = Path(__file__).parent.parent / "page"
    return {path.name: File(path.read_bytes(), TYPES[path.suffix]) for path in folder.iterdir() if path.suffix in TYPES}


FILES: Mapping[str, File] = _files()  # all there is: a request's name is looked up here, and never joined to a path
TEMPLATE = FILES["index.html"].content.decode()


async def file(server: Server, exchange: Exchange, body: None) -> Answer:
    """A file of the page."""
    name = exchange.parameters["name"]
    if name not in FILES or name == "index.html":
        raise ProblemError(404, "the page has no such file; the page itself is at /")
    return _sent(exchange, FILES[name])


async def icon(server: Server, exchange: Exchange, body: None) -> Answer:
    """The page's icon, where browsers look for it."""
    return _sent(exchange, FILES["icon.svg"])


async def page(server: Server, exchange: Exchange, body: None) -> Answer:
    """The page. Its form has ``plain`` where no JavaScript runs: then, and with no token asked for, also the hits."""
    query = (exchange.query("q") or "").strip()
    filter = exchange.query("filter") or ""
    mode = exchange.query("mode")
    status, hits = "", ""
    if query and exchange.query("plain") and server.door.token is None:
        try:
            status, hits = await _searched(server, exchange, query, filter)
        except ProblemError as problem:
            status = server.without_places(problem.message)
        except SearchAppError as error:
            status = server.without_places(refused(error).message)
    gaps = {
        "title": html.escape(f"{query[:80]} · searchapp" if query else "searchapp"),
        "query": html.escape(query),
        "filter": html.escape(filter),
        "status": html.escape(status),
        "hits": hits,
        **dict.fromkeys(MODES, ""),
        mode if mode in MODES else MODES[0]: "checked",
    }
    content = GAP.sub(lambda gap: gaps[gap[1]], TEMPLATE)
    return _sent(exchange, File(content.encode("utf-8", "replace"), TYPES[".html"]), is_kept=not query)


async def _searched(server: Server, exchange: Exchange, query: str, filter: str) -> tuple[str, str]:
    """What is said of a search, and its hits as HTML. Raises ProblemError and SearchAppError."""
    if not server.loaded.is_set():
        server.prove()
    count = exchange.query("k") or "10"
    asked = SearchRequest(
        query=query,
        index=exchange.query("index") or None,
        k=int(count) if count.isascii() and count.isdecimal() and len(count) < 5 else 10,
        mode=exchange.query("mode") or "auto",
        filter=filter or None,
        passages="words",
    )
    answer = msgspec.json.decode((await search(server, exchange, asked)).content, type=SearchAnswer)
    result = answer.results[0]
    found = result.hits
    spent = sum(answer.timing_ms.values())
    said = f"{len(found)} hit{'' if len(found) == 1 else 's'}" if found else "No hits"
    notes = "".join(f'<p class="note-line">{html.escape(text)}</p>' for text in result.notices)
    hits = f'{notes}<ol class="hits">{"".join(map(_hit, found))}</ol>'
    return f"{said} in {max(1, round(spent))} ms", hits


def _hit(hit: HitBody) -> str:
    """A hit as HTML: everything that is the document's is escaped."""
    return (
        f'<li><article class="hit"><span class="rank">{hit.rank}</span>'
        f'<p class="where" dir="auto"><bdi>{html.escape(hit.id)}</bdi></p>'
        f'<h3 dir="auto">{html.escape(hit.title or hit.id)}</h3>'
        f'<div class="body"><p class="passage" dir="auto">{_passage(hit)}</p></div></article></li>'
    )


def _passage(hit: HitBody) -> str:
    text, passage = hit.text or "", hit.passage
    if passage is None:
        return html.escape(text[:PASSAGE])
    parts, place = ["… " if passage.continues else ""], passage.start
    for start, end in passage.words:
        parts += [html.escape(text[place:start]), f"<b>{html.escape(text[start:end])}</b>"]
        place = end
    parts += [html.escape(text[place : passage.end]), " …" if text[passage.end :].strip() else ""]
    return "".join(parts)


def _sent(exchange: Exchange, file: File, *, is_kept: bool = True) -> Answer:
    headers = [(b"content-security-policy", POLICY)]
    if not is_kept:
        return Answer(file.content, media_type=file.media_type, headers=headers)
    headers += [(b"etag", file.tag), (b"cache-control", b"no-cache")]
    known = (exchange.header(b"if-none-match") or "").encode("latin-1", "replace")
    if file.tag in [one.strip().removeprefix(b"W/") for one in known.split(b",")]:
        return Answer(b"", 304, file.media_type, headers)
    return Answer(file.content, media_type=file.media_type, headers=headers)


ROUTES = (
    Route(
        "GET",
        "/",
        page,
        "The page to search on.",
        parameters=("q", "plain", "mode", "filter", "k", "index"),
        cheap=True,
    ),
    Route("GET", "/page/{name}", file, "A file of the page.", cheap=True),
    Route("GET", "/favicon.ico", icon, "The page's icon.", cheap=True),
)
