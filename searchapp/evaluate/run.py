"""A run: what a search engine returned for each query, and the TREC file that holds it."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from searchapp.atomic import atomic_write
from searchapp.corpus.decoding import Unreadable, utf8_stream, without_mark
from searchapp.errors import EvaluationError

# Numbers as C writes them: Python's own 1_0 and digits of other scripts would be others to trec_eval.
NUMBER = re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf|infinity)", re.IGNORECASE | re.ASCII)
Run = dict[str, dict[str, float]]
"""Query id → document id → score; a higher score is a better document."""


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    r"""Yield the lines of a plain or gzip'd file that are not blank, stripped, with their number from 1.

    Lines end at ``\n`` alone and stay bytes: ``str.splitlines`` and ``str.split`` would also cut at U+0085 or U+00A0,
    which ids may contain. A byte order mark is obeyed and dropped: UTF-16 and UTF-32 come out as UTF-8.

    Raises EvaluationError where the file cannot be read, is a damaged gzip file, or holds a NUL.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            # Told by its first bytes, so that a file saved under the other name is read all the same.
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if packed else raw as lines:
                stream, _, _ = utf8_stream(lines, returns=True)
                for number, line in enumerate(iter(stream.readline, b""), 1):
                    if b"\0" in line:
                        raise EvaluationError(f"{path}:{number}: a NUL character, expected text; remove it")
                    if text := without_mark(line).strip():
                        yield number, text
    except Unreadable as error:
        raise EvaluationError(f"{path}: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        place = f"{path}:{number + 1}" if number else f"{path}"
        reason = getattr(error, "strerror", None) or error
        raise EvaluationError(f"{place}: cannot be read ({reason}); expected a plain or gzip'd text file") from error


def ranking(query: str, scores: Mapping[str, float]) -> tuple[list[str], np.ndarray]:
    """Order the documents of one query as trec_eval does.

    By score in single precision, descending, and among equal scores by document id, descending in UTF-8 bytes;
    neither the rank column nor the order in the mapping counts (trec_eval 9, form_res_rels.c, comp_sim_docno).

    Returns the n document ids, best first, and their scores, float32 (n,). Raises EvaluationError where a score is NaN.
    """
    documents = sorted(scores, reverse=True)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as the C cast makes it
        values = np.fromiter((scores[d] for d in documents), np.float64, len(documents)).astype(np.float32)
    if np.isnan(values).any():
        document = documents[int(np.isnan(values).argmax())]
        raise EvaluationError(
            f"document {document!r} of query {query!r} scored NaN, expected a number; check the model that scored it"
        )
    order = np.argsort(-values, kind="stable")
    return [documents[i] for i in order], values[order]


def write_run(path: str | Path, run: Mapping[str, Sequence[tuple[str, float]]], tag: str) -> None:
    """Write a TREC run, ``qid Q0 docid rank score tag``, gzip'd where the name ends in ``.gz``.

    Scores are rounded to float32 and written with nine significant digits, so reading them back gives the same
    float32. Ranks count from 1 in the order of ``ranking``, so they are those every evaluation program will see.
    The file appears whole or not at all: it is written beside ``path`` and renamed. A query without documents leaves
    no line.

    Raises EvaluationError where an id or the tag is empty or contains white space (the format has no quoting), a
    document is given twice for one query, a score is NaN, or the file cannot be written.
    """
    path = Path(path)
    _check_field("tag", tag)
    try:
        with atomic_write(path) as raw, gzip.open(raw, "wb") if path.suffix == ".gz" else nullcontext(raw) as out:
            for query, hits in run.items():
                out.write(_run_lines(query, hits, tag).encode())
    except OSError as error:
        raise EvaluationError(
            f"run {path} cannot be written: {error.strerror or error}; give a file in a folder you can write to"
        ) from error


def read_run(path: str | Path) -> Run:
    """Read a TREC run, plain or gzip'd: query id → document id → score.

    The rank column is ignored, as trec_eval ignores it. Six columns, separated by ASCII white space.

    Raises EvaluationError, with file and line, where a line has not six columns, a score is no number or is NaN, or a
    document stands twice under one query; or where the file cannot be read.
    """
    path = Path(path)
    run: Run = {}
    for number, line in read_lines(path):
        columns = line.split()
        if len(columns) != 6:
            raise EvaluationError(
                f"{path}:{number}: found {len(columns)} columns, expected the six of a TREC run: "
                "qid Q0 docid rank score tag"
            )
        try:
            query, document = columns[0].decode(), columns[2].decode()
            written = columns[4].decode()
            score = float(written) if NUMBER.fullmatch(written) else float("nan")
        except UnicodeDecodeError:
            raise EvaluationError(f"{path}:{number}: not UTF-8; convert the file to UTF-8") from None
        except ValueError:
            score = float("nan")
        if score != score:
            raise EvaluationError(
                f"{path}:{number}: score is {columns[4].decode(errors='replace')!r}, expected a number; "
                "mend the program that wrote the run"
            )
        hits = run.setdefault(query, {})
        if document in hits:
            raise EvaluationError(
                f"{path}:{number}: document {document!r} stands a second time under query {query!r}, expected once; "
                "keep the better line"
            )
        hits[document] = score
    return run


def _run_lines(query: str, hits: Sequence[tuple[str, float]], tag: str) -> str:
    """Return the lines of one query, each ended by a newline."""
    _check_field("query id", query)
    scores = dict(hits)
    if len(scores) != len(hits):
        twice = Counter(document for document, _ in hits).most_common(1)[0][0]
        raise EvaluationError(f"document {twice!r} of query {query!r} was given twice, expected once; drop one of them")
    for document in scores:
        _check_field("document id", document)
    documents, values = ranking(query, scores)
    return "".join(
        f"{query} Q0 {document} {rank} {value:.9g} {tag}\n"
        for rank, (document, value) in enumerate(zip(documents, values.tolist(), strict=True), 1)
    )


def check_ids(queries: Iterable[str], documents: Iterable[str]) -> None:
    """Raise EvaluationError for an id that cannot stand in a TREC run, before anything is computed for one."""
    for what, ids in (("query id", queries), ("document id", documents)):
        for identifier in ids:
            _check_field(what, identifier)


def _check_field(what: str, value: str) -> None:
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise EvaluationError(f"{what} {value!r} is not valid Unicode; a TREC run is UTF-8: rename it") from None
    if encoded.split() != [encoded]:
        raise EvaluationError(
            f"{what} {value!r} is empty or contains white space, which separates the columns of a TREC run; rename it"
        )
