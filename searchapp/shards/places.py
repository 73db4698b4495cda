"""Where an index lies, by what a user calls it: a folder, or the URL of an object store."""

from __future__ import annotations

from pathlib import Path

from searchapp.corpus.urls import is_url
from searchapp.shards.store import LocalStore, Store


def open_store(place: str, scratch: str | None = None) -> Store:
    """Open a place for building; ``scratch`` is a folder of this machine to work in.

    Raises IndexStoreError for a URL whose store cannot refuse a file that is there.
    """
    if is_url(place):
        from searchapp.shards.object_store import RemoteStore

        return RemoteStore.open(place, Path(scratch) if scratch else None)
    return LocalStore(place, scratch=Path(scratch) if scratch else None)
