"""Token vectors: which tokens have one, which characters they cover, and that they are those of ``encode``'s pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.adapt.probing.word_vectors import _states, align, word_vectors
from searchapp.encoder.settings import Settings
from searchapp.encoder.token_vectors import TokenVectors
from searchapp.errors import ModelError
from tests.adapt.test_words import SENTENCES, string_tokenizer
from tests.models import make_checkpoint, make_tokenizer

TEXTS = ["the quick brown fox", "bees 👩‍🚀 fly é猫", "", " ", "make honey\n\tin   their hives  ", "7"]


@pytest.fixture(scope="module", params=["packed", "sdpa", "string", "windows"])
def encoder(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Packed and padded batches, byte-level BPE and SentencePiece's way, another family."""
    place = tmp_path_factory.mktemp("models")
    if request.param in ("packed", "sdpa"):
        return Encoder.load(str(tiny_model), attention=request.param)
    if request.param == "string":
        return Encoder.load(str(make_checkpoint(place / "string", string_tokenizer())))
    return Encoder.load(str(make_checkpoint(place / request.param, make_tokenizer(), "mistral")))


def test_every_character_is_covered_and_nothing_else(encoder: Encoder) -> None:
    for instruction in (None, "find what answers:"):
        for text, found in zip(TEXTS, encoder.encode_tokens(TEXTS, instruction), strict=True):
            assert found.vectors.shape == (len(found.spans), encoder.dim)
            assert found.vectors.dtype == np.float32
            covered = {at for begin, end in found.spans for at in range(begin, end)}
            assert covered <= set(range(len(text)))
            assert covered >= {at for at, letter in enumerate(text) if not letter.isspace()}
            assert (np.diff(found.spans[:, 0]) >= 0).all()


def test_a_template_has_none(tmp_path: Path) -> None:
    made = make_checkpoint(tmp_path / "named", make_tokenizer())
    content = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**content, "_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2"}))
    encoder = Encoder.load(str(made), pooling="eos_token")
    assert encoder.settings.template.wrap("find:", "bees fly ", close=True)[0] == "[INST] find: bees fly [/INST] </s>"
    [found] = encoder.encode_tokens("bees fly ", "find:")
    assert "".join("bees fly "[begin:end] for begin, end in found.spans) == "bees fly"


def test_they_are_the_states_that_the_linear_probe_reads(encoder: Encoder, tmp_path: Path) -> None:
    texts = [" ".join(words) for words in SENTENCES]
    spans = []
    for words in SENTENCES:
        begins = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        spans.append([(begin, begin + len(word)) for begin, word in zip(begins, words, strict=True)])
    known = word_vectors(encoder, SENTENCES, tmp_path / "words")
    rows = iter(known.vectors)
    for words, text, own, found in zip(SENTENCES, texts, spans, encoder.encode_tokens(texts), strict=True):
        encoding = encoder.tokenizer.backend_tokenizer.encode(text)
        tokens, owners = align(words, encoding.offsets)
        states = _states(encoder, [np.array(encoding.ids)])[tokens]
        expected = np.stack([states[owners == number].mean(axis=0) for number in range(len(words))])
        vectors, read = found.words(own)
        assert read.all()
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        np.testing.assert_allclose(vectors, np.stack([next(rows) for _ in words]), rtol=1e-3, atol=1e-3)


def test_their_mean_is_the_vector_of_the_text(tmp_path: Path) -> None:
    made = make_checkpoint(tmp_path / "offsets", make_tokenizer())
    Settings(span="offsets").save(made)  # to pool what covers the text, and not as many tokens as it has alone
    for attention in ("packed", "sdpa"):
        encoder = Encoder.load(str(made), attention=attention)
        for instruction in (None, "find what answers:"):
            expected = encoder.encode(TEXTS, instruction, normalize=False)
            for found, vector in zip(encoder.encode_tokens(TEXTS, instruction, batch_size=2), expected, strict=True):
                mean = found.vectors.mean(axis=0) if len(found.vectors) else np.zeros(encoder.dim)
                np.testing.assert_allclose(mean, vector, atol=1e-5)


def test_bytes_of_one_character_share_its_span(tiny_encoder: Encoder) -> None:
    [found] = tiny_encoder.encode_tokens("é👩‍🚀x")
    spans = found.spans.tolist()
    assert spans.count([0, 1]) == 2  # two bytes
    assert spans.count([1, 2]) == spans.count([3, 4]) == 4  # four bytes each
    assert spans.count([2, 3]) == 3  # the joiner
    vectors, known = found.words([(0, 1), (1, 4)])
    np.testing.assert_allclose(vectors[0], found.vectors[:2].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(vectors[1], found.vectors[2:13].mean(axis=0), atol=1e-6)
    assert known.all()


@pytest.mark.parametrize("text", ["the quick brown fox jumps " * 400, "猫" * 3_000, "no end " + "z" * 9_000])
def test_what_is_cut_off_has_no_vector(tiny_model: Path, text: str) -> None:
    for options in ({"document_max_length": 20}, {"max_length": 24, "document_max_length": 10_000}):
        encoder = Encoder.load(str(tiny_model), **options)
        [found] = encoder.encode_tokens(text)
        assert 0 < len(found.spans) <= 24
        ends = found.spans[:, 1]
        assert ends[-1] < 200  # the head of the text, and nothing of its end
        gaps = found.spans[1:, 0] - ends[:-1]
        assert gaps.max() <= 1  # a blank at most
        vectors, known = found.words([(0, 1), (len(text) - 3, len(text) - 1)])
        assert known.tolist() == [True, False]
        assert not vectors[1].any()
        np.testing.assert_allclose(found.vectors.mean(axis=0), encoder.encode(text, normalize=False)[0], atol=1e-5)


def test_words_of_any_spans() -> None:
    tokens = TokenVectors(
        np.eye(4, dtype=np.float32), np.array([[0, 1], [1, 2], [2, 4], [4, 5]]), "a bc,"
    )  # the second covers the blank alone
    vectors, known = tokens.words([(2, 4), (0, 1), (3, 5), (4, 5)])
    assert vectors.tolist() == [[0, 0.5, 0.5, 0], [1, 0, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 1]]
    assert known.all()
    for span in ((2, 2), (-1, 2), (3, 6)):
        with pytest.raises(ModelError, match=r"word 1 .* text of 5 characters"):
            tokens.words([(0, 1), span])


def test_layers_behind_the_pooling_have_none(tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from searchapp.encoder.head import Head

    monkeypatch.setattr(tiny_encoder, "head", Head(4, (lambda states: states,), ()))
    with pytest.raises(ModelError, match="behind the pooling"):
        tiny_encoder.encode_tokens("bees")
    monkeypatch.setattr(tiny_encoder, "head", Head(4, (), ()))  # fewer dimensions are no layer
    assert tiny_encoder.encode_tokens("bees")[0].vectors.shape[1] == 4


def test_what_encode_refuses_is_refused(tiny_encoder: Encoder) -> None:
    assert tiny_encoder.encode_tokens([]) == []
    for texts, options in (
        (["a\ud800"], {}),
        ([3], {}),
        (["a"], {"instruction": ["x", "y"]}),
        (["a"], {"batch_size": 0}),
    ):
        with pytest.raises(ModelError):
            tiny_encoder.encode_tokens(texts, **options)
