"""A test collection on disk: documents, queries, and which documents answer which query."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from searchapp.corpus.jsonl import unique_object
from searchapp.errors import EvaluationError
from searchapp.evaluate.run import NUMBER, read_lines
from searchapp.unicode import find_surrogate

Qrels = dict[str, dict[str, int]]
"""Query id → document id → judgement: above 0 relevant, and the higher the more so."""

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # no line of a run or of judgements can hold them in an id
SUFFIXES = (".tsv", ".txt", ".qrels")
UNKNOWN_LIMIT = 0.05
"""The share of what is judged, queries or documents, that may be absent before the files are taken for wrong ones."""


@dataclass(frozen=True)
class Query:
    """A question that was judged."""

    id: str
    text: str


@dataclass(frozen=True)
class Collection:
    """One split of a test collection.

    ``corpus`` is the documents' file, not opened here. ``queries`` are the judged ones in file order, and ``qrels``
    has exactly their ids. ``unjudged_queries`` counts the queries of the file that this split does not judge,
    ``unknown_queries`` the judged ones left out because the file has no text for them.
    """

    name: str
    path: Path
    split: str
    corpus: Path
    queries: tuple[Query, ...]
    qrels: Qrels
    unjudged_queries: int
    unknown_queries: int = 0


def load_collection(path: str | Path, split: str | None = None) -> Collection:
    """Load a folder in BEIR layout, its files plain or gzip'd.

    ``corpus.jsonl``, ``queries.jsonl`` (``_id`` or ``id``, ``text``) and ``qrels/SPLIT.tsv`` (see ``read_qrels``).
    Without ``split``: ``test``, or else the only one there is.

    Raises EvaluationError where a part is missing or malformed, the split is not there or must be chosen, or more than
    5 % of the judged queries are not in the queries file.
    """
    path = Path(path)
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise EvaluationError(
            f"{path}: found {found}, expected a folder with corpus.jsonl, queries.jsonl and qrels/; check the path"
        )
    corpus = _part(path, "corpus.jsonl")
    queries_file = _part(path, "queries.jsonl")
    split, qrels_file = _choose_split(path, split)
    qrels = read_qrels(qrels_file)
    queries, unjudged = _read_queries(queries_file, qrels)
    unknown = len(qrels) - len(queries)
    if unknown > UNKNOWN_LIMIT * len(qrels):
        ids = {query.id for query in queries}
        example = next(query for query in qrels if query not in ids)
        raise EvaluationError(
            f"{qrels_file}: {unknown} of {len(qrels)} judged queries (such as {example!r}) are not in {queries_file}, "
            f"expected at most {UNKNOWN_LIMIT:.0%}; check that the two files belong together"
        )
    return Collection(
        name=path.resolve().name,
        path=path,
        split=split,
        corpus=corpus,
        queries=tuple(queries),
        qrels={query.id: qrels[query.id] for query in queries},
        unjudged_queries=unjudged,
        unknown_queries=unknown,
    )


def read_qrels(path: str | Path) -> Qrels:
    """Read judgements, plain or gzip'd, in either of the two common layouts.

    BEIR: three columns ``query-id corpus-id score``, with that header or without. TREC: four columns
    ``qid 0 docid rel``, no header. The first line decides on the number of columns, and on the separator: tabs if it
    has one, else white space.

    Raises EvaluationError, with file and line, where a line has other columns, or a judgement is no integer or
    contradicts an earlier one; or where there is no judgement at all, or the file cannot be read.
    """
    path = Path(path)
    qrels: Qrels = {}
    separator: bytes | None = None
    width = 0
    for number, line in read_lines(path):
        if not width:
            separator = b"\t" if b"\t" in line else None
        columns = [cell.strip() for cell in line.split(separator)]
        if not width:
            width = len(columns) if len(columns) in (3, 4) else 3
            if columns[0].lower().replace(b"_", b"-") in (b"query-id", b"queryid", b"qid") and len(columns) == width:
                continue
        if len(columns) != width or not all(columns):
            raise EvaluationError(
                f"{path}:{number}: found {sum(map(bool, columns))} columns, expected {width}: "
                + ("qid 0 docid rel" if width == 4 else "query-id corpus-id score, or the four of TREC qid 0 docid rel")
            )
        query, document, level = _judgement(f"{path}:{number}", columns)
        judged = qrels.setdefault(query, {})
        if judged.setdefault(document, level) != level:
            raise EvaluationError(
                f"{path}:{number}: query {query!r}, document {document!r} is judged {level}, and {judged[document]} "
                "further up, expected one judgement; remove one of the lines"
            )
    if not qrels:
        raise EvaluationError(f"{path}: found no judgement, expected lines of query-id corpus-id score")
    return qrels


def _judgement(place: str, columns: list[bytes]) -> tuple[str, str, int]:
    try:
        query, document, level = columns[0].decode(), columns[-2].decode(), columns[-1].decode()
    except UnicodeDecodeError:
        raise EvaluationError(f"{place}: not UTF-8; convert the file to UTF-8") from None
    try:
        number = float(level) if NUMBER.fullmatch(level) else math.nan
        if not number.is_integer() or abs(number) >= 2**31:
            raise ValueError
    except ValueError:
        raise EvaluationError(f"{place}: judgement is {level!r}, expected an integer such as 0, 1 or 2") from None
    return query, document, int(number)


def _part(path: Path, name: str) -> Path:
    for file in (path / name, path / f"{name}.gz"):
        if file.is_file():
            return file
    raise EvaluationError(f"{path}: found no {name} or {name}.gz, expected a folder in BEIR layout; add the file")


def _choose_split(path: Path, split: str | None) -> tuple[str, Path]:
    """Return the name and the qrels file of the split asked for, or of the one to take unasked."""
    folder = path / "qrels"
    files: dict[str, Path] = {}
    # Sorted, so that a plain file comes before the gzip'd one of the same name.
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        plain = Path(file.name.removesuffix(".gz"))
        if plain.suffix in SUFFIXES and not plain.name.startswith("."):
            files.setdefault(plain.stem, file)
    if not files:
        raise EvaluationError(f"{folder}: found no judgements, expected SPLIT.tsv or SPLIT.tsv.gz; add the file")
    if split is None:
        split = "test" if "test" in files else next(iter(files)) if len(files) == 1 else None
    if split is None:
        raise EvaluationError(
            f"{folder}: found the splits {', '.join(files)} and no test, expected one; choose with --split"
        )
    if split not in files:
        raise EvaluationError(f"{folder}: found the splits {', '.join(files)}, expected {split!r}; choose with --split")
    return split, files[split]


def read_query_texts(path: str | Path) -> dict[str, str]:
    """Read query id → text from a ``queries.jsonl``, plain or gzip'd, or from the one of a folder in BEIR layout.

    Raises EvaluationError as ``load_collection`` does.
    """
    path = Path(path)
    file = _part(path, "queries.jsonl") if path.is_dir() else path
    return {query.id: query.text for _, query in _queries(file)}


def _read_queries(path: Path, judged: Qrels) -> tuple[list[Query], int]:
    """Return the judged queries in file order, and how many others the file has."""
    queries: list[Query] = []
    others = 0
    for place, query in _queries(path):
        if query.id not in judged:
            others += 1
            continue
        if not query.text.strip():
            raise EvaluationError(f"{place}: query {query.id!r} is judged but empty, expected some text")
        queries.append(query)
    return queries, others


def _queries(path: Path) -> Iterator[tuple[str, Query]]:
    """Yield (place, query) for each line."""
    seen: set[str] = set()
    for number, line in read_lines(path):
        place = f"{path}:{number}"
        query = _query(place, line)
        if query.id in seen:
            raise EvaluationError(f"{place}: query {query.id!r} stands a second time, expected once; rename it")
        seen.add(query.id)
        yield place, query


def _query(place: str, line: bytes) -> Query:
    try:
        record = json.loads(line.decode(), object_pairs_hook=unique_object)
    except UnicodeDecodeError:
        raise EvaluationError(f"{place}: not UTF-8; convert the file to UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f'{place}: not JSON ({error}); expected {{"_id": …, "text": …}} on one line') from None
    if not isinstance(record, dict):
        raise EvaluationError(f'{place}: found JSON that is no object, expected {{"_id": …, "text": …}}')
    query = record.get("_id", record.get("id"))
    if isinstance(query, bool) or not isinstance(query, str | int) or query == "":
        raise EvaluationError(f"{place}: query has no id (found {query!r}), expected a string under '_id'; add one")
    if isinstance(query, str) and query != query.strip(" "):
        raise EvaluationError(f"{place}: query id {query!r} begins or ends with a blank, expected none; remove it")
    if not isinstance(record.get("text"), str):
        raise EvaluationError(f"{place}: query {query!r} has no text, expected a string under 'text'; add one")
    for name, value in (("id", str(query)), ("text", record["text"])):
        if find_surrogate(value) is not None or "\0" in value or (name == "id" and CONTROLS.search(value)):
            raise EvaluationError(
                f"{place}: the {name} of query {query!a} holds a lone surrogate or a control character, expected text; "
                "remove it"
            )
    return Query(str(query), record["text"])
