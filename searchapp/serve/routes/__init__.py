"""What each route of the server does, by subject. ``ROUTES`` has them all."""

from __future__ import annotations

from searchapp.serve.app import Route
from searchapp.serve.routes import (
    documents,
    embeddings,
    explain,
    judgements,
    landscape,
    page,
    rerank,
    search,
    status,
    writing,
)

ROUTES: tuple[Route, ...] = (
    *page.ROUTES,
    *status.ROUTES,
    *search.ROUTES,
    *explain.ROUTES,
    *documents.ROUTES,
    *embeddings.ROUTES,
    *rerank.ROUTES,
    *judgements.ROUTES,
    *landscape.ROUTES,
    *writing.ROUTES,
)

__all__ = ["ROUTES"]
