"""What lies on disk: the directory, its commits, and the files of documents, vectors, hashes and deletions."""

from __future__ import annotations
