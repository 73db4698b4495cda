"""More like this: by the stored vectors, without the document itself, and without a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import SearchAppError
from searchapp.index import VectorIndex, build, delete
from searchapp.search import like

TEXTS = ("bees make honey", "bees make wax", "honey of bees", "the fox jumps", "dogs are lazy", "foxes and dogs")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    root = tmp_path_factory.mktemp("like")
    lines = [json.dumps({"_id": f"text-{i}", "text": text, "even": i % 2 == 0}) for i, text in enumerate(TEXTS)]
    (root / "d.jsonl").write_text("\n".join([*lines, json.dumps({"_id": "gone", "text": TEXTS[0]})]))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder)
    delete(root / "ix", ["gone"])
    return root / "ix"


@pytest.mark.parametrize("row", range(len(TEXTS)))
def test_the_closest_vectors_come_first_and_the_document_not_at_all(place: Path, tiny_encoder, row: int) -> None:
    answer = like(VectorIndex.open(place), f"text-{row}", 3)
    vectors = tiny_encoder.encode_documents(list(TEXTS))
    cosines = vectors @ vectors[row]
    order = [other for other in np.argsort(-cosines, kind="stable") if other != row][:3]
    assert [hit.id for hit in answer.hits] == [f"text-{other}" for other in order]
    assert np.allclose([hit.score for hit in answer.hits], cosines[order], atol=2e-3)  # stored in half precision
    assert [hit.places["exact"].rank for hit in answer.hits] == [1, 2, 3]


def test_a_filter_and_a_large_k(place: Path) -> None:
    index = VectorIndex.open(place)
    assert len(like(index, "text-1", 100).hits) == len(TEXTS) - 1
    assert {hit.id for hit in like(index, "text-1", 100, filter="even == true").hits} == {"text-0", "text-2", "text-4"}


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        ("text", "near it: text-0, text-1, text-2$"),
        ("TEXT-3", "near it: text-3$"),
        ("txt-4", "near it: text-4, "),
        ("gone", "--json"),
        ("", "--json"),
        ("\udcff", "--json"),
    ],
)
def test_an_unknown_id_is_refused_with_those_near_it(place: Path, identifier: str, words: str) -> None:
    with pytest.raises(SearchAppError, match=words):
        like(VectorIndex.open(place), identifier)


def test_numbers_out_of_range_are_refused(place: Path) -> None:
    with pytest.raises(SearchAppError, match="k is 0"):
        like(VectorIndex.open(place), "text-1", 0)
    with pytest.raises(SearchAppError, match="candidates is -1"):
        like(VectorIndex.open(place), "text-1", candidates=-1)
