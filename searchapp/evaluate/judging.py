"""Judgements in the making: what is left of a pool, what was said, and the file that holds it at every moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from searchapp.atomic import write_text
from searchapp.errors import EvaluationError, why_unwritten
from searchapp.evaluate.collection import Qrels, read_qrels, read_query_texts
from searchapp.evaluate.run import read_lines

SPLIT = "test"
ORIGIN = "drawn-from.json"  # beside the pool: the index it was drawn from
LEVELS = {0: "not relevant", 1: "partly", 2: "relevant"}


def drawn_from(index: Path, places: Iterable[Path]) -> list[Path]:
    """The folders directly below ``places`` that were drawn from an index and have judgements for the split to take."""
    wanted, found = str(index.resolve()), {}
    for place in places:
        for origin in sorted(place.glob(f"*/{ORIGIN}")):
            try:
                same = json.loads(origin.read_text(encoding="utf-8"))["index"] == wanted
            except (OSError, ValueError, KeyError, TypeError):
                continue
            names = {file.stem for file in (origin.parent / "qrels").glob("*.tsv")}
            if same and (SPLIT in names or len(names) == 1):
                found[origin.parent.resolve()] = origin.parent
    return list(found.values())


@dataclass
class Judging:
    """A pool under judgement.

    ``pairs`` are the (query, document) to judge in order, ``qrels`` what was judged, ``said`` the pairs judged or
    skipped since it was opened, the last one last. Every judgement is on disk before ``judge`` returns.
    """

    folder: Path
    pairs: list[tuple[str, str]]
    queries: dict[str, str]
    qrels: Qrels
    said: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path) -> Judging:
        """Open a folder that ``searchapp evaluate init`` made, with the judgements it has.

        Raises EvaluationError where there is no pool, or it names a query that is not in the queries file.
        """
        pool = folder / "pool.jsonl"
        if not pool.is_file():
            raise EvaluationError(
                f"{folder}: found no pool.jsonl, expected a folder that `searchapp evaluate init` has made"
            )
        queries = read_query_texts(folder)
        pairs = []
        for number, line in read_lines(pool):
            try:
                record = json.loads(line.decode())
                pairs.append((str(record["query-id"]), str(record["corpus-id"])))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise EvaluationError(
                    f'{pool}:{number}: found something else, expected {{"query-id": "…", "corpus-id": "…"}}'
                ) from None
            if any(identifier != identifier.strip(" ") for identifier in pairs[-1]):
                raise EvaluationError(
                    f"{pool}:{number}: an id in {pairs[-1]} begins or ends with a blank, which judgements cannot keep; "
                    "rename it in the index, and draw the pool again"
                )
            if pairs[-1][0] not in queries:
                raise EvaluationError(f"{pool}:{number}: query {pairs[-1][0]!r} is not in queries.jsonl; restore it")
        judged = folder / "qrels" / f"{SPLIT}.tsv"
        return cls(folder, pairs, queries, read_qrels(judged) if judged.exists() else {})

    @property
    def file(self) -> Path:
        """Where the judgements are."""
        return self.folder / "qrels" / f"{SPLIT}.tsv"

    @property
    def index(self) -> str | None:
        """The index the pool was drawn from; None where that is not written down, or not readable."""
        try:
            return str(json.loads((self.folder / ORIGIN).read_text(encoding="utf-8"))["index"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def left(self) -> list[tuple[str, str]]:
        """The pairs neither judged nor skipped, in order."""
        skipped = set(self.said)
        return [pair for pair in self.pairs if pair not in skipped and pair[1] not in self.qrels.get(pair[0], {})]

    def judged(self) -> int:
        """How many pairs have a judgement."""
        return sum(map(len, self.qrels.values()))

    def judge(self, pair: tuple[str, str], level: int) -> None:
        """Write a judgement down. Raises EvaluationError where the file cannot be written."""
        self.qrels.setdefault(pair[0], {})[pair[1]] = level
        self.said.append(pair)
        self._save()

    def retract(self, pair: tuple[str, str]) -> bool:
        """Take the judgement of a pair back; says whether it had one. Raises EvaluationError as ``judge`` does."""
        query, document = pair
        if self.qrels.get(query, {}).pop(document, None) is None:
            return False
        if not self.qrels[query]:
            del self.qrels[query]
        self._save()
        return True

    def extend(self, pair: tuple[str, str], text: str) -> None:
        """Put a pair into the pool, and its query among the queries, where they are not there; both files are kept.

        Raises EvaluationError for an id that the files cannot hold, and where they cannot be written.
        """
        query, document = pair
        if any(name != name.strip(" ") or set(name) & set("\t\n\r") or not name for name in pair):
            raise EvaluationError(f"the ids {pair} cannot stand in a judgement file; expected no blanks at the ends")
        if query not in self.queries:
            _append(self.folder / "queries.jsonl", {"_id": query, "text": text})
            self.queries[query] = text
        if pair not in set(self.pairs):
            _append(self.folder / "pool.jsonl", {"query-id": query, "corpus-id": document})
            self.pairs.append(pair)

    def skip(self, pair: tuple[str, str]) -> None:
        """Leave a pair for another time."""
        self.said.append(pair)

    def undo(self) -> tuple[str, str] | None:
        """Take back what was said last since it was opened, and return its pair; None where nothing was."""
        if not self.said:
            return None
        pair = self.said.pop()
        self.retract(pair)
        return pair

    def _save(self) -> None:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, "".join(self._lines()), sync=True)
            if not self.qrels:
                self.file.unlink()
        except OSError as error:
            raise EvaluationError(f"{self.file} cannot be written: {why_unwritten(error)}") from error

    def _lines(self) -> Iterator[str]:
        yield "query-id\tcorpus-id\tscore\n"
        for query, judged in self.qrels.items():
            for document, level in judged.items():
                yield f"{query}\t{document}\t{level}\n"


def _append(path: Path, record: dict[str, str]) -> None:
    """Add a line to a file of JSON lines, durably; the file has all lines or, after a crash, those before."""
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if before and not before.endswith("\n"):
            before += "\n"
        write_text(path, before + json.dumps(record, ensure_ascii=False) + "\n", sync=True)
    except (OSError, UnicodeError) as error:
        raise EvaluationError(f"{path} cannot be written: {why_unwritten(error)}") from error
