"""What the recipe learns from: texts, and pairs of a query and its answers, read from files as streams.

``dataset`` gives rows by their number; ``sampler`` says which rows are trained on together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp.corpus.document import joined
from searchapp.corpus.lines import Lines
from searchapp.encoder.fingerprint import checksum
from searchapp.errors import AdaptError, CorpusError, reason_of
from searchapp.unicode import find_surrogate

TEXT_ENDINGS = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".parquet")
PAIR_ENDINGS = (".jsonl", ".jsonl.gz")
# The first name is ours; the others are what the files of other training programs say.
SPELLINGS = {
    "query": ("query", "anchor"),
    "positive": ("positive", "positives", "pos"),
    "negative": ("negative", "negatives", "neg"),
    "scores": ("scores",),
}
_PARQUET_ROWS = 256
_PARQUET_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """A query, the texts that answer it, and texts that look so and do not.

    ``scores`` are a teacher's, one for each of ``positives + negatives`` in that order; None where there was none.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class PairFile:
    """A data set of pairs, and how it is used.

    ``instruction`` is put before its queries. Before its positives and negatives goes ``document_instruction``, or the
    query's own where the task is ``symmetric``, as in paraphrases. ``share`` is how much of it an epoch sees: 0.5 half
    of its rows, 2 each row about twice. Raises AdaptError for a share that is not above 0, and for a document
    instruction in a symmetric task.
    """

    path: Path
    instruction: str = ""
    document_instruction: str = ""
    symmetric: bool = False
    share: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.share) and self.share > 0):
            raise AdaptError(
                f"{self.path}: the share is {self.share}; give a number above 0, such as 1 for each row once"
            )
        if self.symmetric and self.document_instruction:
            raise AdaptError(
                f"{self.path}: a symmetric task with the document instruction {self.document_instruction!r}; "
                "its documents get the query's instruction: leave one of the two out"
            )

    @property
    def name(self) -> str:
        """The file's name without ``.jsonl`` or ``.jsonl.gz``."""
        return self.path.name.removesuffix(".gz").removesuffix(".jsonl")

    @property
    def candidate_instruction(self) -> str:
        """What is put before positives and negatives."""
        return self.instruction if self.symmetric else self.document_instruction


def read_texts(paths: Sequence[Path]) -> Iterator[str]:
    """Stream the texts of files, in their order; blank ones are passed over.

    ``.txt`` holds one text a line; ``.jsonl`` and Parquet hold it in the field or column ``text``, behind ``title``
    and a space where there is a title, as an index embeds it. The first two may be gzip'd (``.gz``).

    Raises AdaptError at once for no file, a missing one or one of another kind; and, while iterating, with the line or
    row, for data that is damaged, no text, not Unicode or holds a NUL, and for a file without any text.
    """
    if not paths:
        raise AdaptError(f"no file of texts was given; give at least one ending in {', '.join(TEXT_ENDINGS)}")
    for path in paths:
        _require_file(path, TEXT_ENDINGS)
    return _texts(paths)


def read_pairs(file: PairFile) -> Iterator[TrainingPair]:
    """Stream the pairs of a JSON Lines file, plain or gzip'd; blank lines are passed over.

    A row is ``{"query": text, "positive": [text, …] or text}``, with ``negative`` alike and ``scores``, a number for
    each positive and then each negative, where there are any; see ``SPELLINGS`` for the names that are also read.
    Other fields are ignored.

    Raises AdaptError at once for a missing file or one of another kind; and, while iterating, with the line, for a row
    that is none of this, and for a file without any row.
    """
    _require_file(file.path, PAIR_ENDINGS)
    return _pairs(file.path)


def hash_file(path: Path) -> dict[str, str | int]:
    """What a run record keeps of a file: ``path`` as given, ``bytes``, and ``sha256`` in hex.

    Raises AdaptError where the file cannot be read.
    """
    try:
        return {"path": str(path), "bytes": path.stat().st_size, "sha256": checksum(path)}
    except OSError as error:
        raise AdaptError(f"{path}: cannot be read: {reason_of(error)}; check the path and its permissions") from error


