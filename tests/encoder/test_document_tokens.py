"""How many tokens of a document an encoder counts, against what its vectors say it reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.template import Template
from searchapp.errors import ModelError

LIMITS = {
    "the text": {"max_length": 64, "document_max_length": 24},
    "the sequence": {"max_length": 30, "document_max_length": 40},
    "the sequence behind a prompt": {"max_length": 30, "document_max_length": 30, "document_instruction": "find bees:"},
    "template": {"max_length": 40, "document_max_length": 24, "template": Template("[INST] ", " [/INST]", " </s>")},
    "as sentence-transformers": {"max_length": 24, "document_max_length": 24, "native": True},
}
UNITS = ["bees fly ", "x1 ", "猫が", "é 🐝 ", "measure, the quality. "]


def _encoder(tiny_encoder: Encoder, options: dict) -> Encoder:
    chosen = replace(tiny_encoder.settings, span="offsets", **options)
    return Encoder(tiny_encoder.model, tiny_encoder.tokenizer, chosen, tiny_encoder.checkpoint)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("limit", LIMITS)
def test_a_word_within_reach_changes_the_vector_and_one_beyond_does_not(tiny_encoder: Encoder, limit, unit) -> None:
    encoder = _encoder(tiny_encoder, LIMITS[limit])
    texts = [(unit * 60)[:length].rstrip() for length in range(1, 200)]
    counts = encoder.document_tokens(texts)
    assert counts[0] <= encoder.document_reach < counts[-1]
    within = max(number for number, count in enumerate(counts) if count <= encoder.document_reach)
    beyond = min(number for number, count in enumerate(counts) if count > encoder.document_reach)
    free = _encoder(tiny_encoder, {**LIMITS[limit], "max_length": 400, "document_max_length": 400})
    for number in {0, within // 2, within}:
        if counts[number] <= encoder.document_reach:
            np.testing.assert_array_equal(
                encoder.encode_documents(texts[number]), free.encode_documents(texts[number]), err_msg=texts[number]
            )
    for number in (beyond, len(texts) - 1):
        if counts[number] > encoder.document_reach:
            assert np.abs(encoder.encode_documents(texts[number]) - free.encode_documents(texts[number])).max() > 1e-6


def test_without_template_and_prompt_it_is_the_tokenizers_own_count(tiny_encoder: Encoder) -> None:
    encoder = _encoder(tiny_encoder, {"template": Template(), "pooling": "mean"})
    texts = ["", "bees", "the quick brown fox. " * 700, "猫" * 3_000]
    own = [len(encoder.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert encoder.document_reach == min(encoder.settings.max_length, encoder.settings.document_max_length)
    added = encoder.tokenizer.num_special_tokens_to_add()
    spare = encoder.settings.max_length - encoder.settings.document_max_length
    assert encoder.document_tokens(texts).tolist() == [max(count, count + added - spare) for count in own]


def test_a_text_that_is_no_unicode_is_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(ModelError, match="surrogate"):
        tiny_encoder.document_tokens(["a\ud800"])
    assert tiny_encoder.document_tokens([]).shape == (0,)


def test_the_digest_of_the_tokenizer_is_that_of_the_fingerprint(tiny_encoder: Encoder) -> None:
    assert tiny_encoder.tokenizer_digest == tiny_encoder.fingerprint["tokenizer"]
    lower = _encoder(tiny_encoder, {"lower_case": True})
    assert lower.tokenizer_digest != tiny_encoder.tokenizer_digest
