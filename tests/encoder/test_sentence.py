"""An encoder where a sentence-transformers model is expected: its shapes, and that package's own evaluators."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from searchapp.errors import ModelError

TEXTS = ["bees make honey", "ants dig tunnels", "a spider spins"]


def test_shapes_and_kinds(tiny_encoder) -> None:
    model, dim = tiny_encoder.sentence_transformer, tiny_encoder.dim
    assert model.encode(TEXTS[0]).shape == (dim,) and model.encode(TEXTS).shape == (3, dim)
    assert isinstance(model.encode(TEXTS, convert_to_tensor=True), torch.Tensor)
    listed = model.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(listed, list) and len(listed) == 3 and listed[0].shape == (dim,)
    assert model.encode([]).shape == (0, dim) and model.encode(TEXTS, truncate_dim=5).shape == (3, 5)
    with model.truncate_sentence_embeddings(4):
        assert model.encode(TEXTS).shape == (3, 4) and model.get_sentence_embedding_dimension() == 4
    assert model.get_embedding_dimension() == dim
    assert np.allclose(model.encode(TEXTS, normalize_embeddings=True), tiny_encoder.encode(TEXTS), atol=1e-6)
    assert np.allclose(model.encode(TEXTS), tiny_encoder.encode(TEXTS, normalize=False), atol=1e-6)
    with pytest.raises(ModelError, match="no prompt 'sts'"):
        model.encode(TEXTS, prompt_name="sts")
    with pytest.raises(ModelError, match="precision is 'int8'"):
        model.encode(TEXTS, precision="int8")


def test_prompts(tiny_encoder) -> None:
    model = tiny_encoder.sentence_transformer
    with_prompt = model.encode(TEXTS, prompt="find: ", normalize_embeddings=True)
    assert np.allclose(with_prompt, tiny_encoder.encode(TEXTS, "find: "), atol=1e-6)
    assert np.allclose(
        model.encode_query(TEXTS, normalize_embeddings=True), tiny_encoder.encode_queries(TEXTS), atol=1e-6
    )


def test_their_evaluators_take_it(tiny_encoder) -> None:
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
    model = tiny_encoder.sentence_transformer
    scores = evaluation.EmbeddingSimilarityEvaluator(TEXTS, TEXTS[::-1], [0.1, 1.0, 0.3], write_csv=False)(model)
    assert any("spearman" in name for name in scores)
    found = evaluation.InformationRetrievalEvaluator(
        {"q": TEXTS[0]}, dict(zip("abc", TEXTS, strict=True)), {"q": {"a"}}, write_csv=False
    )(model)
    assert found["cosine_accuracy@1"] == 1.0


def test_similarities_are_cosines(tiny_encoder) -> None:
    model = tiny_encoder.sentence_transformer
    vectors = model.encode(TEXTS)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(model.similarity(vectors, vectors[:2]).numpy(), unit @ unit[:2].T, atol=1e-5)
    assert np.allclose(
        model.similarity_pairwise(vectors, vectors[::-1].copy()).numpy(), (unit * unit[::-1]).sum(1), atol=1e-5
    )
