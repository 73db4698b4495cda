"""Search, embed and rerank over HTTP, by one process (extra ``serve``)."""

from __future__ import annotations
