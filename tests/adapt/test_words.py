"""Word vectors: which states a word gets, and which words get none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from searchapp import Encoder
from searchapp.adapt.probing.word_vectors import align, read_both, word_vectors
from searchapp.errors import ModelError
from tests.models import LINES, make_checkpoint

SENTENCES = [
    ["the", "quick", "brown", "fox"],
    ["bees", "fly", "and", "make", "honey", "in", "their", "hives", "2024", "!"],
    ["don", "'t", "猫", "é"],
    ["measure"],
]


def string_tokenizer():
    """As SentencePiece makes it for Llama 2: one string, blanks as ▁, one before it all, bytes for unknown letters."""
    from tokenizers import Tokenizer, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<pad>", "<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [word for line in LINES for word in line.split()]  # of single words, so that no piece crosses a blank
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=special, show_progress=False)
    backend.train_from_iterator(words, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def string_encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    place = make_checkpoint(tmp_path_factory.mktemp("models") / "string", string_tokenizer(), "mistral")
    return Encoder.load(str(place))


def pieces(encoder: Encoder, words: list[str]) -> tuple[list[int], list[list[int]]]:
    """By hand: ids of a sentence, and each word's positions, from the tokens of the sentence up to each word's end."""
    ids = encoder.tokenizer(" ".join(words))["input_ids"]
    ends = [len(encoder.tokenizer(" ".join(words[: n + 1]))["input_ids"]) for n in range(len(words))]
    return ids, [list(range(begin, end)) for begin, end in zip([1, *ends[:-1]], ends, strict=True)]


def by_hand(encoder: Encoder, words: list[str], back: int = 0) -> np.ndarray:
    ids, positions = pieces(encoder, words)
    states = encoder.model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    return np.stack([np.mean([states[at - back] for at in places], axis=0) for places in positions])


def test_tokens_belong_to_the_words_whose_letters_they_cover() -> None:
    # a bc d:  BOS  "a"     " b"    "c"     " "     "d"     EOS
    offsets = [(0, 0), (0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (0, 0)]
    tokens, words = align(["a", "bc", "d"], offsets)
    assert list(zip(tokens.tolist(), words.tolist(), strict=True)) == [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]
    tokens, words = align(["a", "bc", "d"], [(0, 4), (4, 6), (6, 7)])  # one over two words, one behind the end
    assert list(zip(tokens.tolist(), words.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 2)]


@pytest.mark.parametrize("kind", ["bytes", "string"])
@pytest.mark.parametrize("back", [0, 1])
def test_a_word_is_the_mean_of_its_own_states(
    tiny_encoder: Encoder, string_encoder: Encoder, tmp_path: Path, kind: str, back: int
) -> None:
    encoder = {"bytes": tiny_encoder, "string": string_encoder}[kind]
    assert any(len(places) > 1 for places in pieces(encoder, SENTENCES[1])[1])
    got = word_vectors(encoder, SENTENCES, tmp_path / "words", shift=back == 1)
    expected = np.concatenate([by_hand(encoder, words, back) for words in SENTENCES])
    assert got.known.all() and got.cut == 0
    np.testing.assert_allclose(got.vectors, expected, atol=4e-3, rtol=2e-3)


def test_one_pass_gives_both_kinds_of_vectors(tiny_encoder: Encoder, tmp_path: Path) -> None:
    both = read_both(tiny_encoder, SENTENCES, {shift: tmp_path / f"both-{shift}" for shift in (False, True)})
    for shift, got in both.items():
        expected = word_vectors(tiny_encoder, SENTENCES, tmp_path / f"alone-{shift}", shift=shift)
        assert (got.vectors == expected.vectors).all() and (got.known == expected.known).all()
        assert got.cut == expected.cut


def test_batch_mates_and_padding_move_nothing(
    tiny_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = word_vectors(tiny_encoder, SENTENCES, tmp_path / "all").vectors
    alone = [word_vectors(tiny_encoder, [words], tmp_path / f"{n}").vectors for n, words in enumerate(SENTENCES)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=2e-3)
    monkeypatch.setattr("searchapp.adapt.probing.word_vectors.WINDOW", 2)
    windows = word_vectors(tiny_encoder, SENTENCES, tmp_path / "windows").vectors
    np.testing.assert_allclose(together, windows, atol=2e-3)


def test_words_beyond_the_last_position_have_no_vector_and_are_counted(
    tokenizer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    short = Encoder.load(str(make_checkpoint(tmp_path / "short", tokenizer, max_position_embeddings=24)))
    words = ["bees", "fly"] * 20
    ids, positions = pieces(short, words)
    got = word_vectors(short, [["the"], words], tmp_path / "words")
    assert got.cut == 1
    assert got.known.tolist() == [True, *(places[0] < 24 for places in positions)]
    assert not got.vectors[~got.known].any() and got.vectors[got.known].any(axis=1).all()


def test_without_bos_the_first_token_has_no_state_before_it(tokenizer, tmp_path: Path) -> None:
    from copy import deepcopy

    from tokenizers import processors

    bare = deepcopy(tokenizer)
    bare.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    encoder = Encoder.load(str(make_checkpoint(tmp_path / "bare", bare)))
    assert encoder.tokenizer("the").input_ids == encoder.tokenizer("the", add_special_tokens=False).input_ids
    got = word_vectors(encoder, [["the", "bees"]], tmp_path / "words", shift=True)
    assert got.known.tolist() == [False, True]


def test_a_causal_model_is_blind_to_what_follows(tiny_model: Path, tmp_path: Path) -> None:
    for bidirectional in (True, False):
        encoder = Encoder.load(str(tiny_model), bidirectional=bidirectional)
        pair = [["bees", "fly"], ["bees", "make"]]
        vectors = word_vectors(encoder, pair, tmp_path / "words").vectors.astype(np.float32)
        assert np.allclose(vectors[0], vectors[2], atol=2e-3) != bidirectional


def test_values_beyond_float16_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    encoder.model.norm.weight.fill_(1e6)
    with pytest.raises(ModelError, match="too large for float16"):
        word_vectors(encoder, SENTENCES, tmp_path / "words")
