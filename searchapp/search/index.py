"""An index that is asked in words: the stored vectors together with the encoder that made them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import SearchAppError
from searchapp.index import Filter, VectorIndex
from searchapp.index.recorded import recorded_encoder, require_match
from searchapp.search.hit import Answer, Hit


class Index:
    """A finished index and its encoder, which is loaded when the first query comes."""

    def __init__(self, vectors: VectorIndex, encoder: Encoder | None = None, device: str = "auto") -> None:
        self.vectors = vectors
        self._given = encoder
        self._device = device
        if encoder is not None:
            require_match(vectors.manifest, vectors.store.root, encoder)

    @classmethod
    def open(cls, path: str | Path, *, encoder: Encoder | None = None, device: str = "auto") -> Index:
        """Open an index directory; ``encoder`` replaces the recorded one and must have made the same vectors.

        Raises IndexStoreError for a directory that is no finished index, ModelError for an encoder that differs.
        """
        return cls(VectorIndex.open(path, device if device.startswith("cuda") else "cpu"), encoder, device)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder recorded in the index. Raises ModelError when it is gone or no longer the same."""
        if self._given is not None:
            return self._given
        return recorded_encoder(self.vectors.manifest, self.vectors.store.root, self._device)

    def refresh(self) -> bool:
        """Move on to the newest state of the directory; says whether there was one. The encoder is kept.

        Until then this object sees the state it was opened on, whatever writers do. Raises ModelError when the index
        was built again by another encoder.
        """
        newest = VectorIndex.open(self.vectors.store.root)
        if newest.manifest.number == self.vectors.manifest.number:
            return False
        loaded = self._given or self.__dict__.get("encoder")
        if loaded is not None:
            require_match(newest.manifest, newest.store.root, loaded)
        self.vectors = newest
        return True

    @overload
    def search(
        self, query: str, k: int = ..., *, filter: str | None = ..., candidates: int | None = ...
    ) -> list[Hit]: ...
    @overload
    def search(
        self, query: list[str], k: int = ..., *, filter: str | None = ..., candidates: int | None = ...
    ) -> list[list[Hit]]: ...
    def search(
        self, query: str | list[str], k: int = 10, *, filter: str | None = None, candidates: int | None = None
    ) -> list[Hit] | list[list[Hit]]:
        """Return the k best hits of a query, or such a list for each of several; options as in ``answer``."""
        queries = [query] if isinstance(query, str) else query
        hits = [list(answer.hits) for answer in self.answer(queries, k, filter=filter, candidates=candidates)]
        return hits[0] if isinstance(query, str) else hits

    def answer(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        filter: str | None = None,
        candidates: int | None = None,
        instruction: str | None = None,
    ) -> list[Answer]:
        """Search several queries at once; fewer than k hits come back where fewer documents are there or pass.

        ``filter`` is an expression on metadata (see ``searchapp.index.filter``), ``candidates`` the number of rows to
        rescore, ``instruction`` what the encoder puts before each query. Raises SearchAppError for an empty query, for
        text that is not valid Unicode, for k below 1 and for candidates below 0.
        """
        for query in queries:
            if not query.strip():
                raise SearchAppError("the query is empty; give at least one word")
            _require_unicode("query", query)
        if instruction is not None:
            _require_unicode("instruction", instruction)
        if k < 1:
            raise SearchAppError(f"k is {k}; ask for at least 1 hit")
        if candidates is not None and candidates < 0:
            raise SearchAppError(f"candidates is {candidates}; give 0 to rescore none, or a number above it")
        parsed = Filter(filter) if filter else None
        encoder = self.encoder
        began = time.perf_counter()
        vectors = encoder.encode_queries(list(queries), instruction)
        encoded = time.perf_counter()
        scores, rows = self.vectors.search_vectors(vectors, k, candidates=candidates, filter=parsed)
        hits = [self._hits(*pair) for pair in zip(scores, rows, strict=True)]
        searched = time.perf_counter()
        return [Answer(*pair, encoded - began, searched - encoded) for pair in zip(queries, hits, strict=True)]

    def _hits(self, scores: np.ndarray, rows: np.ndarray) -> tuple[Hit, ...]:
        found = []
        for score, row in zip(scores, rows, strict=True):
            if row >= 0:
                document = self.vectors.rows.read(int(row))
                found.append(Hit(document.id, float(score), document.title, document.text, document.metadata))
        return tuple(found)


def _require_unicode(what: str, text: str) -> None:
    """Refuse lone surrogates: what Python makes of command-line bytes that are not UTF-8, and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SearchAppError(f"the {what} {text!r} is not valid Unicode; give it as UTF-8 text") from error
