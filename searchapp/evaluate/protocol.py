"""What a collection's protocol says of documents that are the query itself, or that repeat another document."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial

import numpy as np

from searchapp.corpus import Document
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import UNKNOWN_LIMIT, Collection, Qrels
from searchapp.index import VectorIndex

Ranking = dict[str, list[tuple[str, float]]]

SELF_RULES = ("auto", "drop", "keep")
DUPLICATE_RULES = ("keep", "collapse")
DROPPING = frozenset(
    ("arguana", "quora", "quoraretrieval", "fiqa", "fiqa2018", "fever", "msmarco", "trecdl2019", "trecdl2020")
    + ("feedbackqaretrieval", "mlquestions")
)
"""Collections whose published figures leave out the document that has the query's id (as mteb lists them)."""


@dataclass(frozen=True)
class Corpus:
    """What the protocol needs to know of an index's documents.

    ``ids`` are the rows' ids, object (rows,), and ``row_of`` has the rows of those that are judged. ``same_id`` counts
    the queries that share their id with a document, ``selves`` are those whose own document is left out. ``group``
    numbers the documents by their text: equal text, equal number; ``repeated`` counts the documents whose text stands
    further up already. ``unknown`` counts the judged documents that are not there.
    """

    ids: np.ndarray
    row_of: Mapping[str, int]
    same_id: int
    selves: frozenset[str]
    group: np.ndarray
    repeated: int
    unknown: int
    judged: int
    self_rule: str
    duplicate_rule: str

    def sentences(self) -> list[str]:
        """What a reader of the figures has to know, one sentence each; nothing where nothing is out of the ordinary."""
        said = sentences(self.unknown, self.judged, self.same_id, len(self.selves), self.self_rule)
        if self.repeated:
            what = "count as one" if self.duplicate_rule == "collapse" else "count as documents of their own"
            said.append(f"{self.repeated:,} documents repeat the text of another and {what}")
        return said


def sentences(unknown: int, judged: int, same_id: int, dropped: int, self_rule: str) -> list[str]:
    """What there is to say of judged documents that are not there, and of queries that are documents."""
    said = []
    if unknown:
        said.append(f"{unknown} of {judged:,} judged documents are not in the index and cannot be found")
    if dropped:
        said.append(f"{dropped} queries are documents themselves; their own document is left out")
    if kept := same_id - dropped:
        which = " of another text, or judged relevant" if self_rule == "auto" else ""
        said.append(f"{kept} queries share their id with a document{which}: it is kept")
    return said


def check_rules(self_rule: str, duplicate_rule: str) -> None:
    """Raise EvaluationError for a rule that is unknown."""
    for option, rule, rules in (("self", self_rule, SELF_RULES), ("duplicate", duplicate_rule, DUPLICATE_RULES)):
        if rule not in rules:
            raise EvaluationError(f"the rule for {option} documents is {rule!r}, expected one of {', '.join(rules)}")


def examine(
    collection: Collection, index: VectorIndex, *, self_rule: str = "auto", duplicate_rule: str = "keep"
) -> Corpus:
    """Look at an index's documents with a collection's protocol in mind.

    ``self_rule`` says what happens to a document that has the query's id: ``drop``, ``keep``, or ``auto``, which drops
    it where the collection is one of ``DROPPING``, or where it has the query's text and is not judged relevant (equal
    ids alone mean nothing: many collections number both from 1). ``duplicate_rule`` says what happens to documents with
    the same title and text: ``keep`` takes each as the judgements name it, as trec_eval, BEIR and mteb do; ``collapse``
    takes them as one, the way TREC CAsT does.

    Raises EvaluationError where a rule is unknown, or more than 5 % of the judged documents are not in the index.
    """
    check_rules(self_rule, duplicate_rule)
    ids = ids_of(index)
    judged = {document for judgements in collection.qrels.values() for document in judgements}
    asked = {query.id: query.text for query in collection.queries}
    row_of = {name: row for row, name in enumerate(ids.tolist()) if name in judged or name in asked}
    unknown = sorted(judged - row_of.keys())
    check_judged(collection, index.snapshot.root, judged, unknown)
    same = {query: row_of[query] for query in asked if query in row_of}
    dropped = {
        query
        for query, row in same.items()
        if is_self(collection, partial(index.rows.read, row), query, asked[query], self_rule)
    }
    group, repeated = _groups(index)
    return Corpus(
        ids, row_of, len(same), frozenset(dropped), group, repeated, len(unknown), len(judged), self_rule,
        duplicate_rule,
    )  # fmt: skip


