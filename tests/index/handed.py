"""The verbs of an index with the disk that a test chose handed in: one that syncs nothing, fails, or loses power.

A test, or a fixture, sets ``make_disk``; it is called once for every verb, as the verbs make a ``Disk`` of their own.
"""

from __future__ import annotations

from functools import wraps

from searchapp import index
from searchapp.index.storage.directory import Disk
from searchapp.index.tune import settle as settle_point

make_disk = Disk


def _handed(verb):
    @wraps(verb)
    def call(*arguments, **options):
        return verb(*arguments, disk=make_disk(), **options)

    return call


build, add, compact = _handed(index.build), _handed(index.add), _handed(index.compact)
delete, reindex, repair = _handed(index.delete), _handed(index.reindex), _handed(index.repair)
settle = _handed(settle_point)
