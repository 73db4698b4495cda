"""Any sequence of changes is searched exactly as a plain dict of vectors would be.

The types here are exact, or rescore every row of an index this small: hits, scores and the order of ties are the
model's. ``test_trained.py`` is about those that are not.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from searchapp.index import Filter, VectorIndex, verify
from tests.index.conftest import HashEncoder
from tests.index.model import Model
from tests.index.power import Unsynced
from tests.index.sequence import Sequence, stopped

QUERIES = np.concatenate([HashEncoder().vector(text) for text in ("alpha", "beta 3", "nothing like it")])
IDS = [f"d{number}" for number in range(12)]
FILTERS = {"year >= 2": lambda fields: fields["year"] >= 2, "year == 9": lambda fields: fields["year"] == 9}

texts = st.sampled_from([f"{word} {i}".strip() for word in ("alpha", "beta", "gamma") for i in ("", 1, 2, 3)])
years = st.integers(0, 4)
batch = st.dictionaries(
    st.sampled_from(IDS), st.fixed_dictionaries({"text": texts, "year": years}), max_size=8, min_size=1
)
changes = st.one_of(
    st.tuples(st.just("add"), batch),
    st.tuples(st.just("touch"), years),
    st.tuples(st.just("delete"), st.lists(st.sampled_from([*IDS, "x", "y"]), min_size=1, max_size=6)),
    st.tuples(st.just("delete"), st.just(IDS)),
    st.tuples(st.just("delete_where"), years),
    st.tuples(st.just("compact")),
    st.tuples(st.just("reindex"), st.sampled_from(["Flat", "auto", "SQ8", "RaBitQ"]), st.sampled_from([0, 1, 5])),
)
stops = st.one_of(st.none(), st.integers(1, 40))  # the durable step at which a change is stopped first
SHARED = {
    "deadline": None,
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
sequences = given(
    first=batch,
    steps=st.lists(st.tuples(changes, stops), max_size=8),
    segment=st.integers(1, 5),
    fresh=st.sampled_from([48, 1 << 24]),  # numbers: three rows, or more than there ever are
    few=st.sampled_from([0, 20_000]),  # rows that pass a filter up to which they are simply compared
)


@settings(max_examples=12, **SHARED)
@sequences
def test_any_sequence_is_searched_like_a_dict(first, steps, segment: int, fresh: int, few: int) -> None:
    run_sequence(first, steps, segment, fresh, few)


@pytest.mark.slow
@settings(max_examples=600, **SHARED)
@sequences
def test_any_of_many_sequences_is_searched_like_a_dict(first, steps, segment: int, fresh: int, few: int) -> None:
    run_sequence(first, steps, segment, fresh, few)


def run_sequence(first: dict, steps: list, segment: int, fresh: int, few: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.index.handed.make_disk", Unsynced)
            patch.setattr("searchapp.index.extend.FRESH_NUMBERS", fresh)
            patch.setattr("searchapp.index.reader.FEW", few)
            sequence = Sequence(folder, HashEncoder, segment, first)
            require_same(VectorIndex.open(sequence.root), sequence.model)
            for (kind, *what), stop in steps:
                take(sequence, kind, what, stop)
            assert verify(sequence.root) == []
    finally:
        shutil.rmtree(folder)


def take(sequence: Sequence, kind: str, what: list, stop: int | None) -> None:
    """One step: the index then is the model, and a reader that was open before it still sees the model before."""
    before, reader = sequence.model.copy(), VectorIndex.open(sequence.root)
    change = getattr(sequence, kind)(*what)
    if stop is not None:
        stopped(change, stop)
        index = VectorIndex.open(sequence.root)
        require_same(index, before if documents(index) == before.documents else sequence.model)
    change(stop is not None)
    require_same(VectorIndex.open(sequence.root), sequence.model)
    require_same(reader, before)


def documents(index: VectorIndex) -> dict[str, dict]:
    read = [index.rows.read(row) for row, name in enumerate(index.ids()) if name is not None]
    return {item.id: {"text": item.text, **item.metadata} for item in read}


def found(index: VectorIndex, queries: np.ndarray, k: int, filter: str | None = None) -> list[list[tuple[str, float]]]:
    scores, rows = index.search_vectors(queries, k, filter=Filter(filter) if filter else None)
    names = index.ids()
    return [
        [(names[row], float(score)) for score, row in zip(*pair, strict=True) if row >= 0]
        for pair in zip(scores, rows, strict=True)
    ]


def require_same(index: VectorIndex, model: Model) -> None:
    """The index holds the documents of the model and finds what it finds, alone, in a batch, and on two threads."""
    import faiss

    assert documents(index) == model.documents
    assert list(index.ids()[index.alive] if index.alive is not None else index.ids()) == list(model.documents)
    everything = [(filter, passes) for filter, passes in FILTERS.items() if index.manifest.rows]
    many = np.tile(QUERIES, (9, 1))  # FAISS searches a few one by one, and many as a product of matrices
    for filter, passes in ((None, lambda _: True), *everything):
        for k in (1, 4, 50):
            want = [model.search(query[None], k, passes) for query in QUERIES]
            got = found(index, QUERIES, k, filter)
            require_hits(got, want)
            if filter is None and k == 4:
                require_hits([found(index, query[None], k)[0] for query in QUERIES], want)
                threads = faiss.omp_get_max_threads()
                faiss.omp_set_num_threads(2)
                require_hits(found(index, many, k), want * 9)
                faiss.omp_set_num_threads(threads)


def require_hits(got: list[list[tuple[str, float]]], want: list[list[tuple[str, float]]]) -> None:
    for one, other in zip(got, want, strict=True):
        assert [key for key, _ in one] == [key for key, _ in other]
        np.testing.assert_allclose([score for _, score in one], [score for _, score in other], atol=2e-6)
