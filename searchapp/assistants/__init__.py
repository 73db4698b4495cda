"""Tools for assistants over the Model Context Protocol: search, fetch, similar and describe (extra ``mcp``)."""

from __future__ import annotations
