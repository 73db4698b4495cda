"""Retrieval evaluation of an index behind a server: its own searches, scored as those of a directory are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from searchapp.client import Client
from searchapp.corpus import Document
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import Collection
from searchapp.evaluate.metrics import UNJUDGED, score
from searchapp.evaluate.protocol import Ranking, check_judged, check_rules, is_self, sentences
from searchapp.evaluate.retrieval import IndexConfig, Request, Result
from searchapp.evaluate.settings import CollectionSetting, IndexSetting, RerankedBy, RetrievalSetting
from searchapp.search import SearchOptions

DEEPEST = 1_000  # hits that a server gives


@dataclass(frozen=True)
class _Facts:
    """What the protocol needs to know of the documents: how many are judged and not there, which queries are one."""

    judged: int
    unknown: int
    same_id: int
    selves: frozenset[str]


def evaluate_served(
    collection: Collection,
    client: Client,
    request: Request,
    *,
    candidates: int | None = None,
    reranker: str | None = None,
) -> list[Result]:
    """Search by way of a server, once for each way that ``request`` asks for; ``reranker`` is one that it has.

    Raises EvaluationError where more than 5 % of what is judged is not in its index, where more hits are wanted than
    it gives, and for equal texts taken as one: that needs the text of every document.
    """
    check_rules(request.self_rule, request.duplicate_rule)
    if request.duplicate_rule != "keep":
        raise EvaluationError("a server does not give the texts of all documents; leave out --duplicates collapse")
    if request.depth > DEEPEST:
        raise EvaluationError(f"--depth is {request.depth:,}; expected at most the {DEEPEST:,} that a server gives")
    if request.reranker is not None:
        raise EvaluationError("a server reranks by a model it was started with; give its name")
    facts = _facts(collection, client, request)
    reduced = client.description.get("reduced")
    name = IndexConfig(reduced[0] if reduced else None, candidates=candidates).name
    asked = SearchOptions(candidates=candidates, instruction=request.instruction, rerank_depth=request.rerank_depth)
    results = []
    for kind in _kinds(request):
        options = replace(asked, mode=kind, hybrid=request.fusion if kind == "hybrid" else None)
        called = {"dense": name, "bm25": "bm25", "hybrid": f"{name}-hybrid"}[kind]
        results.append(_measured(collection, client, request, options, facts, called))
    if reranker is not None:
        before = results[-1]
        kind = before.setting.method
        options = replace(asked, mode=kind, hybrid=request.fusion if kind == "hybrid" else None, rerank=reranker)
        found = _measured(collection, client, request, options, facts, f"{before.name}-reranked")
        by = RerankedBy(reranker, "served", request.rerank_depth, before.name, _recall(before, request.rerank_depth))
        results.append(replace(found, setting=replace(found.setting, reranked_by=by)))
    return results


def _kinds(request: Request) -> Sequence[str]:
    if request.fusion is None:
        return ("dense",)
    return ("dense", "bm25", "hybrid") if request.dense else ("bm25",)


def _facts(collection: Collection, client: Client, request: Request) -> _Facts:
    judged = sorted({document for judgements in collection.qrels.values() for document in judgements})
    asked = {query.id: query.text for query in collection.queries}
    there: Mapping[str, Document] = {one.id: one for one in client.documents(sorted({*judged, *asked}))}
    missing = [document for document in judged if document not in there]
    check_judged(collection, client.url, judged, missing)
    same = [query for query in asked if query in there]
    selves = frozenset(
        query
        for query in same
        if is_self(collection, partial(there.__getitem__, query), query, asked[query], request.self_rule)
    )
    return _Facts(len(judged), len(missing), len(same), selves)


def _measured(
    collection: Collection, client: Client, request: Request, options: SearchOptions, facts: _Facts, name: str
) -> Result:
    known = client.description
    deep = min(DEEPEST, request.depth + (1 if facts.selves else 0))  # one more, where one may be left out
    answers = client.answer([query.text for query in collection.queries], deep, options)
    found: Ranking = {}
    for query, answer in zip(collection.queries, answers, strict=True):
        hits = [(hit.id, hit.score) for hit in answer.hits if query.id not in facts.selves or hit.id != query.id]
        found[query.id] = hits[: request.depth]
    measured = score(
        {query: dict(hits) for query, hits in found.items()},
        collection.qrels,
        [*dict.fromkeys([*request.metrics, UNJUDGED])],
    )
    seconds = sum(answer.search_seconds + answer.rerank_seconds for answer in answers) / max(1, len(answers))
    data = CollectionSetting(
        collection.name,
        collection.split,
        measured.queries,
        measured.missing,
        collection.unknown_queries,
        known["documents"],
        known["rejected"],
        facts.judged,
        facts.unknown,
        {"rule": request.self_rule, "same_id": facts.same_id, "dropped": len(facts.selves)},
        {"rule": request.duplicate_rule, "documents": 0},
    )
    reduced = known.get("reduced")
    index = IndexSetting(
        known["model"],
        known["adapters"],
        known["fingerprint"],
        known["instruction"] if request.instruction is None else request.instruction,
        known["dimensions"],
        reduced[0] if reduced else None,
        reduced[1] if reduced else None,
        None if known["kind"] == "none" else known["kind"],
        options.candidates or 0,
        request.depth,
    )
    setting = RetrievalSetting(
        data, index, options.mode, 1_000 * seconds, request.fusion if options.mode == "hybrid" else None
    )
    notes = sentences(facts.unknown, facts.judged, facts.same_id, len(facts.selves), request.self_rule)
    return Result(name, setting, measured, found, seconds * len(answers), collection.qrels, tuple(notes))


def _recall(first: Result, depth: int) -> float:
    """The share of what is relevant that a reranker sees."""
    seen = {query: dict(hits[:depth]) for query, hits in first.run.items()}
    return score(seen, first.qrels, [f"Recall@{depth}"]).estimate(f"Recall@{depth}").value
