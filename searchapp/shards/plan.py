"""The plan of a build: its sources cut into chunks, and all that decides what a chunk comes to.

A plan is committed once and never changes. The documents of all chunks in order are the documents of the build by one
process. The id of a chunk is a hash of its plan's nonce and of all that decides its content, so that a file under that
id is the chunk's, whoever made it, and a worker that is left of another plan writes nothing that this one takes.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from searchapp.corpus import Source
from searchapp.corpus.part import Piece, Span, mark_of, part_of, pieces_of, tokens_of
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import find_source
from searchapp.corpus.urls import has_secrets, shown_url
from searchapp.encoder import Encoder
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.building import PACKAGES, BuildSettings
from searchapp.index.encoder_match import described
from searchapp.index.exchange import require_same_maker
from searchapp.index.intake.files import cutter_of
from searchapp.index.intake.names import absolute, named
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.provenance import package_versions
from searchapp.shards.place import Place
from searchapp.shards.sealed import digest_of, seal, unseal

FORMAT = 1
FILE = "build/plan.json"
CHUNK_TOKENS = 3_000_000  # five minutes at 10,000 tokens/s
LEAST_TOKENS = 20_000  # below which starting a chunk takes longer than it
CHUNKS_A_WORKER = 8  # at least, so that none waits long for the last
CHUNKS_A_SHARD = 4  # at least, so that shards come out alike
SHARD_ROWS = 10_000_000
SAMPLE_ROWS = 50_000  # that training is done on, at least: see ``searchapp.index.ann.train``
SAMPLE_BYTES = 4 << 30
PROBE_TEXTS = (
    "bees make honey", "A train leaves at nine.", "for i in range(10): print(i)", "0123456789", "Größe und Maß",
    "how do I open a file?", "the quick brown fox jumps over the lazy dog", "\u4f60\u597d",
)  # fmt: skip # what workers encode to show that they make the same vectors
_ID = re.compile(r"[0-9a-f]{32}")
LEAST_DOCUMENT = 20  # tokens; no more documents than tokens / 20 are expected


@dataclass(frozen=True)
class PlannedSource:
    """A source: its absolute name, its kind, its label in ids, and its identity when the plan was made."""

    name: str
    kind: str
    label: str
    identity: str


@dataclass(frozen=True)
class Chunk:
    """A part of a source. ``number`` counts from 0 in the order of the documents, ``tokens`` is an estimate."""

    number: int
    source: int
    span: Span
    tokens: int
    mark: str
    id: str


@dataclass(frozen=True)
class Plan:
    """All that decides what a build comes to.

    ``encoder`` is what a manifest records of it. ``shards`` is how many there are to be, 0: one for each
    ``SHARD_ROWS`` documents. ``sample`` is how many vectors training is done on. ``asked`` is a digest of the request,
    by which the same one is known without loading the model. ``probes`` are the vectors of
    ``PROBE_TEXTS``. ``nonce`` tells one build from another of the same sources.
    """

    encoder: dict[str, Any]
    dim: int
    sources: tuple[PlannedSource, ...]
    chunks: tuple[Chunk, ...]
    cut: dict[str, Any]
    selection: Selection = Selection()
    pca: int | str | None = None
    factory: str = "auto"
    targets: dict[str, float] = field(default_factory=dict)
    lexical: bool = True
    analyzer: Analyzer | None = None
    segment_size: int = 8_192
    shards: int = 0
    sample: int = SAMPLE_ROWS
    asked: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    probes: tuple[tuple[float, ...], ...] = ()
    nonce: str = ""
    format: int = FORMAT

    @property
    def tokens(self) -> int:
        """Tokens of all chunks, as estimated."""
        return sum(chunk.tokens for chunk in self.chunks)

    @property
    def request(self) -> AnnRequest:
        """What is asked of the search index of each shard."""
        return AnnRequest(self.pca, self.factory, Targets.from_json(self.targets))

    @property
    def settings(self) -> BuildSettings:
        """How the documents of a chunk are encoded."""
        return BuildSettings(
            lexical=self.lexical, analyzer=self.analyzer, segment_size=self.segment_size, selection=self.selection
        )

    @property
    def digest(self) -> str:
        """What tells the plan from any other; it stays when a later version gives plans more fields."""
        return digest_of([self.nonce, [chunk.id for chunk in self.chunks]])

    def open(self, chunk: Chunk) -> Source:
        """The part of a source that a chunk is. Raises CorpusError where its files have changed since the plan."""
        planned = self.sources[chunk.source]
        source = find_source(planned.name, selection=self.selection)
        source = replace(source, label=planned.label)
        if source.kind != planned.kind or mark_of(source, chunk.span) != chunk.mark:
            raise CorpusError(
                f"{planned.name} has changed since the plan was made; put it back as it was, or build again with "
                "--overwrite"
            )
        return part_of(source, chunk.span, chunk.mark)


def make_plan(
    sources: Sequence[Source],
    encoder: Encoder,
    settings: BuildSettings,
    *,
    shards: int = 0,
    workers: int = 1,
    tokens: int | None = None,
    asked: str = "",
) -> Plan:
    """Cut sources into chunks for so many workers; ``tokens`` a chunk, where they are given.

    ``shards`` 0 leaves their number to the documents. Raises CorpusError, ModelError or IndexStoreError for what cannot
    be built so.
    """
    opened = named(sources, settings.names)
    settings.request.check(encoder.dim)
    require_same_maker(opened, encoder)
    total = sum(tokens_of(source) for source in opened)
    size = tokens or min(
        CHUNK_TOKENS, max(LEAST_TOKENS, total // (CHUNKS_A_WORKER * max(1, workers))), -(-total // (4 * (shards or 1)))
    )
    found = [(number, piece) for number, source in enumerate(opened) for piece in pieces_of(source, max(1, size))]
    plan = Plan(
        encoder=described(encoder),
        dim=encoder.dim,
        sources=tuple(PlannedSource(absolute(one.name), one.kind, one.label, one.identity()) for one in opened),
        chunks=(),
        cut=cutter_of(encoder).rule.to_json(),
        selection=settings.selection,
        pca=settings.pca,
        factory=settings.factory,
        targets=settings.targets.to_json(),
        lexical=settings.lexical,
        analyzer=settings.analyzer,
        segment_size=settings.segment_size,
        shards=shards,
        sample=sample_rows(encoder.dim, total // LEAST_DOCUMENT),
        asked=asked,
        versions=package_versions(PACKAGES),
        probes=_probes(encoder),
        nonce=uuid.uuid4().hex,
    )
    return replace(plan, chunks=_chunks(plan, found))


def require_no_secrets(sources: Sequence[str]) -> None:
    """Raise CorpusError for a URL with secrets: a plan keeps none of them, so that no worker could open it."""
    for source in sources:
        if has_secrets(source):
            raise CorpusError(
                f"{shown_url(source)} is given with a query, a password or a user name, which no plan keeps for its "
                "workers; expected a URL without: give what is secret by the environment, fetch the file and name it, "
                "or build without --engine"
            )


def commit_plan(place: Place, plan: Plan) -> Plan:
    """Commit a plan, or find the one that was committed before. Raises IndexStoreError where that is another build's.

    What may differ is how sources were cut: the plan that is there decides.
    """
    try:
        place.put_new(FILE, seal(_to_json(plan)))
    except FileExistsError:
        there = load_plan(place)
        require_same_build(there, plan)
        return there
    return plan


def require_same_build(there: Plan, plan: Plan) -> None:
    """Raise IndexStoreError unless two plans come to the same documents and indexes."""
    before, now = (_deciding(one) for one in (there, plan))
    wrong = [name for name in before if before[name] != now[name]]
    if wrong:
        raise IndexStoreError(
            f"a build with another {', another '.join(wrong)} was begun here; give the same sources and options, "
            "another --index, or --overwrite to start again"
        )


def load_plan(place: Place) -> Plan:
    """The plan that was committed. Raises IndexStoreError where there is none, or it is damaged."""
    try:
        content = unseal(place.get(FILE), FILE)
    except FileNotFoundError:
        raise IndexStoreError(
            "no build was begun here; begin one with `searchapp build SOURCE... --index … --engine processes`"
        ) from None
    if content.get("format") != FORMAT:
        raise IndexStoreError(
            f"{FILE} has format {content.get('format')!r}, expected {FORMAT}; use the searchapp that wrote it"
        )
    return _from_json(content)


def _deciding(plan: Plan) -> dict[str, Any]:
    """What must be equal in two plans of one build, by what a user calls it."""
    return {
        "model": [plan.encoder["fingerprint"], plan.encoder["dtype"], plan.encoder["backend"]],
        "set of sources": [asdict(source) for source in plan.sources],
        "selection of files": asdict(plan.selection),
        "way of cutting text": plan.cut,
        "search index": [plan.pca, plan.factory, plan.targets],
        "count of words": [plan.lexical, asdict(plan.analyzer) if plan.analyzer else None],
        "segment size": plan.segment_size,
        "number of shards": plan.shards,
    }


def _chunks(plan: Plan, found: Sequence[tuple[int, Piece]]) -> tuple[Chunk, ...]:
    deciding = _deciding(plan)
    names = ("model", "selection of files", "way of cutting text", "count of words", "segment size")
    before, chunks = digest_of([FORMAT, plan.nonce, *(deciding[name] for name in names)]), []
    for number, (source, piece) in enumerate(found):
        planned = plan.sources[source]
        name = digest_of([before, planned.label, planned.kind, planned.name, asdict(piece.span), piece.mark])
        chunks.append(Chunk(number, source, piece.span, piece.tokens, piece.mark, name))
    return tuple(chunks)


def _probes(encoder: Encoder) -> tuple[tuple[float, ...], ...]:
    made = encoder.encode_counted(list(PROBE_TEXTS), encoder.settings.document_instruction).vectors
    return tuple(tuple(round(float(number), 6) for number in row) for row in made)


def sample_rows(dim: int, documents: int) -> int:
    """Vectors to train on: 8 a dimension for the reduction, 40 for each of the 4 √N lists of a shard of N rows."""
    rows = min(SHARD_ROWS, max(1, documents))
    wanted = max(SAMPLE_ROWS, 8 * dim, round(160 * math.sqrt(rows)))
    return max(1, min(wanted, SAMPLE_BYTES // (2 * dim)))


def _to_json(plan: Plan) -> dict[str, Any]:
    content = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    marks = list(dict.fromkeys(chunk.mark for chunk in plan.chunks))
    places = {mark: number for number, mark in enumerate(marks)}
    return {
        **content,
        "sources": [asdict(source) for source in plan.sources],
        "selection": asdict(plan.selection),
        "analyzer": asdict(plan.analyzer) if plan.analyzer else None,
        "marks": marks,
        "chunks": [
            [one.source, one.span.unit, one.span.begin, one.span.end, one.tokens, places[one.mark], one.id]
            for one in plan.chunks
        ],
    }


def _from_json(content: dict[str, Any]) -> Plan:
    marks = content.pop("marks")
    chosen = content["selection"]
    content["chunks"] = tuple(
        Chunk(number, source, Span(unit, begin, end), tokens, marks[mark], name)
        for number, (source, unit, begin, end, tokens, mark, name) in enumerate(content["chunks"])
    )
    for chunk in content["chunks"]:
        if not _ID.fullmatch(chunk.id):  # folders to work in have its name
            raise IndexStoreError(f"{FILE} has a chunk {chunk.id[:80]!r}; build again with --overwrite")
    content["sources"] = tuple(PlannedSource(**source) for source in content["sources"])
    content["selection"] = Selection(
        tuple(chosen["include"]), tuple(chosen["exclude"]), chosen["ignores"], chosen.get("columns", "")
    )
    content["probes"] = tuple(tuple(row) for row in content["probes"])
    content["analyzer"] = Analyzer(**content["analyzer"]) if content["analyzer"] else None
    return Plan(**content)
