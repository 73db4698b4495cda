"""Checkpoints to embedders: loading, bidirectional attention, tokenization, pooling, fingerprint.

All names are imported when first touched: ``Encoder`` needs numpy, and what reads a constant of one module needs none
of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from searchapp.lazy_names import importer

if TYPE_CHECKING:
    from searchapp.encoder.encoder import Encoded, Encoder
    from searchapp.encoder.options import LoadOptions
    from searchapp.encoder.settings import Settings
    from searchapp.encoder.template import Template
    from searchapp.encoder.token_vectors import TokenVectors

__all__ = ["Encoded", "Encoder", "LoadOptions", "Settings", "Template", "TokenVectors"]
__getattr__ = importer(
    __name__,
    {
        "encoder": ("Encoded", "Encoder"),
        "options": ("LoadOptions",),
        "settings": ("Settings",),
        "template": ("Template",),
        "token_vectors": ("TokenVectors",),
    },
)
