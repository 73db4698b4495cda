"""A test collection of one's own: documents and queries drawn from an index, and a pool to judge."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import Query, read_query_texts
from searchapp.evaluate.judging import ORIGIN
from searchapp.evaluate.protocol import ids_of, present
from searchapp.evaluate.run import read_lines
from searchapp.index import VectorIndex
from searchapp.search import DEFAULT, Plan, run

DOCUMENTS = 20_000
QUERIES = 50
POOL = 10
KNOWN_ITEM = "known-item"
TITLE_WORDS = 3  # a title of fewer words is no query
FILES = ("corpus.jsonl", "queries.jsonl", "pool.jsonl", ORIGIN, "README.md")


@dataclass(frozen=True)
class Sample:
    """What ``draw`` wrote: how many of each, and whether the queries are titles."""

    documents: int
    of: int
    queries: int
    pairs: int
    known_item: bool


def draw(
    folder: Path,
    index: VectorIndex,
    encoder: Encoder,
    *,
    queries: Path | None = None,
    count: int = QUERIES,
    documents: int = DOCUMENTS,
    pool: int = POOL,
    seed: int = 0,
) -> Sample:
    """Write a folder in BEIR layout with a pool to judge.

    ``queries`` are the user's own (see ``read_queries``); without them ``count`` documents are drawn whose titles are
    the queries, each with its document as the one relevant answer, in the split ``known-item``. The pool of a query is
    what the ``pool`` best of the vectors, of BM25 and of both together hold, in an order that does not tell the rank.
    The corpus is the pooled documents and others at random, ``documents`` in all.

    Raises EvaluationError where the folder holds such a collection already, or there are no queries to be had.
    """
    taken = [name for name in FILES if (folder / name).exists()]
    if taken:
        raise EvaluationError(
            f"{folder} holds {taken[0]} already, expected a new or empty folder; give another, or go on judging with "
            f"`searchapp evaluate judge {folder}`"
        )
    random = np.random.default_rng(seed)
    ids = ids_of(index)
    alive = np.flatnonzero(present(ids))
    asked: list[Query]
    answers: dict[str, str] = {}
    if queries is not None:
        asked = read_queries(queries)
    else:
        asked, answers = _known_items(index, ids, alive, count, random)
    pooled = _pool(index, encoder, asked, pool, ids, random)
    wanted = {document for found in pooled.values() for document in found} | set(answers.values())
    kept = [row for row in alive.tolist() if ids[row] in wanted]
    others = np.array([row for row in alive.tolist() if ids[row] not in wanted], dtype=np.int64)
    room = max(0, min(documents - len(kept), len(others)))
    rows = sorted([*kept, *random.choice(others, room, replace=False).tolist()]) if room else kept
    _write(folder, index, rows, asked, answers, pooled)
    return Sample(len(rows), len(alive), len(asked), sum(map(len, pooled.values())), bool(answers))


def read_queries(path: Path) -> list[Query]:
    """Read queries: ``queries.jsonl`` with ids, a log of `searchapp search --log`, or a text file with one a line.

    Lines are numbered from 1; a query that a log has several times counts once.

    Raises EvaluationError where there is none, or a line is malformed.
    """
    if (logged := _logged(path)) is not None:
        found = [Query(f"q{number}", text) for number, text in enumerate(logged, 1)]
    elif path.is_dir() or path.name.endswith((".jsonl", ".jsonl.gz")):
        found = [Query(name, text) for name, text in read_query_texts(path).items()]
    else:
        try:
            found = [Query(f"q{number}", line.decode()) for number, (_, line) in enumerate(read_lines(path), 1)]
        except UnicodeDecodeError:
            raise EvaluationError(f"{path}: not UTF-8; convert the file to UTF-8") from None
    empty = next((query.id for query in found if not query.text.strip()), None)
    if not found or empty is not None:
        what = "no query" if empty is None else f"query {empty!r} without text"
        raise EvaluationError(f"{path}: found {what}, expected one question a line, or a queries.jsonl")
    return found


def _logged(path: Path) -> list[str] | None:
    """The queries of a log, each once; None for a file that is none."""
    if path.is_dir():
        return None
    found: dict[str, None] = {}
    for number, (_, line) in enumerate(read_lines(path)):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not {"at", "query", "hits"} <= entry.keys():
            if number == 0:
                return None
            raise EvaluationError(f"{path}: line {number + 1} is no query of a log, as those before; remove it")
        found[str(entry["query"])] = None
    return list(found) or None


def _known_items(
    index: VectorIndex, ids: np.ndarray, alive: np.ndarray, count: int, random: np.random.Generator
) -> tuple[list[Query], dict[str, str]]:
    """Draw documents whose titles only they have."""
    asked: list[Query] = []
    answers: dict[str, str] = {}
    seen: set[str] = set()
    for row in random.permutation(alive).tolist():
        document = index.rows.read(row)
        title = " ".join(document.title.split())
        if len(re.findall(r"\w+", title)) < TITLE_WORDS or title.lower() in seen or not document.text.strip():
            continue
        seen.add(title.lower())
        name = f"title{len(asked) + 1}"
        asked.append(Query(name, title))
        answers[name] = str(ids[row])
        if len(asked) == count:
            break
    if not asked:
        raise EvaluationError(
            f"{index.snapshot.root} holds no document with a title of {TITLE_WORDS} words or more to make a query of; "
            "give your own with --queries FILE"
        )
    return asked, answers


def _pool(
    index: VectorIndex,
    encoder: Encoder,
    queries: Sequence[Query],
    depth: int,
    ids: np.ndarray,
    random: np.random.Generator,
) -> dict[str, list[str]]:
    """The best of every way to search, shuffled."""
    texts = [query.text for query in queries]
    fusion = DEFAULT if index.manifest.lexical is not None else None
    stages = run(index, texts, encoder.encode_queries(texts), Plan(k=depth, fusion=fusion))
    pooled = {}
    for number, query in enumerate(queries):
        rows = {int(row) for stage in stages for row in stage.rows[number, :depth] if row >= 0}
        pooled[query.id] = random.permutation(sorted(str(ids[row]) for row in rows)).tolist()
    return pooled


def _write(
    folder: Path,
    index: VectorIndex,
    rows: Sequence[int],
    queries: Sequence[Query],
    answers: dict[str, str],
    pooled: dict[str, list[str]],
) -> None:
    """Write the folder; the README comes last."""
    try:
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
            for row in rows:
                document = index.rows.read(row)
                line = {**document.metadata, "_id": document.id, "title": document.title, "text": document.text}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        _lines(folder / "queries.jsonl", [{"_id": query.id, "text": query.text} for query in queries])
        _lines(
            folder / "pool.jsonl",
            [{"query-id": query, "corpus-id": document} for query, found in pooled.items() for document in found],
        )
        _lines(folder / ORIGIN, [{"index": str(index.snapshot.root.resolve())}])
        if answers:
            judged = [f"{query}\t{document}\t1\n" for query, document in answers.items()]
            text = "query-id\tcorpus-id\tscore\n" + "".join(judged)
            (folder / "qrels" / f"{KNOWN_ITEM}.tsv").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(_readme(folder, index, len(rows), queries, answers), encoding="utf-8")
    except OSError as error:
        raise EvaluationError(
            f"{folder} cannot be written: {error.strerror or error}; give a folder you can write to"
        ) from error


def _lines(path: Path, records: Sequence[dict[str, str]]) -> None:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")


def _readme(folder: Path, index: VectorIndex, documents: int, queries: Sequence[Query], answers: dict[str, str]) -> str:
    origin = (
        f"The split `{KNOWN_ITEM}` is a first estimate: its queries are titles, and the document a title comes from "
        "counts as the only answer. Titles use the documents' own words, so the figures are higher than those of real "
        "questions; they tell settings apart, not how good the search is."
        if answers
        else "The queries are your own."
    )
    return (
        f"# A test collection drawn from {index.snapshot.root.name}\n\n"
        f"{documents:,} documents of {index.manifest.documents:,}, {len(queries)} queries. {origin}\n\n"
        f"Judge the pool with `searchapp evaluate judge {folder.name}`, which writes `qrels/test.tsv`; then "
        f"measure the index with `searchapp evaluate retrieval {folder.name} --index {index.snapshot.root.name}`, "
        "or any model over this corpus alone with `--model`.\n"
    )
