"""Readers of formats that are not plain text: each gives the facts of a file, then its blocks in reading order.

A reader is ``read(path, limits) -> Iterator[Facts | Block]``. It opens nothing but its path, writes nothing, asks no
network, and raises ``Unreadable`` for a file that it cannot read. It runs in a process of its own.
"""
