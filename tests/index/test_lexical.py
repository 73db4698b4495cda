"""BM25 over an index: bm25s itself as the truth, and the same scores whatever was added, deleted or compacted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import bm25s
import numpy as np
import pytest
import Stemmer

from searchapp.errors import IndexStoreError, SearchAppError
from searchapp.index import Analyzer, Filter, VectorIndex, Writer, add, build, compact, delete, repair, verify
from searchapp.index.lexical.bm25 import add_lexical, remove_lexical
from searchapp.index.lexical.postings import MOST

WORDS = "bees fly make honey hives search engines measure quality ranking the of foxes jumping lazily über 2024".split()


def write(path: Path, count: int, seed: int = 0, first: int = 0) -> dict[str, str]:
    """Random documents, some without a title and some of stop words alone; what is searched of each by its id."""
    rng = np.random.default_rng(seed)
    texts, lines = {}, []
    for number in range(first, first + count):
        title = " ".join(rng.choice(WORDS, 2)) if number % 3 else ""
        text = " ".join(rng.choice(WORDS, rng.integers(1, 30)))
        if number % 17 == 5:
            title, text = "", "The of the"
        lines.append(json.dumps({"_id": f"d{number}", "title": title, "text": text, "even": number % 2 == 0}))
        texts[f"d{number}"] = f"{title} {text}".strip()
    path.write_text("\n".join(lines) + "\n")
    return texts


def tokens(text: str) -> list[str]:
    kept = [word for word in re.findall(r"[^\W_]+", text.lower()) if word not in bm25s.stopwords.STOPWORDS_EN]
    return Stemmer.Stemmer("porter").stemWords(kept)


def truth(texts: dict[str, str], query: str, k1: float = 0.9, b: float = 0.4) -> dict[str, float]:
    """What bm25s gives each document that it gives anything, indexing the documents that are there from nothing."""
    model = bm25s.BM25(k1=k1, b=b, method="lucene")
    model.index([tokens(text) or [""] for text in texts.values()], show_progress=False)
    asked = [token for token in tokens(query) if token in model.vocab_dict]
    scores = model.get_scores(asked) if asked else np.zeros(len(texts))
    return {name: float(score) for name, score in zip(texts, scores, strict=True) if score > 0}


def found(index: VectorIndex, query: str, k: int = 1_000, **options) -> dict[str, float]:
    scores, rows = index.lexical.search([query], k, **options)
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    real = rows[0] >= 0
    assert not np.isfinite(scores[0][~real]).any()
    order = list(zip(-scores[0][real], rows[0][real], strict=True))
    assert order == sorted(order), "not in the order of score, then row"
    return {
        index.rows.read(int(row)).id: float(score) for score, row in zip(scores[0][real], rows[0][real], strict=True)
    }


QUERIES = [
    "how do bees fly",
    "Honey, HONEY and foxes jumped",
    "über 2024",
    "the of",
    "nothing known",
    "search engine quality",
]


def check(index: VectorIndex, texts: dict[str, str]) -> None:
    """Every score as bm25s has it, which knows no empty documents: it makes up a word for them."""
    for query in QUERIES:
        assert found(index, query) == pytest.approx(truth(texts, query), rel=1e-5)


@pytest.fixture
def full(tmp_path: Path, hash_encoder) -> tuple[Path, dict[str, str]]:
    texts = write(tmp_path / "a.jsonl", 200)
    build([str(tmp_path / "a.jsonl")], tmp_path / "ix", hash_encoder, segment_size=64)
    return tmp_path / "ix", texts


def no_empty(texts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if tokens(text)}


def test_scores_are_those_of_bm25s(tmp_path: Path, hash_encoder) -> None:
    texts = write(tmp_path / "a.jsonl", 200)
    empty = [name for name, text in texts.items() if not tokens(text)]
    build([str(tmp_path / "a.jsonl")], tmp_path / "ix", hash_encoder, segment_size=64)
    delete(tmp_path / "ix", empty)
    check(VectorIndex.open(tmp_path / "ix"), no_empty(texts))


def test_documents_of_stop_words_count_as_documents_of_length_nought(full) -> None:
    path, texts = full
    index = VectorIndex.open(path)
    count, lengths, mean = index.lexical._statistics
    expected = np.array([len(tokens(text)) for text in texts.values()])
    assert (count, mean) == (200, pytest.approx(expected.mean())) and (lengths == expected).all()
    assert len(index.manifest.lexical.files) == 4, "one file for each of four segments"


def test_scores_stay_right_whatever_changes(full, tmp_path: Path, hash_encoder) -> None:
    path, texts = full
    delete(path, [name for name, text in texts.items() if not tokens(text)])
    texts = no_empty(texts)
    before = set(VectorIndex.open(path).manifest.lexical.files.values())
    gone = [name for name in texts if int(name[1:]) % 5 == 0]
    delete(path, gone)
    left = {name: text for name, text in texts.items() if name not in gone}
    check(VectorIndex.open(path), left)
    more = no_empty(write(tmp_path / "b.jsonl", 60, seed=1, first=300))
    lines = [line for line in (tmp_path / "b.jsonl").read_text().splitlines() if json.loads(line)["_id"] in more]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    add([str(tmp_path / "b.jsonl")], path, hash_encoder)
    check(VectorIndex.open(path), {**left, **more})
    after = set(VectorIndex.open(path).manifest.lexical.files.values())
    assert before < after, "the words of old documents were counted again"
    compact(path)
    index = VectorIndex.open(path)
    check(index, {**left, **more})
    assert len(index.manifest.lexical.files) == len(index.manifest.segments)
    assert verify(path) == []
    names = {item.name for item in (path / "data").iterdir()}
    assert {name for name in names if name.startswith("lexical")} >= set(index.manifest.lexical.files.values())


def test_a_filter_hides_documents_and_leaves_the_statistics(full) -> None:
    path, texts = full
    index = VectorIndex.open(path)
    everything = found(index, "bees honey")
    allowed = index.allowed(Filter("even == true"))
    passed = found(index, "bees honey", allowed=allowed)
    assert passed == {name: score for name, score in everything.items() if int(name[1:]) % 2 == 0}
    assert list(found(index, "bees honey", k=3)) == list(everything)[:3]
    assert sum(weight for _, weight in index.lexical.contributions("bees honey bees", 7)) == pytest.approx(
        found(index, "bees honey bees").get("d7", 0.0), rel=1e-5
    )


def test_one_batch_is_many_queries(full, monkeypatch) -> None:
    index = VectorIndex.open(full[0])
    together = index.lexical.search(QUERIES, 20)
    monkeypatch.setattr(
        "searchapp.index.lexical.bm25.HELD", 50
    )  # a chunk for nearly each query, and weights thrown away
    index = VectorIndex.open(full[0])
    apart = index.lexical.search(QUERIES, 20)
    for one, other in zip(together, apart, strict=True):
        assert np.array_equal(one, other)
    for number, query in enumerate(QUERIES):
        assert np.array_equal(index.lexical.search([query], 20)[1][0], together[1][number])


def test_words_that_no_document_has_are_not_kept(full) -> None:
    """Queries bring new ones without end."""
    index = VectorIndex.open(full[0])
    index.lexical.search(["bees honey"], 20)
    kept = len(index.lexical._kept)
    assert kept > 0
    for number in range(50):
        index.lexical.search([f"bees qq{number}zz"], 20)
    assert len(index.lexical._kept) == kept


def test_equal_scores_stand_in_row_order_at_the_cut_too(tmp_path: Path, hash_encoder) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"_id": f"d{n}", "text": f"bees {n}"}) for n in range(50)))
    build([str(tmp_path / "a.jsonl")], tmp_path / "ix", hash_encoder, segment_size=20)
    _, rows = VectorIndex.open(tmp_path / "ix").lexical.search(["bees", "bees 30"], 7)
    assert rows.tolist() == [[0, 1, 2, 3, 4, 5, 6], [30, 0, 1, 2, 3, 4, 5]]


def test_a_word_beyond_counting(tmp_path: Path, hash_encoder) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"_id": "a", "text": "bees " * (MOST + 5)}) + "\n")
    build([str(tmp_path / "a.jsonl")], tmp_path / "ix", hash_encoder)
    assert verify(tmp_path / "ix") == []
    assert found(VectorIndex.open(tmp_path / "ix"), "bee")["a"] > 0


def test_analysers(tmp_path: Path, hash_encoder) -> None:
    assert Analyzer().terms("The bees' flying_machines, in 2024!") == ["bee", "fly", "machin", "2024"]
    assert Analyzer(None, None).terms("The bees") == ["the", "bees"]
    assert Analyzer.of_language("german").terms("Die Bienen fliegen") == ["bien", "flieg"]
    assert Analyzer.of_language("none") == Analyzer(None, None)
    for wrong in ("klingon", "English"):
        with pytest.raises(SearchAppError, match=f"no stemmer for '{wrong}'.*german"):
            Analyzer.of_language(wrong)
    with pytest.raises(SearchAppError, match="no stop words for 'basque'"):
        Analyzer("basque", "basque")


def test_it_is_added_changed_removed(tmp_path: Path, hash_encoder) -> None:
    texts = no_empty(write(tmp_path / "a.jsonl", 40))
    build([str(tmp_path / "a.jsonl")], tmp_path / "ix", hash_encoder, lexical=False)
    path = tmp_path / "ix"
    with pytest.raises(IndexStoreError, match="no BM25 part.*searchapp lexical"):
        _ = VectorIndex.open(path).lexical
    with Writer.update(path) as writer:
        first = add_lexical(writer)
    with Writer.update(path) as writer:
        assert add_lexical(writer) == first, "nothing to do"
        tuned = add_lexical(writer, k1=1.2, b=0.75)
    assert tuned.lexical.files == first.lexical.files, "k1 and b count no words"
    delete(path, [f"d{n}" for n in range(40) if f"d{n}" not in texts])
    given, expected = found(VectorIndex.open(path), "bees honey"), truth(texts, "bees honey", 1.2, 0.75)
    assert given == pytest.approx(expected, rel=1e-5)
    with Writer.update(path) as writer:
        plain = add_lexical(writer, Analyzer(None, None))
    assert not set(plain.lexical.files.values()) & set(first.lexical.files.values())
    assert found(VectorIndex.open(path), "the").keys() > set()
    with Writer.update(path) as writer:
        remove_lexical(writer)
    assert VectorIndex.open(path).manifest.lexical is None
    with Writer.update(path) as writer, pytest.raises(IndexStoreError, match="b is 1.5; expected 0 to 1"):
        add_lexical(writer, b=1.5)


def test_hurt_postings_are_seen_and_made_again(full, hash_encoder, tmp_path: Path) -> None:
    path, _ = full
    index = VectorIndex.open(path)
    before = found(index, "bees")
    name = next(iter(index.manifest.lexical.files.values()))
    del index  # an open index keeps its state, damage and all
    place = path / "data" / name
    content = bytearray(place.read_bytes())
    content[-1] ^= 0xFF
    place.write_bytes(content)
    assert any(name in problem for problem in verify(path))
    summary = build([str(tmp_path / "a.jsonl")], path, hash_encoder, segment_size=64)
    assert summary.encoded == 0 and not summary.already_done
    assert verify(path) == []
    assert found(VectorIndex.open(path), "bees") == before


@pytest.mark.parametrize("harm", ["cut", "removed", "changed"])
def test_lost_postings_are_counted_again_by_repair(full, harm: str) -> None:
    path, _ = full
    index = VectorIndex.open(path)
    before, others = found(index, "bees"), index.manifest.ann
    name = index.manifest.postings()[1]
    del index  # an open index keeps its state, damage and all
    place = path / "data" / name
    content = place.read_bytes()
    place.unlink()
    if harm != "removed":
        place.write_bytes(content[:-9] if harm == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    assert any(name in problem and "--repair" in problem for problem in verify(path))

    def load(_):
        raise AssertionError("no model is needed to count words")

    done = repair(path, load)
    assert done.mended == [f"{name} counted again from the stored documents"]
    assert verify(path) == []
    index = VectorIndex.open(path)
    assert found(index, "bees") == before and index.manifest.ann == others


# nDCG@10 on the test judgements, measured by another program with the same words and parameters
PUBLISHED = {"cacm": 0.4659, "cranfield": 0.4835, "med": 0.6631, "npl": 0.4378, "xquad-en": 0.9681, "scifact": 0.6767, "checkthat2020": 0.9067}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name == "cacm" else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED]
)
def test_bm25_of_real_collections_is_what_it_should_be(name: str, shared: Path, tmp_path: Path, hash_encoder) -> None:
    from searchapp.evaluate import load_collection, score

    collection = load_collection(shared / "data" / "retrieval" / name, "test")
    build([str(collection.corpus)], tmp_path / "ix", hash_encoder)
    index = VectorIndex.open(tmp_path / "ix")
    scores, rows = index.lexical.search([query.text for query in collection.queries], 1_000)
    ids = index.ids()
    run = {
        query.id: {ids[row]: float(score) for row, score in zip(line, points, strict=True) if row >= 0}
        for query, line, points in zip(collection.queries, rows, scores, strict=True)
    }
    assert score(run, collection.qrels, ["nDCG@10"]).estimate("nDCG@10").value == pytest.approx(
        PUBLISHED[name], abs=0.005
    )
