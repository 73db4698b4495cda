"""What an index holds and how it is changed: its documents and vectors by id, add, delete, compact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import SearchAppError
from searchapp.html_table import html_table
from searchapp.index import VectorIndex
from searchapp.index.encoder_match import document_encoder, recorded_backend, recorded_encoder, require_match
from searchapp.progress import Progress, shown
from searchapp.search.hit import Hits
from searchapp.search.likeness import known_row, like, rows_of
from searchapp.shards.opening import open_index

if TYPE_CHECKING:
    from searchapp.corpus import Document
    from searchapp.index import Added, Compacted, Deleted


class Contents:
    """One state of an index, by the ids of its documents; a change moves it on to the next state.

    ``vectors`` is that state. The encoder is loaded when it is first needed.
    """

    def __init__(self, vectors: VectorIndex, encoder: Encoder | None = None, device: str = "auto") -> None:
        self.vectors = vectors
        self._encoder = encoder
        self._writes: Encoder | None = None  # what encodes documents, where that is another one
        self._device = device
        self._loading = RLock()  # models are loaded by one thread, the others wait for it
        if encoder is not None:
            require_match(vectors.manifest, vectors.snapshot.root, encoder)

    @classmethod
    def open(cls, path: str | Path, *, encoder: Encoder | None = None, device: str = "auto") -> Self:
        """Open an index directory, or a root of shards.

        ``encoder`` replaces the recorded one and must have made the same vectors. Raises IndexStoreError for a
        directory that is no finished index, ModelError for an encoder that differs.

        >>> import searchapp, tempfile
        >>> place = tempfile.mkdtemp()
        >>> _ = searchapp.build({"a": "one", "b": "two"}, place, vectors=[[1, 0], [0, 1]])
        >>> len(searchapp.Index.open(place))
        2
        """
        return cls(open_index(path, device if device.startswith("cuda") else "cpu"), encoder, device)

    @property
    def encoder(self) -> Encoder:
        """The encoder recorded in the index. Raises ModelError when it is gone or no longer the same."""
        with self._loading:
            if self._encoder is None:
                snapshot = self.vectors.snapshot
                self._encoder = recorded_encoder(snapshot.manifest, snapshot.root, self._device, backend="auto")
            return self._encoder

    def refresh(self) -> bool:
        """Move on to the newest state of the directory; says whether it moved. The encoder is kept.

        Until then this object sees the state it was opened on, whatever writers do; where the directory was removed and
        made anew it moves to the index that is there now. Raises IndexStoreError where there is none, and ModelError
        when it was built by another encoder.

        >>> import searchapp, tempfile
        >>> place = tempfile.mkdtemp()
        >>> index = searchapp.build({"a": "one", "b": "two"}, place, vectors=[[1, 0], [0, 1]])
        >>> _ = searchapp.Index.open(place).delete(["a"])
        >>> index.refresh(), len(index)
        (True, 1)
        """
        newest = open_index(self.vectors.snapshot.root, self.vectors.device)
        if not _follows(newest, self.vectors):
            return False
        with self._loading:
            if not _follows(newest, self.vectors):  # another thread was faster
                return False
            if self._encoder is not None:
                require_match(newest.manifest, newest.snapshot.root, self._encoder)
            if not self.vectors.snapshot.in_place:
                self._writes = None  # the index that is there now may record another
            self.vectors = newest
        return True

    def __len__(self) -> int:
        return self.vectors.manifest.documents

    def __iter__(self) -> Iterator[Document]:
        """The documents in the order of their rows, from one state of the index.

        >>> import searchapp, tempfile
        >>> index = searchapp.build({"a": "one", "b": "two"}, tempfile.mkdtemp(), vectors=[[1, 0], [0, 1]])
        >>> len(index), [document.text for document in index]
        (2, ['one', 'two'])
        """
        index = self.vectors
        for number, segment in enumerate(index.snapshot.segments):
            alive = index.alive
            yield from index.rows.documents(
                number, None if alive is None else alive[segment.base : segment.base + segment.count]
            )

    def __contains__(self, identifier: object) -> bool:
        return isinstance(identifier, str) and known_row(self.vectors, identifier) is not None

    def _repr_html_(self) -> str:
        manifest = self.vectors.manifest
        facts = {
            "index": str(self.vectors.snapshot.root), "documents": f"{manifest.documents:,}",
            "model": manifest.encoder["reference"]["model"], "dimensions": manifest.dim,
            "search": manifest.ann.factory if manifest.ann else "", "words": manifest.lexical is not None,
        }  # fmt: skip
        return html_table(("", ""), facts.items())

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """The documents with these ids, in their order. Raises SearchAppError for an id that no document has.

        >>> import searchapp, tempfile
        >>> index = searchapp.build({"a": "one", "b": "two"}, tempfile.mkdtemp(), vectors=[[1, 0], [0, 1]])
        >>> index.documents(["b"])[0].text
        'two'
        """
        index = self.vectors
        return index.read(rows_of(index, _ids(ids)).tolist())

    def vectors_of(self, ids: Sequence[str]) -> np.ndarray:
        """The stored vectors of the documents with these ids, unit float32 (n, dim), in their order.

        Raises SearchAppError for an id that no document has.

        >>> import searchapp, tempfile
        >>> index = searchapp.build({"a": "one", "b": "two"}, tempfile.mkdtemp(), vectors=[[1, 0], [0, 2]])
        >>> index.vectors_of(["b", "a"]).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        """
        index = self.vectors
        return index.vectors.gather(rows_of(index, _ids(ids)))

    def like(self, id: str, k: int = 10, *, filter: str | None = None) -> Hits:
        """The k documents whose vectors are closest to that of a document, itself left out; no model is loaded.

        >>> import searchapp, tempfile
        >>> texts = {"a": "one", "b": "two", "c": "three"}
        >>> index = searchapp.build(texts, tempfile.mkdtemp(), vectors=[[1, 0], [0, 1], [1, 0.5]])
        >>> [hit.id for hit in index.like("a", k=1)]
        ['c']
        """
        return Hits(like(self.vectors, id, k, filter=filter).hits)

    def add(
        self,
        documents: Any,
        *,
        vectors: Any = None,
        text: str = "text",
        title: str = "title",
        id: str | None = None,
        name: str | None = None,
        sync: bool = False,
        prune: bool = False,
        dry_run: bool = False,
        fold: bool = True,
        progress: Progress | bool | None = None,
    ) -> Added:
        """Add documents; one whose id is there takes its place. They are found as soon as it returns.

        Documents and their fields are as in ``searchapp.build``, the other options as in ``searchapp add``: ``sync``
        also removes what the source of this ``name`` had before and has no more. Without ``fold`` they are compared
        exactly beside the trained index until the next ``compact``, or add with it: for many adds after each other.
        Raises CorpusError, ModelError or IndexStoreError.

        >>> import searchapp, tempfile
        >>> index = searchapp.build({"a": "one"}, tempfile.mkdtemp(), vectors=[[1, 0]])
        >>> index.add([("b", "two"), ("a", "one")], vectors=[[0, 1], [1, 0]]).added
        1
        """
        from searchapp.corpus.memory import FieldNames
        from searchapp.index import AddSettings
        from searchapp.search.given_documents import Given, say_rejected
        from searchapp.shards import noted

        given = Given.of(documents, vectors, FieldNames(id, title, text), name)
        root = self.vectors.snapshot.root
        settings = AddSettings(sync=sync, prune=prune, dry_run=dry_run, fold=fold)
        with shown(progress) as told:
            done = noted.add(given.sources, root, self._document_encoder(), settings, progress=told)
        say_rejected(done.rejected, done.reasons, root)
        self.refresh()
        return done

    def delete(self, ids: Sequence[str] = (), *, filter: str | None = None) -> Deleted:
        """Delete the documents with these ids, and those whose metadata pass a filter; gone when it returns.

        Ids that no document has are in the result. Raises IndexStoreError.

        >>> import searchapp, tempfile
        >>> index = searchapp.build({"a": "one", "b": "two"}, tempfile.mkdtemp(), vectors=[[1, 0], [0, 1]])
        >>> index.delete(["a"]).deleted, len(index)
        (1, 1)
        """
        from searchapp.shards import noted

        done = noted.delete(self.vectors.snapshot.root, _ids(ids), filter=filter)
        self.refresh()
        return done

    def compact(self, *, progress: Progress | bool | None = None) -> Compacted:
        """Drop what was deleted, fold in what was added, and train the search index again. Raises IndexStoreError.

        >>> import searchapp, tempfile
        >>> index = searchapp.build({"a": "one", "b": "two"}, tempfile.mkdtemp(), vectors=[[1, 0], [0, 1]])
        >>> _ = index.delete(["a"])
        >>> index.compact().removed
        1
        """
        from searchapp.shards import noted

        with shown(progress) as told:
            done = noted.compact(self.vectors.snapshot.root, progress=told)
        self.refresh()
        return done

    def _document_encoder(self) -> Encoder:
        """The encoder as it made the documents; queries may be encoded by another backend."""
        manifest, root = self.vectors.manifest, self.vectors.snapshot.root
        with self._loading:
            if self._encoder is not None and self._encoder.backend.name == recorded_backend(manifest):
                return self._encoder
            if self._writes is None:
                self._writes = document_encoder(manifest, root, self._device)
            return self._writes


def _follows(newest: VectorIndex, now: VectorIndex) -> bool:
    """Whether a state is later than another, or that one is gone, and its directory was made anew."""
    return newest.manifest.number > now.manifest.number or not now.snapshot.in_place


def _ids(ids: Sequence[str]) -> list[str]:
    """Ids as a list. Raises SearchAppError for a single text in place of several, whose letters would be taken."""
    if isinstance(ids, str):
        raise SearchAppError(f"ids are {ids!r}; expected a list of ids: [{ids!r}]")
    return list(ids)
