"""What each route of the server does, by subject. ``ROUTES`` has them all."""

from __future__ import annotations

from searchapp.serve.app import Route
from searchapp.serve.routes import documents, embeddings, explain, page, rerank, search, status

ROUTES: tuple[Route, ...] = (
    *page.ROUTES,
    *status.ROUTES,
    *search.ROUTES,
    *explain.ROUTES,
    *documents.ROUTES,
    *embeddings.ROUTES,
    *rerank.ROUTES,
)

__all__ = ["ROUTES"]
