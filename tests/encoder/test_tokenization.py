"""Long texts, many texts, and texts that are no Unicode: what tokenization costs and refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp import Encoder
from searchapp.encoder import tokenization as tokenization
from searchapp.encoder.settings import Settings
from searchapp.encoder.template import Template
from searchapp.encoder.tokenization import Tokenization
from searchapp.errors import ModelError
from tests.models import LINES

LONG = {
    "words": " ".join(LINES) * 10,
    "no blanks": "".join(LINES).replace(" ", "") * 10,
    "one letter": "x" * 9_000,
    "Chinese": "吾輩は猫である。名前はまだ無い。" * 500,
    "emoji": "🐝🍯👩‍👩‍👧 bees " * 700,
    "combining": "é" * 9_000,
    "blanks between": f"the quick{' ' * 9_000}brown fox",
    "blanks at the end": f"the quick brown fox{' ' * 9_000}",
    "blanks, then more": ("bees" + " " * 3_000) * 12,
    "lines": "bees fly\n\n\n" * 1_000,
    "special": "</s> <s> bees " * 700,
}
PIECES = st.sampled_from(["bees ", "fly", "  ", "\n", "xx", "猫", "é", "🐝", "2020 ", "measure the quality ", "</s>"])


def _backend(kind: str):
    """A small tokenizer of each kind in use: words of bytes, one string without words, whole words, a unigram model."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    if kind == "bytes":
        from tests.models import make_tokenizer

        return make_tokenizer().backend_tokenizer
    common = {"vocab_size": 300, "show_progress": False}
    if kind == "string":  # as in Llama 2 and Mistral
        backend = Tokenizer(models.BPE(unk_token="<unk>"))
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        trainer = trainers.BpeTrainer(special_tokens=["<unk>"], **common)
    elif kind == "unigram":
        backend = Tokenizer(models.Unigram())
        backend.normalizer = normalizers.NFKC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(special_tokens=["<unk>"], unk_token="<unk>", **common)
    else:
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer()
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(special_tokens=["[UNK]"], **common)
    backend.train_from_iterator(LINES, trainer=trainer)
    return backend


BACKENDS = {kind: _backend(kind) for kind in ("bytes", "string", "unigram", "words")}
TEMPLATES = [Template(), Template("[INST] ", " [/INST]", " </s>"), Template(raw=True)]


