"""Checkpoints to embedders: loading, bidirectional attention, tokenisation, pooling, fingerprint."""

from __future__ import annotations

from searchapp.encoder.encoder import Encoded, Encoder
from searchapp.encoder.settings import Settings
from searchapp.encoder.template import Template

__all__ = ["Encoded", "Encoder", "Settings", "Template"]
