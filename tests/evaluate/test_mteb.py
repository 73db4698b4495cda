"""mteb scores our encoder and our index, offline; its figures are those of our own evaluation."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.prompts import BY_NAME
from searchapp.evaluate.candidates import load_candidates
from searchapp.evaluate.mteb import MtebEncoder, MtebIndex, instruction_for, published_instructions
from searchapp.evaluate.reranking import evaluate_reranking
from searchapp.rerank.biencoder import BiEncoder

mteb = pytest.importorskip("mteb")
WORDS = "bees fly make honey hives search engine quality measure fox dog quick brown lazy web query passages".split()


def metadata(name: str, kind: str, prompt: object = None):
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name=name, description="local", reference=None, type=kind, category="t2t", modalities=["text"],
        dataset={"path": "local/none", "revision": "1"}, eval_splits=["test"], eval_langs=["eng-Latn"],
        main_score="ndcg_at_10" if kind == "Retrieval" else "map_at_1000", date=None, domains=None, task_subtypes=None,
        license=None, annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation=None,
        prompt=prompt,
    )  # fmt: skip


def task(corpus: list[dict], queries: list[dict], qrels: dict, top_ranked: dict | None, prompt: object = None):
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    class Local(AbsTaskRetrieval):
        metadata_ = metadata("LocalRetrieval" if top_ranked is None else "LocalReranking",
                             "Retrieval" if top_ranked is None else "Reranking", prompt)  # fmt: skip
        metadata = metadata_

        def load_data(self, num_proc=None, *, timer=None, **_: object) -> None:
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_list(corpus), "queries": Dataset.from_list(queries),
                        "relevant_docs": qrels, "top_ranked": top_ranked,
                    }
                }
            }  # fmt: skip
            self.data_loaded = True

    return Local()


def scores(model, local) -> dict[str, float]:
    found = mteb.evaluate(model, local, cache=None, show_progress_bar=False)
    return found.task_results[0].scores["test"][0]


@pytest.fixture(scope="module")
def retrieval():
    rng = random.Random(3)
    corpus = [
        {"id": f"d{i}", "title": rng.choice(WORDS), "text": " ".join(rng.choices(WORDS, k=12))} for i in range(60)
    ]
    queries = [{"id": f"q{i}", "text": " ".join(rng.choices(WORDS, k=4))} for i in range(12)]
    qrels = {query["id"]: {f"d{i}": rng.randint(1, 2) for i in rng.sample(range(60), 5)} for query in queries}
    return corpus, queries, qrels


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, path = random.Random(4), tmp_path_factory.mktemp("rerank") / "test.jsonl"
    shared = " ".join(WORDS[:6])  # stands on both sides of one query: a tie
    lines = [
        {
            "query": " ".join(rng.choices(WORDS, k=4)),
            "positive": [" ".join(rng.choices(WORDS, k=9)) for _ in range(rng.randint(1, 3))] + [shared] * (i == 2),
            "negative": [" ".join(rng.choices(WORDS, k=9)) for _ in range(rng.randint(1, 8))] + [shared] * (i == 2),
        }
        for i in range(15)
    ]
    lines.append({"query": "nothing else", "positive": ["bees"], "negative": []})
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_they_satisfy_the_protocols(tiny_encoder: Encoder) -> None:
    from mteb.models.models_protocols import EncoderProtocol, SearchProtocol

    assert isinstance(MtebEncoder(tiny_encoder), EncoderProtocol)
    assert isinstance(MtebIndex(tiny_encoder), SearchProtocol)
    assert not isinstance(MtebIndex(tiny_encoder), EncoderProtocol)


def test_encoder_and_index_score_alike_and_as_numpy_does(retrieval, tiny_encoder: Encoder, tmp_path: Path) -> None:
    import pytrec_eval

    corpus, queries, qrels = retrieval
    prompt = {"query": "Given a word, find it."}
    by_encoder = scores(MtebEncoder(tiny_encoder), task(corpus, queries, qrels, None, prompt))
    by_index = scores(MtebIndex(tiny_encoder, folder=tmp_path), task(corpus, queries, qrels, None, prompt))
    documents = tiny_encoder.encode([f"{one['title']} {one['text']}" for one in corpus])  # no instruction
    asked = tiny_encoder.encode([one["text"] for one in queries], "Given a word, find it:")
    exact = {
        query["id"]: {one["id"]: float(score) for one, score in zip(corpus, row, strict=True)}
        for query, row in zip(queries, asked @ documents.T, strict=True)
    }
    truth = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10"}).evaluate(exact)
    expected = np.mean([row["ndcg_cut_10"] for row in truth.values()])
    assert by_encoder["ndcg_at_10"] == pytest.approx(expected, abs=1e-4)
    assert by_index["ndcg_at_10"] == pytest.approx(expected, abs=1e-3)  # stored in half precision
    reduced = scores(MtebIndex(tiny_encoder, pca=4, candidates=0), task(corpus, queries, qrels, None, prompt))
    assert reduced["ndcg_at_10"] != pytest.approx(expected, abs=1e-3)


def test_reranking_is_scored_as_mteb_scores_it(lists: Path, tiny_encoder: Encoder) -> None:
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    candidates = load_candidates(lists)
    assert len(candidates.queries) == 15
    assert candidates.left_out == ("1 queries without a positive or without a negative candidate are left out",)
    [ours] = evaluate_reranking(candidates, BiEncoder(tiny_encoder))
    run = {query: dict(hits) for query, hits in ours.run.items()}
    tied = next(query for query in run if len(set(run[query].values())) < len(run[query]))
    assert run[tied]  # the same text on both sides
    theirs = calculate_retrieval_scores(run, candidates.qrels, [10, 1000])
    assert ours.scores.estimate("MAP").value == pytest.approx(theirs.map["MAP@1000"], abs=1e-5)  # it rounds to five
    assert ours.scores.estimate("nDCG@10").value == pytest.approx(theirs.ndcg["NDCG@10"], abs=1e-5)
    assert ours.scores.estimate("MRR@10").value == pytest.approx(np.mean(theirs.mrr["MRR@10"]), abs=1e-5)


def test_a_reranking_task_run_by_mteb_gives_our_figures(lists: Path, tiny_encoder: Encoder, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in lists.read_text().splitlines()]
    lines = [line for line in lines if not set(line["positive"]) & set(line["negative"])]  # no ties to break
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    candidates = load_candidates(tmp_path)
    [ours] = evaluate_reranking(candidates, BiEncoder(tiny_encoder))
    corpus = [{"id": name, "title": "", "text": text} for name, text in candidates.texts.items()]
    queries = [{"id": query.id, "text": query.text} for query in candidates.queries]
    given = (corpus, queries, candidates.qrels, candidates.documents)
    for model in (MtebEncoder(tiny_encoder, instructions={}), MtebIndex(tiny_encoder, instructions={})):
        theirs = scores(model, task(*given))
        loose = 1e-5 if isinstance(model, MtebEncoder) else 5e-3  # an index stores half precision
        assert ours.scores.estimate("MAP").value == pytest.approx(theirs["map_at_1000"], abs=loose)
        assert ours.scores.estimate("nDCG@10").value == pytest.approx(theirs["ndcg_at_10"], abs=loose)


def test_instructions_are_those_of_the_paper_and_documents_get_none(tiny_encoder: Encoder) -> None:
    assert len(published_instructions()) == 19
    assert all(line.endswith(":") for line in published_instructions().values())
    assert instruction_for(metadata("SciFact", "Retrieval", {"query": "other"})).startswith("Given a scientific claim")
    assert "Stackexchange" in instruction_for(metadata("CQADupstackGamingRetrieval", "Retrieval"))
    assert instruction_for(metadata("Unheard", "Retrieval", {"query": "Find it."})) == "Find it:"
    assert instruction_for(metadata("Unheard", "Retrieval")) is None
    assert instruction_for(metadata("SciFact", "Retrieval"), {"Other": "x:"}) is None
    asked = {"task_metadata": metadata("SciFact", "Retrieval"), "hf_split": "test", "hf_subset": "default"}
    model = MtebEncoder(tiny_encoder)
    batches = [{"text": ["bees fly", "a fox"]}]
    from mteb.types import PromptType

    documents = model.encode(batches, prompt_type=PromptType.document, **asked)
    queries = model.encode(batches, prompt_type=PromptType.query, **asked)
    assert np.array_equal(documents, tiny_encoder.encode(["bees fly", "a fox"]))
    assert np.array_equal(queries, tiny_encoder.encode(["bees fly", "a fox"], published_instructions()["SciFact"]))


def test_a_published_model_gets_its_own_prompts() -> None:
    e5, bge, instruct, llm2vec = (
        BY_NAME[name]
        for name in ("intfloat/e5-base-v2", "BAAI/bge-base-en-v1.5", "intfloat/e5-mistral-7b-instruct",
                     "McGill-NLP/LLM2Vec-Sheared-LLaMA-mntp")
    )  # fmt: skip
    search, similar = metadata("SciFact", "Retrieval", {"query": "Find it."}), metadata("STSBenchmark", "STS")
    assert [instruction_for(task, None, e5) for task in (search, similar)] == ["query: ", "query: "]
    assert instruction_for(search, None, bge) == "Represent this sentence for searching relevant passages: "
    assert instruction_for(similar, None, bge) == ""  # nothing, and not what goes before a search
    assert instruction_for(search, None, instruct) == "Instruct: Find it.\nQuery: "
    assert instruction_for(search, None, llm2vec).startswith("Given a scientific claim")
    assert instruction_for(similar, None, llm2vec) == "Retrieve semantically similar text:"
    assert instruction_for(search, {"SciFact": "own:"}, e5) == "own:"


def test_a_keyword_that_is_none_of_theirs_is_named(tiny_encoder: Encoder) -> None:
    with pytest.raises(TypeError, match="MtebIndex has no keyword 'factry'; did you mean 'factory'"):
        MtebIndex(tiny_encoder, factry="Flat")
    with pytest.raises(TypeError, match="MtebEncoder has no keyword 'factory'"):
        MtebEncoder(tiny_encoder, factory="Flat")
    assert MtebIndex(tiny_encoder, device=None, pca=4)._pca == 4  # mteb itself gives device=None


def test_a_server_embeds_as_its_model_does(tmp_path: Path, tiny_encoder: Encoder) -> None:
    from searchapp.client import connect
    from searchapp.index import build
    from tests.serve.running import serving

    (tmp_path / "d.jsonl").write_text(json.dumps({"_id": "d", "text": "bees"}))
    build([str(tmp_path / "d.jsonl")], tmp_path / "ix", tiny_encoder)
    texts = [{"text": WORDS[:5]}, {"text": ["bees make honey", "é"]}]
    with serving({"ix": tmp_path / "ix"}) as server:
        models = [MtebEncoder(connect(server.url)), MtebEncoder(tiny_encoder)]
        served, local = (model.mteb_model_meta for model in models)
        assert (served.name, served.revision, served.embed_dim) == (local.name, local.revision, local.embed_dim)
        for kind in ("query", "document", None):
            given = {"task_metadata": metadata("SciFact", "Retrieval"), "hf_split": "test", "hf_subset": "default"}
            vectors = [model.encode(texts, prompt_type=kind, **given) for model in models]
            assert np.abs(vectors[0] - vectors[1]).max() < 1e-6
        with pytest.raises(TypeError, match="no keyword 'pooling'"):
            MtebEncoder(connect(server.url), pooling="mean")
