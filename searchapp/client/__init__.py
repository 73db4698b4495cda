"""A server of ``searchapp serve``, asked as an index and its encoder are."""

from __future__ import annotations

from searchapp.client.client import Client, Ranked, connect

__all__ = ["Client", "Ranked", "connect"]