def _texts(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        name = path.name.lower().removesuffix(".gz")
        read = _plain if name.endswith(".txt") else _json_texts if name.endswith(".jsonl") else _parquet_texts
        empty = True
        for text in read(path):
            if text.strip():
                empty = False
                yield text
        if empty:
            raise AdaptError(f"{path}: found no text, expected at least one; fill the file or leave it out")


def _plain(path: Path) -> Iterator[str]:
    for place, line in _lines(path):
        yield _text(line.strip(), "the text", place)


def _json_texts(path: Path) -> Iterator[str]:
    for place, fields in _objects(path):
        yield _titled(fields.get("title"), fields.get("text"), place)


def _parquet_texts(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        # With a buffer size, column chunks are streamed; without, each is read whole, however large the row group.
        with pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=_PARQUET_BYTES) as table:
            names = table.schema_arrow.names
            if names.count("text") != 1:
                found = f"the columns {', '.join(names[:20]) or '(none)'}"
                raise AdaptError(f"{path}: found {found}; expected one named `text`; rename the column of the texts")
            columns = [name for name in ("title", "text") if name in names]
            for batch in table.iter_batches(_PARQUET_ROWS, columns=columns, use_threads=False):
                for values in zip(*(batch.column(name) for name in columns), strict=True):
                    row += 1
                    fields = dict(zip(columns, (value.as_py() for value in values), strict=True))
                    yield _titled(fields.get("title"), fields["text"], f"{path}: row {row}")
    except UnicodeDecodeError as error:
        raise AdaptError(f"{path}: row {row}: invalid UTF-8 at byte {error.start + 1}; write the file again") from error
    except (pa.ArrowException, OSError) as error:
        where = f" after row {row}" if row else ""
        raise AdaptError(
            f"{path}: cannot be read as Parquet{where} ({reason_of(error)}); write the file again"
        ) from error


def _pairs(path: Path) -> Iterator[TrainingPair]:
    empty = True
    for place, fields in _objects(path):
        empty = False
        yield _pair(fields, place)
    if empty:
        raise AdaptError(f"{path}: found no pair, expected at least one; fill the file or leave it out")


def _pair(fields: Mapping[str, Any], place: str) -> TrainingPair:
    values = {name: _spelled(fields, name, place) for name in SPELLINGS}
    if values["query"] is None:
        raise AdaptError(f"{place}: no query; expected a field `query` with its text")
    query = _filled(values["query"], "the query", place)
    positives, negatives = (_several(values[name], name, place) for name in ("positive", "negative"))
    if not positives:
        raise AdaptError(f"{place}: no positive; expected a field `positive` with at least one text; remove the row")
    scores = values["scores"]
    if scores is not None:
        scores = _scores(scores, len(positives), len(negatives), place)
    return TrainingPair(query, positives, negatives, scores)


def _spelled(fields: Mapping[str, Any], name: str, place: str) -> Any:
    """Return the field of that name or of another spelling; None where it is not there or null."""
    found = [spelling for spelling in SPELLINGS[name] if fields.get(spelling) is not None]
    if len(found) > 1:
        raise AdaptError(f"{place}: both `{found[0]}` and `{found[1]}` are there; keep one of them")
    return fields[found[0]] if found else None


def _several(value: Any, name: str, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (_filled(value, f"the {name}", place),)
    if not isinstance(value, list):
        raise AdaptError(f"{place}: `{name}` is {_shown(value)}; expected a text or a list of texts")
    return tuple(_filled(text, f"{name} {number}", place) for number, text in enumerate(value, 1))


def _scores(value: Any, positives: int, negatives: int, place: str) -> tuple[float, ...]:
    expected = f"expected a number for each of {positives} positive and {negatives} negative texts"
    if not isinstance(value, list):
        raise AdaptError(f"{place}: `scores` is {_shown(value)}; {expected}")
    if len(value) != positives + negatives:
        raise AdaptError(f"{place}: `scores` holds {len(value)}; {expected}, in that order")
    for score in value:
        if isinstance(score, bool) or not isinstance(score, int | float) or not -1e300 < score < 1e300:
            raise AdaptError(f"{place}: `scores` holds {_shown(score)}; {expected}; score the row again")
    return tuple(float(score) for score in value)


def _titled(title: Any, text: Any, place: str) -> str:
    """Join title and text as an index does before it embeds them."""
    text = _text(text, "`text`", place)
    title = "" if title is None else _text(title, "`title`", place)
    return joined(title, text)


def _filled(value: Any, what: str, place: str) -> str:
    if _text(value, what, place).strip():
        return str(value)
    raise AdaptError(f"{place}: {what} is blank; expected at least one word; fill it or leave it out")


def _text(value: Any, what: str, place: str) -> str:
    """The value, where it is a string that every tokenizer takes. Raises AdaptError with the place."""
    if not isinstance(value, str):
        raise AdaptError(f"{place}: {what} is {_shown(value)}; expected a string")
    if "\0" in value:
        at = value.index("\0") + 1
        raise AdaptError(f"{place}: {what} holds a NUL at character {at}; expected text; remove it")
    if (found := find_surrogate(value)) is not None:
        raise AdaptError(
            f"{place}: {what} holds a lone surrogate at character {found + 1}; expected valid Unicode; remove it"
        )
    return value


def _shown(value: Any) -> str:
    """A value as JSON spells it, cut after 40 characters."""
    try:
        text = json.dumps(value, default=str)
    except ValueError:  # a whole number of more digits than Python prints
        return "too long a number"
    return text if len(text) <= 40 else text[:39] + "…"


def _require_file(path: Path, endings: Sequence[str]) -> None:
    expected = f"expected a file ending in {', '.join(endings)}"
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise AdaptError(f"{path}: {found}; {expected}; check the path")
    if not path.name.lower().endswith(tuple(endings)):
        raise AdaptError(f"{path}: a file ending in {path.suffix or 'nothing'}; {expected}; convert it")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines that are not blank, each behind its place in words."""
    lines = Lines(path, str(path))
    try:
        for line in lines:
            place = f"{path}: line {line.number}"
            try:
                text = line.text().rstrip(
                    "\r\n"
                )  # else an error at the end of a line is reported in a column of the next
            except ValueError as error:
                raise AdaptError(f"{place}: {error}; correct or remove the line") from error
            if text.strip():
                yield place, text
    except CorpusError as error:
        raise AdaptError(str(error)) from error


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, line in _lines(path):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            reason = f"invalid JSON at column {error.colno}: {error.msg}"
            raise AdaptError(f"{place}: {reason}; expected one object a line; correct or remove it") from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
            raise AdaptError(f"{place}: JSON that cannot be read ({error}); correct or remove the line") from error
        if not isinstance(value, dict):
            raise AdaptError(f"{place}: found {_shown(value)}, expected a JSON object; correct or remove the line")
        yield place, value
