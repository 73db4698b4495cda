"""Whether the test is in the training data: what a collection's queries and judged documents share with it.

Looked at is only the training text that is given. What a base model or a teacher read before cannot be known from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from searchapp.corpus import Document, open_source
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import Collection, Qrels
from searchapp.evaluate.metrics import Scores, score
from searchapp.evaluate.protocol import Ranking
from searchapp.evaluate.shared_text import NGRAM, SENTENCE, Shared, SharedTextFinder

UNKNOWABLE = (
    "only the training text given was looked at; what a base model or a teacher read before cannot be known from it"
)
RULE = (
    f"overlap: {NGRAM} words in a row, or a whole sentence of at least {SENTENCE} words, in NFKC and lower case, "
    "punctuation left out"
)


@dataclass(frozen=True)
class TrainingFile:
    """A file of training text: its name and its texts, streamed each time it is asked."""

    name: str
    texts: Callable[[], Iterator[str]]


@dataclass(frozen=True)
class TestText:
    """A query or a judged document: its id and its parts, a document's title apart from its text."""

    id: str
    parts: tuple[str, ...]

    __test__ = False  # no test, for pytest


@dataclass(frozen=True)
class Side:
    """The queries or the judged documents of a collection, and what each shares with the training text, by id."""

    texts: Mapping[str, TestText]
    shared: Mapping[str, Shared]

    @property
    def overlapping(self) -> frozenset[str]:
        """The ids of those that share an n-gram or a sentence."""
        return frozenset(name for name, one in self.shared.items() if one.overlaps)

    def worst(self, most: int) -> list[tuple[TestText, Shared]]:
        """Those of which most words are shared, the worst first."""
        names = sorted(
            self.overlapping,
            key=lambda name: (-self.shared[name].covered / max(1, self.shared[name].words), -self.shared[name].covered),
        )
        return [(self.texts[name], self.shared[name]) for name in names[:most]]

    def to_json(self, most: int) -> dict[str, Any]:
        """Counts, shares, and the worst ones."""
        count = len(self.shared)
        by_ngram = sum(one.shared_ngrams > 0 for one in self.shared.values())
        by_sentence = sum(one.shared_sentences > 0 for one in self.shared.values())
        return {
            "count": count,
            "overlapping": len(self.overlapping),
            "share": len(self.overlapping) / max(1, count),
            "share_by_ngram": by_ngram / max(1, count),
            "share_by_sentence": by_sentence / max(1, count),
            "too_short": sum(one.is_too_short for one in self.shared.values()),
            "overlapping_ids": sorted(self.overlapping),
            "worst": [{"id": text.id, **asdict(one)} for text, one in self.worst(most)],
        }


@dataclass(frozen=True)
class Overlap:
    """What a collection shares with training text. ``missing`` judged documents have no text in the corpus."""

    collection: str
    split: str
    queries: Side
    documents: Side
    missing: int

    def to_json(self, most: int) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        return {
            "collection": self.collection,
            "split": self.split,
            "queries": self.queries.to_json(most),
            "documents": self.documents.to_json(most),
            "documents_missing": self.missing,
        }


@dataclass(frozen=True)
class TrainingRead:
    """How much training text was read: texts, bytes as UTF-8, and the CPU time of this process that it took."""

    files: tuple[str, ...]
    texts: int
    bytes: int
    cpu_seconds: float


def find_overlap(
    collections: Sequence[Collection], training: Sequence[TrainingFile], stage: Callable[[str], None] | None = None
) -> tuple[list[Overlap], TrainingRead]:
    """Read the training text once, and say what each collection shares with it; ``stage`` hears each file's name.

    Raises EvaluationError where a collection has no text to look for, or there is no training text; CorpusError for a
    corpus that cannot be read.
    """
    if not training:
        raise EvaluationError("no training text was given; give the files that the model was trained on")
    sides = [(_queries(collection), _documents(collection)) for collection in collections]
    for collection, (_, documents) in zip(collections, sides, strict=True):
        if not documents:
            raise EvaluationError(f"{collection.corpus} holds none of the judged documents; check qrels and corpus")
    finder = SharedTextFinder([text.parts for pair in sides for side in pair for text in side])
    began = time.process_time()
    for file in training:
        if stage is not None:
            stage(file.name)
        finder.read(file.texts(), file.name)
    seconds = time.process_time() - began
    shared = iter(finder.shared())
    found = []
    for collection, pair in zip(collections, sides, strict=True):
        made = [Side({text.id: text for text in side}, {text.id: next(shared) for text in side}) for side in pair]
        judged = {document for levels in collection.qrels.values() for document in levels}
        found.append(Overlap(collection.name, collection.split, made[0], made[1], len(judged) - len(made[1].texts)))
    return found, TrainingRead(tuple(file.name for file in training), finder.texts, finder.bytes, seconds)


def _queries(collection: Collection) -> list[TestText]:
    return [TestText(query.id, (query.text,)) for query in collection.queries]


def _documents(collection: Collection) -> list[TestText]:
    """The judged documents in the corpus's order."""
    judged = {document for levels in collection.qrels.values() for document in levels}
    items = (record.item for record in open_source(str(collection.corpus)).records())
    return [
        TestText(item.id, tuple(part for part in (item.title, item.text) if part))
        for item in items
        if isinstance(item, Document) and item.id in judged
    ]


@dataclass(frozen=True)
class CleanScores:
    """How a run scores without what overlaps. ``name`` says what was left out, ``dropped`` how many of it."""

    name: str
    dropped: int
    queries: int
    scores: Scores | None  # None where nothing is left to score

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        metrics = self.scores.estimates() if self.scores else {}
        return {
            "without": self.name,
            "dropped": self.dropped,
            "queries": self.queries,
            "metrics": {name: asdict(one) for name, one in metrics.items()},
        }


def clean_scores(overlap: Overlap, run: Ranking, qrels: Qrels, metrics: Sequence[str]) -> list[CleanScores]:
    """Score a run as it is, and without the queries, the judged documents, and both, that overlap.

    A document that is left out is neither found nor judged; a query that has no relevant document left goes too.
    """
    queries, documents = overlap.queries.overlapping, overlap.documents.overlapping
    both = len(queries) + len(documents)
    return [
        _scored("nothing", 0, run, qrels, metrics, (), ()),
        _scored("overlapping queries", len(queries), run, qrels, metrics, queries, ()),
        _scored("overlapping documents", len(documents), run, qrels, metrics, (), documents),
        _scored("both", both, run, qrels, metrics, queries, documents),
    ]


def _scored(
    name: str,
    dropped: int,
    run: Ranking,
    qrels: Qrels,
    metrics: Sequence[str],
    queries: Iterable[str],
    documents: Iterable[str],
) -> CleanScores:
    barred, gone = set(queries), set(documents)
    kept: Qrels = {}
    for query, levels in qrels.items():
        left = {document: level for document, level in levels.items() if document not in gone}
        lost = len(left) < len(levels) and not any(level > 0 for level in left.values())
        if query not in barred and not lost:
            kept[query] = left
    hits = {query: {name: points for name, points in run.get(query, []) if name not in gone} for query in kept}
    return CleanScores(name, dropped, len(kept), score(hits, kept, metrics) if kept else None)
