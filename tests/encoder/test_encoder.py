"""What ``encode`` promises: order, independence of batch mates, spans, truncation, empty texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchapp import Encoder
from searchapp.encoder.batching import plan_batches
from searchapp.encoder.pooling import pool
from searchapp.errors import ModelError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXT, min_size=1, max_size=12), instructed=st.booleans(), batch=st.sampled_from([None, 1, 3]))
def test_a_vector_does_not_depend_on_its_batch(
    tiny_encoder: Encoder, texts: list[str], instructed: bool, batch
) -> None:
    instruction = "find what answers:" if instructed else None
    together = tiny_encoder.encode(texts, instruction, batch_size=batch)
    alone = np.vstack([tiny_encoder.encode(text, instruction) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    norms = np.linalg.norm(together, axis=1)
    assert np.all((np.abs(norms - 1) < 1e-5) | (norms == 0))
    assert together.dtype == np.float32


def test_a_bare_string_is_one_text_and_an_empty_list_none(tiny_encoder: Encoder) -> None:
    assert tiny_encoder.encode("hello").shape == (1, tiny_encoder.dim)
    assert tiny_encoder.encode([]).shape == (0, tiny_encoder.dim)


def test_an_empty_text_is_the_zero_vector_whatever_stands_beside_it(tiny_encoder: Encoder) -> None:
    vectors = tiny_encoder.encode(["", "bees fly and make honey", ""])
    assert not vectors[0].any()
    assert not vectors[2].any()
    assert np.linalg.norm(vectors[1]) == pytest.approx(1, abs=1e-5)


def test_instructions_one_for_each_text(tiny_encoder: Encoder) -> None:
    both = tiny_encoder.encode(["bees", "bees"], ["find:", None])
    np.testing.assert_allclose(both[0], tiny_encoder.encode("bees", "find:")[0], atol=1e-6)
    np.testing.assert_allclose(both[1], tiny_encoder.encode("bees")[0], atol=1e-6)
    with pytest.raises(ModelError, match="2 instructions for 1 texts"):
        tiny_encoder.encode(["bees"], ["a", "b"])


def test_something_else_than_text_is_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(ModelError, match="int"):
        tiny_encoder.encode([3])


def test_the_instruction_is_not_pooled_and_bos_comes_once(tiny_encoder: Encoder) -> None:
    [item] = tiny_encoder._tokenize(["bees fly"], ["retrieve relevant passages:"])
    backend = tiny_encoder.tokenizer.backend_tokenizer
    pooled = backend.decode(item.ids[item.start : item.end].tolist())
    assert "passages" not in pooled
    assert "fly" in pooled
    assert (item.ids == tiny_encoder.tokenizer.bos_token_id).sum() == 1


@pytest.mark.parametrize("text", ["word " * 500, "吾輩は猫である" * 200, "x" * 3000, "https://a.b/" + "c" * 900])
def test_a_long_text_is_shortened_never_lost(tiny_model: Path, text: str) -> None:
    encoder = Encoder.load(str(tiny_model), max_length=64, document_max_length=40)
    [plain] = encoder._tokenize([text], [None])
    assert 0 < plain.end - plain.start <= 40
    assert np.linalg.norm(encoder.encode(text)) == pytest.approx(1, abs=1e-5)


def test_truncation_leaves_instruction_and_template_whole(tmp_path: Path, tiny_model: Path) -> None:
    import json
    import shutil

    named = tmp_path / "named"
    shutil.copytree(tiny_model, named)
    config = json.loads((named / "config.json").read_text())
    (named / "config.json").write_text(json.dumps({**config, "_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2"}))
    encoder = Encoder.load(str(named), max_length=48, document_max_length=400)
    backend = encoder.tokenizer.backend_tokenizer
    instruction = "retrieve relevant passages:"
    [item] = encoder._tokenize(["the quick brown fox " * 50], [instruction])
    written = backend.decode(item.ids.tolist())
    assert len(item.ids) == 48
    assert written.startswith(f"[INST] {instruction} the quick")
    assert written.endswith(" [/INST]")
    assert "passages" not in backend.decode(item.ids[item.start : item.end].tolist())
    longest = "retrieve " * 60
    [item] = encoder._tokenize(["the quick brown fox " * 50], [longest])
    assert backend.decode(item.ids.tolist()).count("retrieve") == 60
    assert item.end - item.start >= 16


def test_no_position_beyond_the_models_is_asked_for(tiny_encoder: Encoder) -> None:
    with pytest.raises(ModelError, match="1024 positions"):
        tiny_encoder.encode("bees", "retrieve relevant passages " * 900)


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 50), max_size=80), budget=st.integers(1, 200), most=st.none() | st.integers(1, 9)
)
def test_batches_cover_everything_once_within_the_budget(lengths: list[int], budget: int, most: int | None) -> None:
    batches = list(plan_batches(lengths, budget, most))
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
        assert most is None or len(batch) <= most


def test_pooling_by_hand() -> None:
    import torch

    hidden = torch.tensor([[[1.0, 10], [2, 20], [3, 30], [9, 90]], [[4, 40], [5, 50], [7, 70], [8, 80]]])
    spans, lengths = torch.tensor([[1, 3], [0, 0]]), torch.tensor([3, 4])

    def pooled(mode: str) -> list[list[float]]:
        return pool(hidden, spans, lengths, mode).tolist()

    assert pooled("mean") == [[2.5, 25], [0, 0]]
    assert pooled("weighted_mean")[0] == pytest.approx([(2 + 2 * 3) / 3, (20 + 2 * 30) / 3])
    assert pooled("last_token") == [[3, 30], [8, 80]]
    assert pooled("bos_token") == [[1, 10], [4, 40]]
