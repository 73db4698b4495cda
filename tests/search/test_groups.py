"""Passages of one file are one group, copies too, and how far was searched changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from searchapp.search import Answer, Hit
from searchapp.search.groups import answer_groups, file_of, fold


def passage(file: str, number: int, text: str) -> Hit:
    return Hit(f"notes/{file}#{number}", 1 - number / 1000, file, text, {"file": file, "source": "notes", "line": 1})


def document(identifier: str, text: str, title: str = "") -> Hit:
    return Hit(identifier, 0.5, title, text, {"file": "csv.py", "line": 3})


RANKINGS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "one", "two", "three", "four"])), max_size=60
)


def ranking(pairs: list[tuple[str, str]]) -> list[Hit]:
    """Hits of files and texts; without a text of its own a passage has one that no other has."""
    return [passage(file, number, text or f"only {number}") for number, (file, text) in enumerate(pairs)]


def test_what_is_a_passage_of_a_file() -> None:
    assert file_of(passage("a.md", 1, "x")) == "notes/a.md"
    assert file_of(Hit("a.md#L3", 1, "", "x", {"file": "a.md"})) == "a.md", "an index of the first scheme"
    assert file_of(Hit("book#1f", 1, "", "x", {"file": "b.txt", "source": "book"})) == "book", "a source with a name"
    assert file_of(document("csv.reader", "x")) is None, "the docstrings of one module are not one document"
    assert file_of(Hit("a.md#1", 1, "", "x", {"file": 7})) is None
    assert file_of(Hit("a.md#1", 1, "", "x")) is None


def test_passages_and_copies_are_folded_in_order() -> None:
    hits = [
        passage("a.md", 1, "bees"), passage("b.md", 2, "foxes"), passage("c.md", 3, "bees"), passage("a.md", 4, "hives"),
        passage("d.md", 5, "hives"), passage("b.md", 6, "bees"), passage("d.md", 7, "own"), passage("b.md", 8, "late"),
    ]  # fmt: skip
    groups, is_complete = fold(hits, 2)
    assert is_complete, "d.md begins a third group"
    ids = [[group.hit.id, *(hit.id for hit in group.more)] for group in groups]
    assert ids == [["notes/a.md#1", "notes/a.md#4"], ["notes/b.md#2", "notes/b.md#6"]]
    assert [[hit.id for hit in group.copies] for group in groups] == [["notes/c.md#3", "notes/d.md#5"], []]


def test_documents_are_equal_by_title_and_text() -> None:
    hits = [document("x", "see above", "one"), document("y", "see above", "two"), document("z", "see above", "one")]
    groups, _ = fold(hits, 5)
    assert [(group.hit.id, [copy.id for copy in group.copies]) for group in groups] == [("x", ["z"]), ("y", [])]


@given(RANKINGS, st.integers(1, 6), st.integers(1, 80))
def test_groups_are_those_of_the_whole_ranking(pairs: list[tuple[str, str]], k: int, depth: int) -> None:
    hits = ranking(pairs)
    asked = []

    def ask(numbers, wanted: int) -> list[Answer]:
        asked.append(wanted)
        return [Answer("q", tuple(hits[:wanted]), 0.5, 0.25) for _ in numbers]

    ((answer, groups),) = answer_groups(ask, 1, k, depth)
    # The truth, hit by hit: who is first of its file or has the text of none before, until one more than k came.
    owner: dict[str, str] = {}
    texts: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for hit in hits:
        file = hit.metadata["file"]
        head = owner.get(file) or texts.get(hit.text)
        if head is None:
            if len(members) == k:
                break
            head = owner[file] = hit.id
            members[head] = []
        members[head].append(hit.id)
        texts.setdefault(hit.text, head)
    assert [group.hit.id for group in groups] == list(members) == [hit.id for hit in answer.hits]
    found = [sorted([group.hit.id, *(hit.id for hit in (*group.more, *group.copies))]) for group in groups]
    assert found == [sorted(ids) for ids in members.values()]
    assert answer.encode_seconds == 0.5 * len(asked), "what was asked again was also waited for"


def test_queries_that_have_their_groups_are_not_asked_again() -> None:
    many = [passage("a.md", number, f"t{number}") for number in range(500)] + [passage("b.md", 900, "last")]
    few = [passage(f"{number}.md", number, f"t{number}") for number in range(500)]
    asked = []

    def ask(numbers, wanted: int) -> list[Answer]:
        asked.append(list(numbers))
        return [Answer("q", tuple((many, few)[number][:wanted]), 0, 0) for number in numbers]

    found = answer_groups(ask, 2, 3)
    assert [len(groups) for _, groups in found] == [2, 3]
    assert found[0][1][1].hit.id == "notes/b.md#900"
    assert asked[0] == [0, 1] and all(numbers == [0] for numbers in asked[1:])
