"""What fewer dimensions and smaller numbers cost, against numpy's own PCA, codes and ranking, on a collection made here."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.evaluate import bootstrap_mean, load_collection
from searchapp.evaluate.dimensions import Dimensions, DimensionsRequest, measure_dimensions
from searchapp.evaluate.vector_forms import Form, all_forms
from searchapp.index import VectorIndex, build

WORDS = "bees fly make honey hives search engine quality measure fox dog quick brown lazy web query passages".split()
DOCUMENTS, QUERIES, DIM = 120, 14, 32


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("beir"), random.Random(3)
    documents = [{"_id": f"d{i}", "text": " ".join(rng.choices(WORDS, k=12))} for i in range(DOCUMENTS)]
    queries = [{"_id": f"q{i}", "text": " ".join(rng.choices(WORDS, k=4))} for i in range(QUERIES)]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore"]
    lines += [f"q{i}\td{d}\t{rng.randint(0, 2)}" for i in range(QUERIES) for d in rng.sample(range(DOCUMENTS), 8)]
    (root / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def measured(beir: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dimensions, list[str]]:
    """Dimensions 8 and 20, ten candidates a query; and the texts that were encoded for it."""
    texts: list[str] = []
    real = Encoder.encode_counted

    def counting(self, given, *arguments, **options):
        texts.extend([given] if isinstance(given, str) else given)
        return real(self, given, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "encode_counted", counting)
        request = DimensionsRequest((8, 20), candidates=10)
        work = tmp_path_factory.mktemp("work") / "index"
        return measure_dimensions(load_collection(beir), Encoder.load(str(tiny_model)), request, work), texts


@pytest.fixture(scope="module")
def vectors(beir: Path, tiny_model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Documents as an index stores them, and queries; unit rows."""
    encoder = Encoder.load(str(tiny_model))
    texts = {
        name: [json.loads(line)["text"] for line in (beir / f"{name}.jsonl").read_text().splitlines()]
        for name in ("corpus", "queries")
    }
    return unit(encoder.encode(texts["corpus"]).astype(np.float16)), unit(encoder.encode(texts["queries"]))


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def ndcg(scores: np.ndarray, beir: Path) -> list[float]:
    """By pytrec_eval."""
    import pytrec_eval

    qrels: dict[str, dict[str, int]] = {}
    for line in (beir / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    run = {f"q{i}": {f"d{j}": float(score) for j, score in enumerate(row)} for i, row in enumerate(scores)}
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10"}).evaluate(run)
    return [found[f"q{i}"]["ndcg_cut_10"] for i in range(QUERIES)]


def value(measured: Dimensions, form: Form) -> list[float]:
    [one] = [one for one in measured.forms if one.form == form]
    return [one.scores.per_query["nDCG@10"][f"q{i}"] for i in range(QUERIES)]


def stepped(vectors: np.ndarray) -> np.ndarray:
    """Each number as the middle of one of 256 steps between its dimension's lowest and highest value."""
    low, high = vectors.min(0), vectors.max(0)
    places = (vectors - low) / (high - low)
    return low + (np.minimum((255 * places).astype(int), 255) + 0.5) / 255 * (high - low)


def test_every_form_ranks_as_numpy_does(measured, vectors, beir: Path) -> None:
    found, _ = measured
    documents, queries = vectors
    _, axes = np.linalg.eigh(documents.T @ documents)
    for dim in (8, 20):
        leading = axes[:, ::-1][:, :dim]
        reduced = {
            "pca": (unit(documents @ leading), unit(queries @ leading)),
            "truncation": (unit(documents[:, :dim]), unit(queries[:, :dim])),
        }
        for by, (rows, asked) in reduced.items():
            half = rows.astype(np.float16).astype(np.float64)
            assert value(found, Form(dim, by)) == pytest.approx(ndcg(asked @ half.T, beir), abs=1e-6)
        rows, asked = reduced["pca"]
        assert value(found, Form(dim, "pca", "int8")) == pytest.approx(ndcg(asked @ stepped(rows).T, beir), abs=1e-6)
        # Ten candidates by the reduced vectors, in the order of the whole ones.
        short = np.argsort(-(asked @ rows.astype(np.float16).T.astype(np.float64)), axis=1)[:, :10]
        kept = np.full((QUERIES, DOCUMENTS), -1e9)
        np.put_along_axis(kept, short, np.take_along_axis(queries @ documents.T, short, 1), 1)
        assert value(found, Form(dim, "pca", "float16", True)) == pytest.approx(ndcg(kept, beir), abs=1e-6)
    assert value(found, Form(DIM)) == pytest.approx(ndcg(queries @ documents.T, beir), abs=1e-6)
    assert value(found, Form(DIM, code="int8")) == pytest.approx(ndcg(queries @ stepped(documents).T, beir), abs=1e-6)


def test_bytes_are_those_of_the_codes(measured) -> None:
    found, _ = measured
    assert [one.form for one in found.forms] == all_forms(DIM, (8, 20))
    for one in found.forms:
        expected = {"float16": 2 * one.form.dim, "int8": one.form.dim, "binary": -(-one.form.dim // 8) + 8}
        assert one.bytes == expected[one.form.code], one.form
        assert one.rows == (2 * DIM if one.form.rescored else 0)


def test_variance_is_that_of_the_centred_vectors(measured, vectors) -> None:
    found, _ = measured
    documents, _ = vectors
    centred = documents - documents.mean(0)
    _, axes = np.linalg.eigh(documents.T @ documents)
    whole = (centred**2).sum()
    for one in found.forms:
        kept = centred @ axes[:, ::-1][:, : one.form.dim] if one.form.by == "pca" else centred[:, : one.form.dim]
        assert one.variance == pytest.approx((kept**2).sum() / whole, abs=1e-4)
    shares = np.cumsum(((centred @ axes[:, ::-1]) ** 2).sum(0)) / whole
    assert found.spectrum == {share: int(np.sum(shares < share)) + 1 for share in (0.5, 0.8, 0.9, 0.95, 0.99)}


def test_differences_are_paired_and_corrected(measured) -> None:
    found, _ = measured
    full = np.array(value(found, Form(DIM)))
    ps = [one.differences["nDCG@10"] for one in found.forms[1:]]
    for one in found.forms:
        apart = np.array(value(found, one.form)) - full
        told = one.differences["nDCG@10"]
        assert told.value == pytest.approx(apart.mean(), abs=1e-9)
        assert (told.low, told.high) == pytest.approx(bootstrap_mean(apart, resamples=10_000), abs=1e-9)
    smallest = min(ps, key=lambda one: one.p)
    assert smallest.p_holm == pytest.approx(min(1.0, len(ps) * smallest.p))


def test_texts_are_encoded_once(measured) -> None:
    _, texts = measured
    documents = [text for text in texts if len(text.split()) == 12]
    assert len(documents) == DOCUMENTS


def test_auto_is_what_build_takes(measured, beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    found, _ = measured
    encoder = Encoder.load(str(tiny_model))
    build([str(beir / "corpus.jsonl")], tmp_path / "ix", encoder, pca="auto")
    index = VectorIndex.open(tmp_path / "ix")
    reduction, ann = index.manifest.reduction, index.manifest.ann
    assert found.auto is not None and ann is not None
    assert found.auto.dim == (reduction.dim if reduction else None)
    assert (found.auto.factory, found.auto.recall) == (ann.factory, ann.measured["recall"])
    texts = [json.loads(line)["text"] for line in (beir / "queries.jsonl").read_text().splitlines()]
    scores, rows = index.search_vectors(encoder.encode_queries(texts), 10)
    table = np.full((QUERIES, DOCUMENTS), -1e9)
    names = [int(name.removeprefix("d")) for name in index.ids()]
    np.put_along_axis(table, np.array(names)[rows], scores, 1)
    expected = ndcg(table, beir)
    assert list(found.auto.scores.per_query["nDCG@10"].values()) == pytest.approx(expected, abs=1e-6)


def test_an_index_with_deleted_documents_is_measured_as_it_stands(
    run, beir: Path, tiny_model: Path, tmp_path: Path, vectors
) -> None:
    assert run("build", beir, "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    assert run("delete", tmp_path / "ix", "d3", "d4").code == 0
    plot = tmp_path / "dims.png"
    outcome = run("evaluate", "retrieval", beir, "--index", tmp_path / "ix", "--dims", "8", "--plot", plot, "--json")
    assert outcome.code == 0, outcome.err
    [found] = json.loads(outcome.out)["dimensions"]
    assert found["setting"]["documents"] == DOCUMENTS - 2 and found["auto"] is None
    assert plot.read_bytes().startswith(b"\x89PNG")
    documents, queries = vectors
    gone = np.isin(np.arange(DOCUMENTS), [3, 4])[None]
    cut = unit(queries[:, :8]) @ unit(documents[:, :8]).astype(np.float16).astype(np.float64).T
    [truncated] = [one for one in found["forms"] if one["form"]["name"] == "truncation8-float16"]
    assert truncated["metrics"]["nDCG@10"]["value"] == pytest.approx(
        np.mean(ndcg(np.where(gone, -1e9, cut), beir)), abs=1e-6
    )


@pytest.mark.parametrize(
    "options, said",
    [
        (["--dims", "64"], "--dims 64 does not fit vectors of 32 dimensions; give numbers from 1 to 32"),
        (["--dims", "8,x"], "--dims '8,x' is no list of dimensions; give numbers with commas, such as 32,64,128"),
        (["--dims", "8", "--pca", "4"], "--pca cannot go with --dims"),
        (["--dims", "8", "--hybrid"], "--hybrid cannot go with --dims"),
        (["--dims", "8", "--candidates", "0"], "--candidates 0 leaves --dims nothing to rescore"),
        (["--dims", "8", "--metric", "R@1000"], "--dims ranks 100 of a query"),
        (["--dims", "8", "--plot", "a.svg"], "--plot a.svg ends in .svg, expected .png"),
        (["--plot", "a.png"], "--plot draws what --dims measures; add --dims 32,64,128"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(run, beir: Path, tiny_model: Path, options: list[str], said: str) -> None:
    outcome = run("evaluate", "retrieval", beir, "--model", tiny_model, *options)
    assert outcome.code == 2 and said in " ".join(outcome.err.split()), outcome.err