def _both(monkeypatch, kind: str, options: Settings, template: Template, text: str, instruction: str | None):
    tokenize = Tokenization(BACKENDS[kind], options, template, None)
    [short] = tokenize([text], [instruction])
    with monkeypatch.context() as patch:
        patch.setattr(Tokenization, "shorten", lambda self, text: text)
        [whole] = tokenize([text], [instruction])
    return short, whole


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("kind", BACKENDS)
def test_cutting_a_text_beyond_max_length_changes_no_token(monkeypatch, kind: str, name: str) -> None:
    for span in ("offsets", "count"):
        for length in (4, 200):
            for template, instruction in zip(TEMPLATES, [None, "retrieve passages:", "find: "], strict=True):
                options = Settings(max_length=length, document_max_length=length, span=span, pooling="eos_token")
                short, whole = _both(monkeypatch, kind, options, template, LONG[name], instruction)
                np.testing.assert_array_equal(short.ids, whole.ids)
                assert (short.start, short.end) == (whole.start, whole.end)


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(PIECES, min_size=1, max_size=12), kind=st.sampled_from(sorted(BACKENDS)), shift=st.integers(0, 9)
)
def test_cutting_changes_no_token_of_any_text(pieces: list[str], kind: str, shift: int) -> None:
    unit = "".join(pieces)
    text = "a" * shift + unit * (9_000 // len(unit))
    options = Settings(max_length=24, document_max_length=24, span="offsets")
    with pytest.MonkeyPatch.context() as monkeypatch:
        short, whole = _both(monkeypatch, kind, options, TEMPLATES[1], text, "find: ")
    np.testing.assert_array_equal(short.ids, whole.ids)
    assert (short.start, short.end) == (whole.start, whole.end)


@pytest.mark.parametrize("span", ["offsets", "count"])
def test_vectors_of_long_texts_are_the_same_cut_and_whole(monkeypatch, tiny_encoder: Encoder, span: str) -> None:
    options = replace(tiny_encoder.settings, max_length=128, document_max_length=128, span=span)
    encoder = Encoder(tiny_encoder.model, tiny_encoder.tokenizer, options, tiny_encoder.checkpoint)
    short = encoder.encode(list(LONG.values()), "find:")
    monkeypatch.setattr(Tokenization, "shorten", lambda self, text: text)
    np.testing.assert_array_equal(short, encoder.encode(list(LONG.values()), "find:"))


@pytest.mark.parametrize("text", ["word " * 800_000, "x" * 4_000_000, "a" + " " * 4_000_000 + "b"])
@pytest.mark.parametrize("lengths", [(512, 512), (512, 400), (512, 10_000_000)])
def test_a_text_of_four_million_characters_is_never_tokenized_whole(text: str, lengths: tuple[int, int]) -> None:
    spy = Spy(BACKENDS["bytes"])
    tokenize = Tokenization(spy, Settings(max_length=lengths[0], document_max_length=lengths[1]), Template(), None)
    tokenize([text], ["find:"])
    assert max(spy.sizes) < 20_000


def test_texts_are_tokenized_in_groups_of_bounded_size(monkeypatch) -> None:
    monkeypatch.setattr(tokenization, "GROUP", 10)
    monkeypatch.setattr(tokenization, "GROUP_CHARACTERS", 200)
    spy = Spy(BACKENDS["bytes"])
    texts = [f"bees {number}" for number in range(57)] + ["measure the quality " * 8] * 5 + ["", "end"]
    result = Tokenization(spy, Settings(), Template(), None)(texts, [None] * len(texts))
    for text, tokens in zip(texts, result, strict=True):
        assert BACKENDS["bytes"].decode(tokens.ids.tolist()).strip() == text.strip()
    groups = spy.groups
    assert max(map(len, groups)) == 10
    assert all(len(group) == 1 or sum(map(len, group)) <= 200 for group in groups)


class Spy:
    """A tokenizer that notes what it is given."""

    def __init__(self, backend) -> None:
        self.backend, self.sizes, self.groups = backend, [], []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def encode(self, text: str, **options):
        self.sizes.append(len(text))
        return self.backend.encode(text, **options)

    def encode_batch(self, texts: list[str], **options):
        self.sizes += map(len, texts)
        self.groups.append(texts)
        return self.backend.encode_batch(texts, **options)


@pytest.mark.parametrize("text", ["a\udc80", "\ud83d", "x" * 5_000 + "\udfff"])
def test_half_a_surrogate_pair_is_refused_with_the_number_of_its_text(tiny_encoder: Encoder, text: str) -> None:
    with pytest.raises(ModelError, match=r"text 2 .*not valid Unicode.*\\ud") as caught:
        tiny_encoder.encode(["bees", "fly 🐝", text])
    assert str(caught.value).isascii()
    with pytest.raises(ModelError, match="text 0"):
        tiny_encoder.encode_documents(text)
    with pytest.raises(ModelError, match="instruction is not valid Unicode"):
        tiny_encoder.encode_queries("bees", text)


def test_a_batch_size_of_nothing_is_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(ModelError, match="batch_size is 0"):
        tiny_encoder.encode("bees", batch_size=0)


def test_blanks_that_cover_no_character_do_not_move_the_span() -> None:
    """A byte-level tokenizer that trims its offsets, as Llama 3's, gives a token of blanks an empty offset."""
    from tokenizers import processors

    from tests.models import make_tokenizer

    backend = make_tokenizer().backend_tokenizer
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenize = Tokenization(backend, Settings(span="offsets"), Template(), None)
    text = "bees    fly   and\n\n   make honey"
    [tokens] = tokenize([text], ["find what answers:"])
    assert backend.decode(tokens.ids[tokens.start : tokens.end].tolist()).strip() == text
