"""Several passages of one file as one hit, and equal texts of several files as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from searchapp.index import VectorIndex
from searchapp.search.hit import Answer, Hit

GROWTH = 4  # how many times as many hits are asked for where too few groups came


@dataclass(frozen=True, slots=True)
class Group:
    """Hits that are shown as one: the best, ``more`` passages of its file, and ``copies`` of these in other files.

    All of them stand before the next group's first hit or after it, but before the first hit of what is the group
    after the last one asked for: how many there are does not depend on how far was searched. In order of rank.
    """

    hit: Hit
    more: tuple[Hit, ...] = ()
    copies: tuple[Hit, ...] = ()


def file_of(hit: Hit) -> str | None:
    """What the passages of one file share of their ids; None for a document that is no passage of a file.

    The id of a passage is its file's name, below that of its source, and after a ``#`` what tells it from the others.
    """
    file = hit.metadata.get("file")
    if not isinstance(file, str) or not file:
        return None
    name = hit.id.rpartition("#")[0] or hit.id
    return name if name in (file, hit.metadata.get("source")) or name.endswith(f"/{file}") else None


def is_one_file(index: VectorIndex) -> bool:
    """Whether all documents are passages of one file, as of a book: folded they would be a single hit."""
    if index.is_remote:  # it is not looked for over machines
        return False
    files: set[str | None] = set()
    for number in range(len(index.manifest.segments)):
        fields = index.rows.column(number, "fields")
        if fields.type.get_field_index("text:file") < 0:
            return False
        column = fields.field("text:file")
        files.update(column[row].as_py() for row in (0, -1)[: len(column)])  # these mostly tell
        if len(files) <= 1:
            files.update(column.unique().to_pylist())  # by pyarrow.compute, whose import takes longer than a search
        if len(files) > 1 or None in files:
            return False
    return len(files) == 1


def content_of(hit: Hit) -> tuple[str, str]:
    """What is equal in copies: title and text. A title that is only the file's name is none."""
    file = hit.metadata.get("file")
    is_name = isinstance(file, str) and hit.title == file.rpartition("/")[2]
    return "" if is_name else hit.title, hit.text


def fold(hits: Sequence[Hit], k: int) -> tuple[list[Group], bool]:
    """The first k groups of a ranking, and whether another one begins after them.

    A hit belongs to the group of its file; else to the one that has the same text below the same title; else it begins
    one.
    """
    firsts: list[Hit] = []
    more: list[list[Hit]] = []
    copies: list[list[Hit]] = []
    files: dict[str, int] = {}
    texts: dict[tuple[str, str], int] = {}
    for hit in hits:
        file = file_of(hit)
        place = files.get(file) if file is not None else None
        if place is not None:
            more[place].append(hit)
        elif (place := texts.get(content_of(hit))) is not None:
            copies[place].append(hit)
        elif len(firsts) == k:
            return _groups(firsts, more, copies), True
        else:
            place = len(firsts)
            firsts.append(hit)
            more.append([])
            copies.append([])
            if file is not None:
                files[file] = place
        texts.setdefault(content_of(hit), place)
    return _groups(firsts, more, copies), False


def _groups(firsts: list[Hit], more: list[list[Hit]], copies: list[list[Hit]]) -> list[Group]:
    return [Group(hit, tuple(own), tuple(others)) for hit, own, others in zip(firsts, more, copies, strict=True)]


def answer_groups(
    ask: Callable[[Sequence[int], int], list[Answer]], count: int, k: int, depth: int = 0
) -> list[tuple[Answer, list[Group]]]:
    """The k best groups of each of ``count`` queries, fewer only where there are no more hits.

    ``ask`` answers the queries of the given numbers with a number of hits. More of them are asked for until another
    group than the first k begins, so that the groups are complete: ``depth`` at first, or what k lets expect. The
    answers keep one hit a group, and the seconds of all that was asked.
    """
    found: dict[int, tuple[Answer, list[Group]]] = {}
    spent: dict[int, Answer] = {}
    pending = list(range(count))
    depth = max(depth, GROWTH * k + 10)
    while pending:
        for number, answer in zip(list(pending), ask(pending, depth), strict=True):
            spent[number] = answer = _added(answer, spent.get(number))
            groups, is_complete = fold(answer.hits, k)
            if is_complete or len(answer.hits) < depth:
                found[number] = replace(answer, hits=tuple(group.hit for group in groups)), groups
        pending = [number for number in pending if number not in found]
        depth *= GROWTH
    return [found[number] for number in range(count)]


def _added(answer: Answer, before: Answer | None) -> Answer:
    if before is None:
        return answer
    return replace(
        answer,
        encode_seconds=before.encode_seconds + answer.encode_seconds,
        search_seconds=before.search_seconds + answer.search_seconds,
        rerank_seconds=before.rerank_seconds + answer.rerank_seconds,
    )
