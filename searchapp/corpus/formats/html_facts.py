"""What a page of HTML says of itself in its head."""

from __future__ import annotations

import re
from collections.abc import Mapping

from searchapp.corpus.formats.reading import Facts

_AUTHOR = ("author", "dc.creator", "dcterms.creator", "citation_author")
_DATE = ("date", "dc.date", "dcterms.date", "article:published_time", "citation_publication_date", "last-modified")
_ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?)?)?)?")


def note(meta: dict[str, str], attributes: Mapping[str, str | None]) -> None:
    """Take in the attributes of a ``meta`` element."""
    name = (attributes.get("name") or attributes.get("property") or attributes.get("http-equiv") or "").lower()
    if name:
        meta.setdefault(name, (attributes.get("content") or "").strip())


def page_facts(title: str, language: str, meta: Mapping[str, str]) -> Facts:
    """The facts of a page by its title, declared language and ``meta`` elements."""
    author = next((meta[name] for name in _AUTHOR if meta.get(name)), "")
    dates = (meta[name] for name in _DATE if meta.get(name))
    date = next((date for date in dates if _ISO.fullmatch(date)), "")
    return Facts(" ".join(title.split()), author[:200], date, language.strip()[:35], "text/html")
