"""What a collection's protocol says of documents that are the query itself, or that repeat another document."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
        said = []
        if self.unknown:
            said.append(f"{self.unknown} of {self.judged:,} judged documents are not in the index and cannot be found")
        if self.selves:
            said.append(f"{len(self.selves)} queries are documents themselves; their own document is left out")
        if kept := self.same_id - len(self.selves):
            which = " of another text, or judged relevant" if self.self_rule == "auto" else ""
            said.append(f"{kept} queries share their id with a document{which}: it is kept")
        if self.repeated:
            what = "count as one" if self.duplicate_rule == "collapse" else "count as documents of their own"
            said.append(f"{self.repeated:,} documents repeat the text of another and {what}")
        return said


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
    for option, rule, rules in (("self", self_rule, SELF_RULES), ("duplicate", duplicate_rule, DUPLICATE_RULES)):
        if rule not in rules:
            raise EvaluationError(f"the rule for {option} documents is {rule!r}, expected one of {', '.join(rules)}")
    ids = ids_of(index)
    judged = {document for judgements in collection.qrels.values() for document in judgements}
    asked = {query.id: query.text for query in collection.queries}
    row_of = {name: row for row, name in enumerate(ids.tolist()) if name in judged or name in asked}
    unknown = len(judged - row_of.keys())
    _check_known(collection, index, judged, row_of, unknown)
    same = {query: row_of[query] for query in asked if query in row_of}
    dropped = {query for query, row in same.items() if _is_self(collection, index, query, row, asked[query], self_rule)}
    group, repeated = _groups(index)
    return Corpus(
        ids, row_of, len(same), frozenset(dropped), group, repeated, unknown, len(judged), self_rule, duplicate_rule
    )


def ids_of(index: VectorIndex) -> np.ndarray:
    """The ids of all rows, object (rows,); None where a document is gone."""
    return index.ids()


def present(ids: np.ndarray) -> np.ndarray:
    """Which rows have a document, bool (rows,): those of deleted ones have no id."""
    return np.array([name is not None for name in ids.tolist()], dtype=bool)


def _check_known(
    collection: Collection, index: VectorIndex, judged: set[str], row_of: Mapping[str, int], unknown: int
) -> None:
    if unknown == len(judged):
        raise EvaluationError(
            f"{index.snapshot.root} holds none of the {len(judged):,} documents judged in {collection.path}; "
            "evaluate the index of that collection"
        )
    if unknown > UNKNOWN_LIMIT * len(judged):
        example = min(judged - row_of.keys())
        raise EvaluationError(
            f"{collection.path}: {unknown:,} of {len(judged):,} judged documents (such as {example!r}) are not in the "
            f"index, expected at most {UNKNOWN_LIMIT:.0%}; check that qrels and corpus belong together"
        )


def _is_self(collection: Collection, index: VectorIndex, query: str, row: int, text: str, rule: str) -> bool:
    """Whether the document in ``row``, which has the query's id, is left out of its ranking."""
    if rule != "auto":
        return rule == "drop"
    if re.sub(r"[^a-z0-9]", "", collection.name.lower()) in DROPPING:
        return True
    if collection.qrels[query].get(query, 0) > 0:
        return False
    document = index.rows.read(row)
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
