"""Reranking collections: for each query the documents to put in order, and which of them answer it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp.corpus import Document, open_source, passage_of
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import UNKNOWN_LIMIT, Collection, Qrels, Query, load_collection
from searchapp.evaluate.run import Run, ranking, read_lines, read_run

ENDINGS = (".jsonl.gz", ".jsonl")


@dataclass(frozen=True)
class Candidates:
    """What a reranker gets, and what is expected of it.

    ``documents`` has the ids of each query's candidates, in the order of the stage before where there was one, and
    ``texts`` what stands under each id. ``before`` is the run they were taken from; None for a given list, which has no
    order. ``left_out`` says in sentences what was not used.
    """

    name: str
    path: Path
    split: str
    queries: tuple[Query, ...]
    documents: dict[str, list[str]]
    texts: dict[str, str]
    qrels: Qrels
    before: Run | None = None
    left_out: tuple[str, ...] = ()


def load_candidates(path: str | Path, split: str | None = None, *, run: Path | Run | None = None) -> Candidates:
    """Load candidates from what ``path`` is.

    - A file of JSON lines ``{"query", "positive": […], "negative": […]}``, plain or gzip'd, or a folder of such files
      named by their split: MTEB's reranking layout. A query without a positive or without a negative is left out, as
      mteb does.
    - A folder in BEIR layout, with ``run``, a TREC run or its file, or with a file ``top_ranked/SPLIT.jsonl`` of lines
      ``{"query-id", "corpus-ids": […]}`` that name the candidates.

    Raises EvaluationError where a part is missing or malformed, or more than 5 % of the candidates or of the judged
    documents are not in the corpus.
    """
    path = Path(path)
    if not path.exists():
        raise EvaluationError(f"{path}: found nothing, expected candidates or a folder of them; check the path")
    if path.is_dir() and any((path / f"corpus{ending}").is_file() for ending in ENDINGS):
        return _from_collection(load_collection(path, split), run)
    if run is not None:
        raise EvaluationError(
            f"{path} lists its own candidates, and a run was given too; expected a folder in BEIR layout beside a run"
        )
    return _from_lists(path, *_choose_file(path, split))


def _choose_file(path: Path, split: str | None) -> tuple[Path, str]:
    """The file of the split asked for, or of the one to take unasked: test, dev, or the only one."""
    if path.is_file():
        return path, _stem(path)
    files = {_stem(file): file for file in sorted(path.iterdir()) if file.name.endswith(ENDINGS)}
    if not files:
        raise EvaluationError(
            f"{path}: found no .jsonl or .jsonl.gz, expected SPLIT.jsonl with query, positive and negative, or a "
            "folder in BEIR layout; check the path"
        )
    if split is None:
        usual = [name for name in ("test", "dev", "validation") if name in files]
        split = usual[0] if usual else next(iter(files)) if len(files) == 1 else None
    if split is None or split not in files:
        wanted = "one" if split is None else repr(split)
        raise EvaluationError(f"{path}: found the splits {', '.join(files)}, expected {wanted}; choose with --split")
    return files[split], split


def _stem(path: Path) -> str:
    return next((path.name.removesuffix(ending) for ending in ENDINGS if path.name.endswith(ending)), path.stem)


def _from_lists(path: Path, file: Path, split: str) -> Candidates:
    queries: list[Query] = []
    documents: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    qrels: Qrels = {}
    one_sided = 0
    for number, line in read_lines(file):
        query, positive, negative = _lists(f"{file}:{number}", line)
        if not positive or not negative:
            one_sided += 1
            continue
        # mteb's ids, down to the letter that puts positives behind negatives among equal scores
        name = f"{split}_query{len(queries)}"
        given = {f"apositive_{name}_{place:05d}": text for place, text in enumerate(positive)}
        qrels[name] = dict.fromkeys(given, 1)
        more = {f"negative_{name}_{place:05d}": text for place, text in enumerate(negative)}
        qrels[name].update(dict.fromkeys(more, 0))
        queries.append(Query(name, query))
        documents[name] = [*given, *more]
        texts.update(given | more)
    if not queries:
        raise EvaluationError(
            f"{file}: found {one_sided} queries, none with both positive and negative candidates, expected at least one"
        )
    said = f"{one_sided} queries without a positive or without a negative candidate are left out"
    name = path.resolve().name if path.is_dir() else f"{path.resolve().parent.name}-{split}"
    return Candidates(name, path, split, tuple(queries), documents, texts, qrels, left_out=(said,) if one_sided else ())


def _lists(place: str, line: bytes) -> tuple[str, list[str], list[str]]:
    expected = 'expected {"query": "…", "positive": ["…"], "negative": ["…"]}'
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        raise EvaluationError(f"{place}: not UTF-8; convert the file to UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{place}: not JSON ({error}); {expected}") from None
    if not isinstance(record, dict) or not isinstance(record.get("query"), str) or not record["query"].strip():
        raise EvaluationError(f"{place}: found no text under 'query', {expected}")
    sides = []
    for side in ("positive", "negative"):
        given = record.get(side, [])
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
            raise EvaluationError(f"{place}: {side!r} is no list of texts, {expected}")
        sides.append(given)
    return record["query"], sides[0], sides[1]


def _from_collection(collection: Collection, run: Path | Run | None) -> Candidates:
    if run is not None:
        before: Run | None = read_run(run) if isinstance(run, Path) else run
        place = str(run) if isinstance(run, Path) else "the run"
        listed = {query: ranking(query, hits)[0] for query, hits in before.items()} if before else {}
    else:
        before, place = None, str(collection.path / "top_ranked")
        listed = _read_top_ranked(collection)
    queries = [query for query in collection.queries if listed.get(query.id)]
    if not queries:
        raise EvaluationError(
            f"{place} holds candidates for none of the {len(collection.queries)} judged queries of {collection.path}; "
            "check that the two belong together"
        )
    documents = {query.id: listed[query.id] for query in queries}
    left_out = []
    if missing := len(collection.queries) - len(queries):
        left_out.append(f"{missing} judged queries have no candidates and count as 0")
    if unjudged := len(listed.keys() - collection.qrels.keys()):
        left_out.append(f"{unjudged} queries with candidates are not judged and are left out")
    wanted = {document for listed_one in documents.values() for document in listed_one}
    judged = {document for levels in collection.qrels.values() for document in levels}
    found = {document.id: passage_of(document) for document in documents_of(collection, wanted | judged)}
    if absent := len(judged - found.keys()):
        if absent > UNKNOWN_LIMIT * len(judged):
            example = min(judged - found.keys())
            raise EvaluationError(
                f"{collection.path}: {absent:,} of {len(judged):,} judged documents (such as {example!r}) are not in "
                f"{collection.corpus}, expected at most {UNKNOWN_LIMIT:.0%}; check that the qrels belong to it"
            )
        left_out.append(f"{absent} of {len(judged):,} judged documents are not in the corpus")
    texts = {name: found[name] for name in wanted & found.keys()}
    if unknown := len(wanted) - len(texts):
        if unknown > UNKNOWN_LIMIT * len(wanted):
            example = min(wanted - texts.keys())
            raise EvaluationError(
                f"{place}: {unknown:,} of {len(wanted):,} candidates (such as {example!r}) are not in "
                f"{collection.corpus}, expected at most {UNKNOWN_LIMIT:.0%}; check that the two belong together"
            )
        left_out.append(f"{unknown} of {len(wanted):,} candidates have no text and are left out")
        documents = {query: [name for name in names if name in texts] for query, names in documents.items()}
    return Candidates(
        collection.name,
        collection.path,
        collection.split,
        tuple(queries),
        documents,
        texts,
        collection.qrels,
        before,
        tuple(left_out),
    )


def _read_top_ranked(collection: Collection) -> dict[str, list[str]]:
    """Read the candidates a folder names itself."""
    for name in (f"top_ranked/{collection.split}", "top_ranked"):
        for ending in ENDINGS:
            file = collection.path / f"{name}{ending}"
            if file.is_file():
                return dict(_top_ranked(file))
    raise EvaluationError(
        f"{collection.path} names no candidates, expected a TREC run beside it (--top-ranked), an index to search "
        f"(--index), or a file top_ranked/{collection.split}.jsonl in it"
    )


def _top_ranked(file: Path) -> Iterable[tuple[str, list[str]]]:
    expected = 'expected {"query-id": "…", "corpus-ids": ["…"]}'
    for number, line in read_lines(file):
        try:
            record: Any = json.loads(line.decode())
            query, documents = str(record["query-id"]), [str(document) for document in record["corpus-ids"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise EvaluationError(f"{file}:{number}: found something else, {expected}") from None
        yield query, list(dict.fromkeys(documents))


def documents_of(collection: Collection, wanted: set[str] | Mapping[str, Any]) -> Iterable[Document]:
    """Yield the documents of a collection that are wanted by id, in file order, each once."""
    seen: set[str] = set()
    for record in open_source(str(collection.corpus)).records():
        item = record.item
        if isinstance(item, Document) and item.id in wanted and item.id not in seen:
            seen.add(item.id)
            yield item
            if len(seen) == len(wanted):
                return
