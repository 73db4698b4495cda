"""Semantic search over your own documents with LLM2Vec embedders: build, search, measure.

``Encoder`` and ``Index`` are imported when first touched, so that ``import searchapp`` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from searchapp import telemetry

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.search import Index

__version__ = "0.1.0"
__all__ = ["Encoder", "Index", "__version__"]

telemetry.switch_off()  # here, because nothing of searchapp imports another library before


def __getattr__(name: str) -> Any:
    if name == "Encoder":
        from searchapp.encoder import Encoder

        return Encoder
    if name == "Index":
        from searchapp.search import Index

        return Index
    raise AttributeError(f"module 'searchapp' has no attribute {name!r}")
