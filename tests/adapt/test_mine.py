"""Hard negatives: equal to what another program mines, never an answer, and written whole or not at all."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from searchapp.adapt.data import PairFile, TrainingPair, read_pairs
from searchapp.adapt.hard_negatives import Candidate, Mined, MiningConfig, MiningSummary, mine, write_mined
from searchapp.errors import AdaptError, SearchAppError
from tests.progress import Counted


class Vectors:
    """A search over random unit vectors, and what sentence-transformers needs to search them too."""

    device = "cpu"

    def __init__(self, queries: int, documents: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        names = [f"q{i}" for i in range(queries)] + [f"d{i}" for i in range(documents)]
        rows = rng.normal(size=(len(names), 6)).astype(np.float32)
        rows[queries:] += 0.8 * rows[np.arange(documents) % queries]  # di answers qi, and some others seem to
        self.rows = dict(zip(names, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))
        self.documents = names[queries:]
        self.asked: list[list[str]] = []

    def encode_query(self, texts, **_) -> np.ndarray:
        return np.stack([self.rows[text] for text in texts])

    encode_document = encode_query

    def similarity(self, queries, documents):
        import torch

        return torch.as_tensor(queries) @ torch.as_tensor(documents).T

    def similarity_pairwise(self, queries, documents):
        import torch

        return (torch.as_tensor(queries) * torch.as_tensor(documents)).sum(1)

    def search(self, queries: list[str], k: int) -> list[list[Candidate]]:
        self.asked.append(queries)
        found = []
        for query in queries:
            scored = sorted(((float(self.rows[query] @ self.rows[d]), d) for d in self.documents), reverse=True)
            found.append([Candidate(name, name, score) for score, name in scored[:k]])
        return found

    def score(self, queries: list[str], texts: list[tuple[str, ...]]) -> list[list[float]]:
        return [
            [float(self.rows[q] @ self.rows[t]) for t in several] for q, several in zip(queries, texts, strict=True)
        ]


def _fixed(hits: list[Candidate], positive: float = 1.0):
    """A search that finds the same for every query, and a score that is the same for every positive."""

    def score(queries: list[str], texts: list[tuple[str, ...]]) -> list[list[float]]:
        return [[positive] * len(several) for several in texts]

    return (lambda queries, k: [hits[:k] for _ in queries]), score


@pytest.mark.slow  # the import alone takes seconds
@pytest.mark.parametrize(
    "margins", [{"relative_margin": 0.05}, {"relative_margin": 0.0, "absolute_margin": 0.1}, {"relative_margin": 0.3}]
)
def test_the_best_that_will_do_are_those_of_sentence_transformers(margins: dict[str, float]) -> None:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    world = Vectors(40, 60)
    pairs = [TrainingPair(f"q{i}", (f"d{i}",)) for i in range(40)]
    found = {
        row.pair.query: list(row.pair.negatives)
        for row in mine(pairs, world.search, world.score, MiningConfig(num_negatives=3, range_max=60, **margins))
    }
    theirs = mine_hard_negatives(
        Dataset.from_dict({"query": [p.query for p in pairs], "answer": [p.positives[0] for p in pairs]}),
        world,  # type: ignore[arg-type]
        corpus=world.documents,
        num_negatives=3,
        range_max=60,
        relative_margin=margins["relative_margin"],
        absolute_margin=margins.get("absolute_margin"),
        output_format="triplet",
        verbose=False,
    )
    expected: dict[str, list[str]] = {query: [] for query in found}
    for row in theirs:
        expected[row["query"]].append(row["negative"])
    # Where the positive scores below 0 a share of it is above it; we ask for less than the positive itself.
    positive = {p.query: world.score([p.query], [p.positives])[0][0] for p in pairs}
    compared = [query for query in found if positive[query] > 0]
    assert len(compared) > 20
    assert any(len(expected[query]) == 3 for query in compared)
    for query in compared:
        assert found[query] == expected[query]
    for query in set(found) - set(compared):
        assert all(world.rows[query] @ world.rows[text] < positive[query] for text in found[query])


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-1, 1)), max_size=12), st.floats(-1, 1),
    st.integers(1, 4), st.integers(0, 3), st.integers(0, 6), st.floats(0.1, 1), st.floats(0, 0.5), st.booleans(),
    st.integers(0, 2**33),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_nothing_is_taken_that_should_not_be(found, positive, count, skip, more, share, margin, sample, seed) -> None:
    hits = [
        Candidate(text, str(rank), score) for rank, (text, score) in enumerate(sorted(found, key=lambda f: -f[1]), 1)
    ]
    config = MiningConfig(count, skip, skip + count + more, 1 - share, margin, sample, seed)
    pair = TrainingPair("a", ("b", "C"), ("d",))
    (row,) = mine([pair], *_fixed(hits, positive), config)
    new = row.pair.negatives[1:]
    looked_at = hits[skip : skip + count + more]
    best = {hit.text: hit.score for hit in reversed(looked_at)}  # of equal texts the first counts
    limit = min((1 - config.relative_margin) * positive, positive, positive - margin)
    fit = {text for text, score in best.items() if score < limit}
    fit -= set("abcd")
    assert (row.pair.query, row.pair.positives, row.pair.negatives[0]) == ("a", ("b", "C"), "d")
    assert len(new) == len(set(new)) == row.new == min(count, len(fit))
    assert set(new) <= fit
    ranks = [[hit.text for hit in looked_at].index(text) for text in new]
    assert sample or ranks == sorted(ranks)
    assert row.new + row.known + row.suspect <= len(looked_at)


def test_what_equals_the_query_a_positive_or_a_negative_is_no_negative() -> None:
    hits = [
        Candidate("What  is\nit ", "1", 0.9),
        Candidate("the answer", "2", 0.8, title="Title"),
        Candidate("ANSWER two", "3", 0.7, title="The"),
        Candidate("old", "4", 0.6),
        Candidate("fresh", "5", 0.5, title="A"),
        Candidate("Fresh", "6", 0.4),
        Candidate("other", "7", 0.3),
    ]
    pair = TrainingPair("what is it", ("the  Answer", "the answer TWO"), ("Old",))
    (row,) = mine([pair], *_fixed(hits), MiningConfig(num_negatives=3))
    assert row == Mined(TrainingPair(*_parts(pair), ("Old", "A fresh", "other")), new=2, known=5, suspect=0)
    (bare,) = mine([pair], *_fixed(hits), MiningConfig(num_negatives=3, titles=False))
    assert bare.pair.negatives == ("Old", "fresh", "other")


def _parts(pair: TrainingPair) -> tuple[str, tuple[str, ...]]:
    return pair.query, pair.positives


def test_the_lowest_positive_sets_the_limit_and_ranks_are_counted_from_the_first_hit() -> None:
    hits = [Candidate(text, text, score) for text, score in (("a", 0.9), ("b", 0.48), ("c", 0.47), ("d", 0.4))]
    search, _ = _fixed(hits)
    pair = TrainingPair("q", ("high", "low"))

    def score(queries: list[str], texts: list[tuple[str, ...]]) -> list[list[float]]:
        assert (queries, texts) == (["q"], [("high", "low")])
        return [[1.0, 0.5]]

    (row,) = mine([pair], search, score, MiningConfig(num_negatives=1))
    assert (row.pair.negatives, row.suspect) == (("c",), 2)  # 0.95 of 0.5 is 0.475
    (row,) = mine([pair], search, score, MiningConfig(num_negatives=1, range_min=2))
    assert (row.pair.negatives, row.suspect) == (("c",), 0)
    (row,) = mine([pair], search, score, MiningConfig(num_negatives=1, range_min=1, range_max=2))
    assert (row.pair.negatives, row.new, row.suspect) == ((), 0, 1)


def test_sampling_depends_on_the_seed_and_the_pair_and_on_nothing_else() -> None:
    world = Vectors(30, 80)
    pairs = [TrainingPair(f"q{i}", (f"d{i}",)) for i in range(30)]

    def drawn(batch: int, **options) -> list[tuple[str, ...]]:
        config = MiningConfig(num_negatives=2, range_max=80, **options)
        return [row.pair.negatives for row in mine(pairs, world.search, world.score, config, batch=batch)]

    sampled = drawn(256, sample=True)
    assert drawn(7, sample=True) == sampled
    assert drawn(7, sample=True, seed=1) != sampled
    assert drawn(7) != sampled


def test_pairs_are_searched_in_batches_as_they_are_drawn() -> None:
    world, drawn, progress = Vectors(10, 20), [], Counted()

    def stream():
        for number in range(10):
            drawn.append(number)
            yield TrainingPair(f"q{number}", (f"d{number}",))

    config = MiningConfig(num_negatives=1, range_max=20)
    rows = mine(stream(), world.search, world.score, config, batch=4, progress=progress)
    assert next(rows).pair.query == "q0"
    assert len(drawn) == 4
    assert [row.pair.query for row in rows] == [f"q{i}" for i in range(1, 10)]
    assert [len(queries) for queries in world.asked] == [4, 4, 2]
    assert (progress.stages, progress.count) == (["mining"], 10)


def test_pairs_with_scores_and_choices_without_sense_are_refused() -> None:
    with pytest.raises(AdaptError, match="pair 2 has scores"):
        list(mine([TrainingPair("q", ("p",)), TrainingPair("q", ("p",), (), (1.0,))], *_fixed([])))
    wrong = [
        {"num_negatives": 0}, {"range_min": -1}, {"seed": -1}, {"range_max": 3}, {"range_min": 97},
        {"relative_margin": 1}, {"relative_margin": -0.1}, {"relative_margin": float("nan")},
        {"absolute_margin": -0.1}, {"absolute_margin": float("nan")},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(AdaptError):
            MiningConfig(**options)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_what_is_written_is_read_again_and_nothing_is_overwritten_unasked(tmp_path: Path, name: str) -> None:
    to = tmp_path / name
    rows = [
        Mined(TrainingPair("q\u2028", ("p",), ("n", "m\n")), 2, 1, 3),
        Mined(TrainingPair("r", ("p", "o")), 0, 4, 5),
    ]
    assert write_mined(rows, to, num_negatives=2) == MiningSummary(2, 2, 5, 8, 1)
    assert list(read_pairs(PairFile(to))) == [row.pair for row in rows]
    first = to.read_bytes()
    with pytest.raises(AdaptError, match="a file is already there"):
        write_mined(rows[:1], to, num_negatives=2)
    assert to.read_bytes() == first
    write_mined(rows, to, num_negatives=2, overwrite=True)
    assert to.read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failure_half_way_leaves_no_file_and_the_old_one_as_it_was(tmp_path: Path) -> None:
    to = tmp_path / "a.jsonl.gz"

    def rows():
        yield Mined(TrainingPair("q", ("p",)), 0, 0, 0)
        raise SearchAppError("gone")

    with pytest.raises(SearchAppError, match="gone"):
        write_mined(rows(), to, num_negatives=1)
    assert not list(tmp_path.iterdir())
    to.write_bytes(b"old")
    with pytest.raises(SearchAppError, match="gone"):
        write_mined(rows(), to, num_negatives=1, overwrite=True)
    assert to.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == [to.name]


def test_a_file_that_another_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    to = tmp_path / "a.jsonl"

    def rows():
        yield Mined(TrainingPair("q", ("p",)), 0, 0, 0)
        to.write_text("theirs")

    with pytest.raises(AdaptError, match="cannot be written: File exists"):
        write_mined(rows(), to, num_negatives=1)
    assert to.read_text() == "theirs"


@pytest.mark.parametrize(("name", "words"), [("a.txt", "ends in .txt"), ("no/a.jsonl", "no folder")])
def test_a_target_that_cannot_be_is_said_before_a_row_is_drawn(tmp_path: Path, name: str, words: str) -> None:
    def rows():
        raise RuntimeError("drawn")
        yield

    with pytest.raises(AdaptError, match=words):
        write_mined(rows(), tmp_path / name, num_negatives=1)


WORDS = ["bees", "honey", "hive", "fox", "dog", "search", "engine", "web", "query", "passages"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    """An index over texts of three words, half of them with a title."""
    from searchapp.index import build

    folder = tmp_path_factory.mktemp("mining")
    rows = []
    for number in range(40):
        text = " ".join(WORDS[(number * step + step) % 10] for step in (1, 3, 7)) + f" {number}"
        rows.append({"_id": f"d{number}", "title": f"title {number}" if number % 2 else "", "text": text})
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build([str(folder / "docs.jsonl")], folder / "index", tiny_encoder)
    return folder


def _command(*arguments: object):
    from searchapp.cli.mine import mine as command

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_mines_what_the_vectors_say(place: Path, tiny_encoder, tmp_path: Path) -> None:
    documents = [json.loads(line) for line in (place / "docs.jsonl").read_text().splitlines()]
    texts = [f"{d['title']} {d['text']}".strip() for d in documents]
    pairs = [{"query": f"{WORDS[i]} and {WORDS[i + 1]}", "positive": [texts[3 * i]]} for i in range(8)]
    source, to = tmp_path / "pairs.jsonl", tmp_path / "mined.jsonl.gz"
    source.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    options = ["--index", place / "index", "--to", to, "--count", 3, "--depth", 40, "--max-share", 0.9, "--json"]
    outcome = _command(source, *options, "--instruction", "find: ")
    assert outcome.exit_code == 0, outcome.output
    # The same by the encoder's public face and one comparison of every text with every query.
    asked = tiny_encoder.encode([pair["query"] for pair in pairs], "find: ")
    cosines = asked @ tiny_encoder.encode(texts).T
    expected, suspect = [], 0
    for i, row in enumerate(cosines):
        limit = min(0.9 * row[3 * i], row[3 * i])
        suspect += int((row >= limit).sum()) - 1
        expected.append([texts[j] for j in np.argsort(-row) if row[j] < limit and j != 3 * i][:3])
    found = [json.loads(line) for line in gzip.decompress(to.read_bytes()).splitlines()]
    assert [row.get("negative", []) for row in found] == expected
    assert [(row["query"], row["positive"]) for row in found] == [(pair["query"], pair["positive"]) for pair in pairs]
    summary = json.loads(outcome.stdout)
    assert summary["to"] == str(to)
    assert summary["queries"] == 8
    assert summary["mined"] == sum(map(len, expected)) > 0
    assert (summary["dropped_suspect"], summary["dropped_known"]) == (suspect, 8)

    again = _command(source, *options)
    assert isinstance(again.exception, AdaptError)
    assert "already there" in str(again.exception)
    shown = _command(source, *options[:-1], "--overwrite", "--no-titles")
    assert shown.exit_code == 0
    assert "queries          8" in shown.stdout
    bare = [json.loads(line) for line in gzip.decompress(to.read_bytes()).splitlines()]
    assert {text for row in bare for text in row.get("negative", [])} <= {d["text"] for d in documents}


def test_the_command_says_what_is_wrong_before_it_opens_the_index(tmp_path: Path) -> None:
    source = tmp_path / "pairs.jsonl"
    source.write_text('{"query": "q", "positive": "p"}\n')
    nowhere = tmp_path / "no-index"
    for arguments, words in (
        ([tmp_path / "none.jsonl", "--to", tmp_path / "a.jsonl"], "no such file"),
        ([source, "--to", source], "already there"),
        ([source, "--to", tmp_path / "a.jsonl", "--depth", 2], "range_max (--depth) is 2"),
        ([source, "--to", tmp_path / "a.jsonl", "--max-share", 1.5], "--max-share is 1.5"),
        ([source, "--to", tmp_path / "a.jsonl"], "no-index"),
    ):
        outcome = _command(*arguments, "--index", nowhere)
        assert isinstance(outcome.exception, SearchAppError)
        assert words in str(outcome.exception)
