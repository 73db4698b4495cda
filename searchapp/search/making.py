"""Making and changing an index from Python: documents in memory, or paths of sources, to an index that is open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.corpus.memory import FieldNames
from searchapp.corpus.source import open_source
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.index import Analyzer, BuildSettings, VectorIndex
from searchapp.index.ann.request import Targets
from searchapp.index.exchange import exported_by, exporting_encoder
from searchapp.index.given import GivenVectors
from searchapp.index.storage.segment import SEGMENT_DOCUMENTS
from searchapp.progress import Progress, shown
from searchapp.search.given_documents import Given, say_rejected
from searchapp.shards import noted

if TYPE_CHECKING:
    from searchapp.search.searcher import Index

BUNDLED = "bundled"


def build(
    documents: Any,
    path: str | Path,
    *,
    model: str | Encoder | None = None,
    vectors: Any = None,
    text: str = "text",
    title: str = "title",
    id: str | None = None,
    name: str | None = None,
    pca: int | str | None = None,
    factory: str = "auto",
    recall: float | None = None,
    memory: float | None = None,
    latency: float | None = None,
    lexical: bool | None = None,
    language: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    segment_size: int = SEGMENT_DOCUMENTS,
    progress: Progress | bool | None = None,
) -> Index:
    """Build an index of documents at ``path``, or go on with a build that was interrupted; returns it open.

    ``documents`` are texts, (id, text) pairs, mappings, a mapping of ids to texts, ``Document``s, a DataFrame of pandas
    or polars, an Arrow table or record batches, a Hugging Face data set, an iterator of such records, or paths of
    sources as ``searchapp build`` takes them (``"notes/"``, or a list of ``Path``s). ``text``, ``title`` and ``id``
    name their fields; a record without an id gets one of its text. ``name`` is what the source is called in the index.

    ``model`` is what ``Encoder.load`` takes, or an encoder. ``vectors`` (documents, dim), an array or the name of a
    column, stand in place of what a model would make; without ``model`` the index then has none, and is searched by
    vectors, and by words where there is text. The other options are those of the command; ``memory`` is in bytes.
    ``lexical`` None: where there is text. ``progress`` None: bars in notebooks and terminals.

    The same documents given again leave a finished index as it is, and go on with one that is not finished; documents
    of an iterator, which come only once, cannot be gone on with. Raises CorpusError, ModelError or IndexStoreError.

    >>> import searchapp, tempfile
    >>> index = searchapp.build(
    ...     [("bee", "bees make honey"), ("ant", "ants dig tunnels")], tempfile.mkdtemp(), progress=False
    ... )
    >>> [hit.id for hit in index.search("who makes honey?", k=1)]
    ['bee']
    """
    from searchapp.search.searcher import Index

    given = Given.of(documents, vectors, FieldNames(id, title, text), name)
    has_text = given.first is None or bool(given.first.text.strip() or given.first.title.strip())
    asked = {"recall": recall, "memory": memory, "latency": latency}
    targets = Targets.from_json({key: float(value) for key, value in asked.items() if value is not None})
    targets.check()
    settings = BuildSettings(
        pca=pca,
        factory=factory,
        targets=targets,
        lexical=has_text if lexical is None else lexical,
        analyzer=Analyzer.of_language(language) if language else None,
        overwrite=overwrite,
        segment_size=segment_size,
    )
    for source in given.sources:
        if isinstance(source, str):
            open_source(source)  # a missing file is said before a model is loaded
    encoder = _encoder(model, given, device, vectors)
    with shown(progress) as told:
        done = noted.build(given.sources, Path(path), encoder, settings, progress=told)
    say_rejected(done.manifest.build.rejected, done.manifest.build.reasons, Path(path))
    return Index(VectorIndex.open(path, device if device.startswith("cuda") else "cpu"), encoder, device)


def _encoder(model: str | Encoder | None, given: Given, device: str, vectors: Any) -> Encoder:
    """What makes the vectors: the model, or nothing where they came with the documents."""
    if model is not None and not isinstance(model, str):
        return model
    if model is None and vectors is not None:
        if not isinstance(vectors, str):
            return GivenVectors.encoder(int(np.shape(vectors)[1]))
        if given.first is None or given.first.vector is None:
            raise IndexStoreError(
                f"the first document has no usable vector in {vectors!r}, so that the length of vectors is not known; "
                "give it a list of finite numbers"
            )
        return GivenVectors.encoder(len(given.first.vector))
    if model is None and (record := exported_by(given.sources)) is not None:
        return exporting_encoder(record, device)
    return Encoder.load(model or BUNDLED, device=device, fingerprint=True)
