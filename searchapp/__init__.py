"""Semantic search over your own documents with LLM2Vec embedders: build, search, measure.

Three lines from a DataFrame to ranked hits::

    import searchapp
    index = searchapp.build(frame, "indexes/frame")
    hits = index.search("what to look for")

All names are imported when first touched, so that ``import searchapp`` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from searchapp import telemetry

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.evaluate.runs import evaluate_runs
    from searchapp.search import Index
    from searchapp.search.making import build

__version__ = "0.1.0"
__all__ = ["Encoder", "Index", "__version__", "build", "evaluate_runs"]

telemetry.switch_off()  # here, because nothing of searchapp imports another library before


_PLACES = {
    "Encoder": "searchapp.encoder",
    "Index": "searchapp.search",
    "build": "searchapp.search.making",
    "evaluate_runs": "searchapp.evaluate.runs",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'searchapp' has no attribute {name!r}")
