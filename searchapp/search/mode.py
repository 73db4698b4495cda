"""Which sides answer a query: the vectors, the words, or both."""

from __future__ import annotations

from searchapp.errors import SearchAppError
from searchapp.index import VectorIndex
from searchapp.index.given import has_given_vectors
from searchapp.index.storage.manifest import Manifest
from searchapp.search.fusion import DEFAULT, Fusion, stored_fusion

MODES = ("auto", "dense", "bm25", "hybrid")


def chosen(index: VectorIndex, mode: str = "auto", hybrid: bool | Fusion | None = None) -> tuple[str, Fusion | None]:
    """What a mode means for an index: ``dense``, ``bm25`` or ``hybrid``, and how the sides are fused in the last two.

    ``auto`` is hybrid where the index has the words of its documents counted, else dense. ``hybrid`` is the older way
    to say it: True or a fusion for hybrid, False for dense. The fusion is the one given, else the one the index was
    tuned to, else the default. Raises SearchAppError for a mode that is unknown or contradicts ``hybrid``, and
    IndexStoreError where the index has no words and the mode needs them.
    """
    mode = wanted(mode, hybrid)
    if mode == "auto":
        mode = best_mode(index.manifest)
    if mode == "dense":
        return mode, None
    words = index.words  # an index without any is refused here, before a model is loaded
    return mode, hybrid if isinstance(hybrid, Fusion) else stored_fusion(words) or DEFAULT


def best_mode(manifest: Manifest) -> str:
    """The mode of queries in words where none is asked for: hybrid where there are words, else dense.

    Without a model that embeds a query: bm25.
    """
    if manifest.lexical is None:
        return "dense"
    return "bm25" if has_given_vectors(manifest) else "hybrid"


def wanted(mode: str, hybrid: bool | Fusion | None) -> str:
    """The mode that the two ways to say it ask for. Raises SearchAppError where they contradict each other."""
    require_known(mode)
    if hybrid is None:
        return mode
    meant = "dense" if hybrid is False else "hybrid"
    if mode not in ("auto", meant):
        raise SearchAppError(f"mode {mode!r} and hybrid={hybrid!r} contradict each other; give one of them")
    return meant


def require_known(mode: str) -> None:
    """Raise SearchAppError for a mode that there is not."""
    if mode not in MODES:
        raise SearchAppError(f"mode {mode!r} is unknown; expected one of {', '.join(MODES)}")


def meaning(mode: str, fusion: Fusion | None, reranker: str | None = None) -> str:
    """What a hit's score is, in words."""
    if reranker is not None:
        return f"score of the reranker {reranker}"
    if mode == "hybrid" and fusion is not None:
        return fusion.meaning
    return "BM25" if mode == "bm25" else "cosine"
