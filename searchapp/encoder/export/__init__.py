"""A model as one directory that loads in other programs."""

from __future__ import annotations
