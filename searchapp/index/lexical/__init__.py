"""Keyword search: analysis of text, postings, BM25."""

from __future__ import annotations