def ids_of(index: VectorIndex) -> np.ndarray:
    """The ids of all rows, object (rows,); None where a document is gone."""
    return index.ids()


def present(ids: np.ndarray) -> np.ndarray:
    """Which rows have a document, bool (rows,): those of deleted ones have no id."""
    return np.array([name is not None for name in ids.tolist()], dtype=bool)


def check_judged(collection: Collection, place: object, judged: Sized, unknown: Sequence[str]) -> None:
    """Raise EvaluationError where too many judged documents are not in the index at ``place``."""
    if len(unknown) == len(judged):
        raise EvaluationError(
            f"{place} holds none of the {len(judged):,} documents judged in {collection.path}; "
            "evaluate the index of that collection"
        )
    if len(unknown) > UNKNOWN_LIMIT * len(judged):
        raise EvaluationError(
            f"{collection.path}: {len(unknown):,} of {len(judged):,} judged documents (such as {unknown[0]!r}) are not "
            f"in the index, expected at most {UNKNOWN_LIMIT:.0%}; check that qrels and corpus belong together"
        )


def is_self(collection: Collection, read: Callable[[], Document], query: str, text: str, rule: str) -> bool:
    """Whether the document that has a query's id, which ``read`` gives, is left out of the query's ranking."""
    if rule != "auto":
        return rule == "drop"
    if re.sub(r"[^a-z0-9]", "", collection.name.lower()) in DROPPING:
        return True
    if collection.qrels[query].get(query, 0) > 0:
        return False
    document = read()
    same = " ".join(text.split())
    return same in (" ".join(document.text.split()), " ".join(f"{document.title} {document.text}".split()))


def _groups(index: VectorIndex) -> tuple[np.ndarray, int]:
    """Number the documents by title and text, int64 (rows,), and count those that repeat an earlier one."""
    digests = []
    for number in range(len(index.manifest.segments)):
        titles, texts = (index.rows.column(number, name) for name in ("title", "text"))
        for title, text in zip(titles, texts, strict=True):
            content = f"{title.as_py()}\0{text.as_py()}".encode()
            digests.append(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))
    distinct, group = np.unique(np.array(digests, dtype=np.uint64), return_inverse=True)
    return group.astype(np.int64), len(digests) - len(distinct)


def ranked(
    corpus: Corpus, collection: Collection, scores: np.ndarray, rows: np.ndarray, depth: int
) -> tuple[Ranking, Qrels]:
    """Turn rows and scores, both (queries, width), into the rankings and judgements that the protocol wants scored."""
    run: Ranking = {}
    qrels: Qrels = dict(collection.qrels)
    for query, points, found in zip(collection.queries, scores, rows, strict=True):
        real = found >= 0
        hits = list(zip(found[real].tolist(), points[real].tolist(), strict=True))
        if query.id in corpus.selves:
            hits = [hit for hit in hits if corpus.ids[hit[0]] != query.id]
        if corpus.duplicate_rule == "collapse" and corpus.repeated:
            hits, qrels[query.id] = _collapsed(corpus, hits, collection.qrels[query.id])
        run[query.id] = [(corpus.ids[row], score) for row, score in hits[:depth]]
    return run, qrels


def _collapsed(
    corpus: Corpus, hits: Sequence[tuple[int, float]], judged: Mapping[str, int]
) -> tuple[list[tuple[int, float]], dict[str, int]]:
    """Keep the best hit of each group of equal texts, and give it the highest judgement any of them has."""
    kept: dict[int, tuple[int, float]] = {}
    for row, score in hits:
        kept.setdefault(int(corpus.group[row]), (row, score))
    names = {int(corpus.group[row]): str(corpus.ids[row]) for row, _ in kept.values()}
    group_of = {name: int(corpus.group[corpus.row_of[name]]) for name in judged if name in corpus.row_of}
    levels: dict[str, int] = {}
    for document, level in judged.items():
        group = group_of.get(document)
        name = document if group is None else names.setdefault(group, document)
        levels[name] = max(level, levels.get(name, level))
    return list(kept.values()), levels
