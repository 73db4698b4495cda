"""An index behind a server, as the commands that search take it in the place of one in a directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from searchapp.errors import SearchAppError, reason_of

if TYPE_CHECKING:
    from searchapp.cli.search_options import FusionOptions, RerankOptions
    from searchapp.client import Client
    from searchapp.progress import Progress
    from searchapp.rerank import Reranker
    from searchapp.search import Answer, Fusion, Index, SearchOptions

TOKEN = "SEARCHAPP_TOKEN"  # noqa: S105 - the name of a variable
DEEPEST = 1_000  # hits that a server gives


class ServedIndex:
    """What the command line reads of an ``Index``, of one that a server has.

    ``vectors`` says what is in it, so that hits are shown, and rankings fused, as of a directory. Its files are on the
    server's machine: the places of hits are as their metadata have them.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        known = client.description
        words = None
        if known.get("words") is not None:
            words = SimpleNamespace(
                stemmer=known["words"]["stemmer"],
                stop_words=known["words"]["stop_words"],
                analysis=known["words"]["version"],
                fusion=known.get("fusion"),
            )
        manifest = SimpleNamespace(documents=known["documents"], lexical=words, sources=())
        notices = [*known.get("notices", ()), *([known["failure"]] if known.get("failure") else ())]
        self.vectors = _Vectors(manifest, SimpleNamespace(notices=notices), client.url)

    @property
    def encoder(self) -> Client:
        """What embeds passages, to choose among them."""
        return self.client

    @property
    def is_one_file(self) -> bool:
        """Whether all documents are passages of one file."""
        return bool(self.client.description.get("one_file"))

    def answer(
        self, queries: Sequence[str], k: int, options: SearchOptions, *, progress: Progress | None = None
    ) -> list[Answer]:
        """See ``Client.answer``."""
        return self.client.answer(queries, k, options, progress=progress)

    def reranker(self, asked: RerankOptions) -> str | None:
        """The name of a reranker. Raises SearchAppError for one that the server does not have."""
        there = self.client.description["rerankers"]
        if asked.rerank is not None and asked.rerank not in there:
            names = f"it has {', '.join(there)}" if there else "it has none"
            raise SearchAppError(
                f"{self.client.url} has no reranker {asked.rerank!r}; {names}; rerankers are given to `searchapp serve`"
            )
        return asked.rerank


class _Vectors:
    def __init__(self, manifest: SimpleNamespace, snapshot: SimpleNamespace, url: str) -> None:
        self.manifest, self.snapshot, self._url = manifest, snapshot, url

    @cached_property
    def lexical(self) -> Any:
        """The words. Raises SearchAppError where they were not counted."""
        if self.manifest.lexical is None:
            raise SearchAppError(f"the words of {self._url} were not counted; search it with --mode dense")
        return SimpleNamespace(part=self.manifest.lexical)


def open_searchable(place: Path | str, device: str, token_file: Path | None = None) -> Index | ServedIndex:
    """Open a directory, or connect to a server. Raises SearchAppError."""
    if isinstance(place, Path):
        if token_file is not None:
            raise SearchAppError(f"--token-file is for a server, and {place} is a directory; leave it out")
        from searchapp.search import Index

        return Index.open(place, device=device)
    from searchapp.client import connect

    return ServedIndex(connect(place, given_token(token_file)))


def given_token(path: Path | None) -> str | None:
    """The token in a file, else the one in the environment, else None. Raises SearchAppError."""
    if path is None:
        return os.environ.get(TOKEN, "").strip() or None
    try:
        return path.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SearchAppError(
            f"the token file {path} cannot be read: {reason_of(error)}; give the file that `searchapp serve` has"
        ) from error


def as_index(index: Index | ServedIndex) -> Index:
    """What reads no more of an index than ``ServedIndex`` has, takes one in this way."""
    return cast("Index", index)


def mode_of(index: Index | ServedIndex, fusing: FusionOptions) -> tuple[str, Fusion | None]:
    """See ``FusionOptions.chosen``."""
    return fusing.chosen(as_index(index).vectors)


def reranker_of(index: Index | ServedIndex, asked: RerankOptions, device: str = "auto") -> str | Reranker | None:
    """The reranker that is asked for: loaded, or by its name on the server."""
    return index.reranker(asked) if isinstance(index, ServedIndex) else asked.load(device)


def has_one_file(index: Index | ServedIndex) -> bool:
    """Whether all documents are passages of one file."""
    if isinstance(index, ServedIndex):
        return index.is_one_file
    from searchapp.search.groups import is_one_file

    return is_one_file(index.vectors)


def passing(index: Index | ServedIndex, expression: str) -> int:
    """How many documents pass a filter. Raises SearchAppError for one that is not understood or names no key."""
    if isinstance(index, ServedIndex):
        return index.client.passing(expression)
    from searchapp.index import Filter

    allowed = index.vectors.allowed(Filter(expression))
    return index.vectors.manifest.documents if allowed is None else int(allowed.sum())


def like_one(index: Index | ServedIndex, identifier: str, k: int, options: SearchOptions) -> Answer:
    """What is like a document. Raises SearchAppError for an id that is not there."""
    if isinstance(index, ServedIndex):
        if options.candidates is not None:
            raise SearchAppError("a server chooses the candidates of --like itself; leave out --candidates")
        return index.client.like(identifier, k, filter=options.filter)
    from searchapp.search import like

    return like(index.vectors, identifier, k, filter=options.filter, candidates=options.candidates)


def depth_of(index: Index | ServedIndex, depth: int, k: int) -> int:
    """How deep k groups are looked for, of the depth that would be best: a server gives no more than ``DEEPEST``."""
    return min(depth, max(k, DEEPEST)) if isinstance(index, ServedIndex) else depth
