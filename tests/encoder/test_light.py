"""The light path beside the full one, which transformers runs: the same vectors, for all that it says it handles."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.light import llama
from searchapp.errors import ModelError
from searchapp.index import build
from tests.models import make_adapter, make_checkpoint

TEXTS = [
    "", " ", "bees", "How do bees fly?", "parse a date", "HELLO Straße ﬁne №5", "def f(x):\n    return x[0] * 2",
    "吾輩は猫である。", "привет, мир", "bee 🐝 + 🍯 = 👩‍👩‍👧 ?", "e\u0301lan", "<s> bees </s> fly<pad>", "  x\n\n", "a" * 3_000,
    "bees fly and make honey in their hives " * 120, "日本語の長い文章" * 300,
]  # fmt: skip


def same(light: Encoder, full: Encoder, texts=TEXTS, instruction=None) -> None:
    assert (light.backend.name, full.backend.name) == ("numpy", "torch")
    for normalize in (True, False):
        ours, theirs = (encoder.encode(texts, instruction, normalize) for encoder in (light, full))
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def both(model: Path | str, **options) -> tuple[Encoder, Encoder]:
    return Encoder.load(str(model), backend="auto", **options), Encoder.load(str(model), **options)


@pytest.fixture(scope="module")
def bundled() -> tuple[Encoder, Encoder]:
    return both("bundled")


@pytest.mark.parametrize("instruction", [None, "Given a question, find the passage that answers it:", "🐝 é"])
def test_the_bundled_model_gives_the_same_vectors(bundled, instruction):
    same(*bundled, instruction=instruction)


def test_the_bundled_model_is_the_same_model_to_an_index(bundled):
    light, full = bundled
    assert light.fingerprint == full.fingerprint
    assert light.tokenizer_digest == full.tokenizer_digest
    assert light.reference == full.reference
    assert asdict(light.settings) == asdict(full.settings)
    assert light.document_tokens(TEXTS).tolist() == full.document_tokens(TEXTS).tolist()
    assert "float32 on cpu by numpy" in light.description


def test_token_vectors_are_the_same(bundled):
    light, full = bundled
    for one, other in zip(light.encode_tokens(TEXTS, "find:"), full.encode_tokens(TEXTS, "find:"), strict=True):
        np.testing.assert_array_equal(one.spans, other.spans)
        np.testing.assert_allclose(one.vectors, other.vectors, atol=2e-5, rtol=1e-5)


def test_bfloat16_of_the_full_path_has_the_same_direction(bundled):
    light, rough = bundled[0], Encoder.load("bundled", dtype="bfloat16")
    assert (light.encode(TEXTS[1:12]) * rough.encode(TEXTS[1:12])).sum(1).min() > 0.9999


@pytest.mark.parametrize(
    "pooling", ["mean", "weighted_mean", "eos_token", "last_token", "bos_token", "max", "mean_sqrt_len_tokens"]
)
def test_each_pooling_is_the_same(tiny_model, pooling):
    same(*both(tiny_model, pooling=pooling), instruction="find:")


def test_options_of_the_settings_hold(tiny_model):
    options = {"max_length": 40, "document_max_length": 20, "pool_instruction": True, "query_instruction": "ask:"}
    light, full = both(tiny_model, **options)
    same(light, full)
    np.testing.assert_allclose(light.encode_queries(TEXTS), full.encode_queries(TEXTS), atol=1e-5)
    assert light.fingerprint == full.fingerprint


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("changes", [{}, {"head_dim": 16, "rope_theta": 500_000.0}, {"num_key_value_heads": 1}])
def test_other_shapes_and_stored_precisions(tmp_path, tokenizer, dtype, changes):
    import torch
    from transformers import AutoModel

    made = make_checkpoint(tmp_path / "made", tokenizer, head=False, **changes)
    AutoModel.from_pretrained(made, dtype=getattr(torch, dtype)).save_pretrained(made)
    same(*both(made))


def test_long_texts_in_blocks_are_the_same(tiny_model, monkeypatch):
    monkeypatch.setattr(llama, "ROOM", 64)
    same(*both(tiny_model))


@pytest.mark.parametrize("room", [1 << 24, 64])
def test_texts_of_one_length_are_the_same_together_as_alone(tiny_model, monkeypatch, room):
    monkeypatch.setattr("searchapp.encoder.light.llama.ROOM", room)
    light = Encoder.load(str(tiny_model), backend="numpy")
    texts = [" and ".join(words) for words in permutations(("bees", "a river of stone", "wax"))] + ["honey", "bees"]
    together = light.encode(texts)
    assert len({len(item.ids) for item in light.tokenize(light.inputs(texts))}) < len(texts)
    np.testing.assert_allclose(together, np.concatenate([light.encode([text]) for text in texts]), atol=2e-6)


@pytest.mark.parametrize("asked", ["causal", "attention", "adapter"])
def test_what_is_not_handled_is_left_to_torch(tmp_path, tiny_model, asked):
    options = {
        "causal": lambda: {"bidirectional": False},
        "attention": lambda: {"attention": "eager"},
        "adapter": lambda: {"adapters": [str(make_adapter(tiny_model, tmp_path / "adapter"))]},
    }[asked]()
    one, other = both(tiny_model, **options)
    assert one.backend.name == "torch"
    np.testing.assert_array_equal(one.encode(TEXTS[:6]), other.encode(TEXTS[:6]))


def test_a_token_without_an_embedding_is_refused_alike(tmp_path, tokenizer):
    said = []
    for encoder in both(make_checkpoint(tmp_path / "made", tokenizer, vocab_size=262)):
        with pytest.raises(ModelError, match="the model knows 262") as error:
            encoder.encode("the quick brown fox")
        said.append(str(error.value))
    assert said[0] == said[1]


def test_a_search_imports_neither_torch_nor_transformers(tmp_path, bundled):
    source = tmp_path / "notes.jsonl"
    source.write_text("".join(json.dumps({"id": text, "text": text}) + "\n" for text in ("bees fly", "ants dig")))
    code = (
        "import sys\n"
        "from searchapp.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "known = 'torch', 'transformers', 'huggingface_hub', 'peft', 'scipy', 'sympy', 'bm25s'\n"
        "print([name for name in known if name in sys.modules])"
    )
    build([str(source)], tmp_path / "index", bundled[1])
    found = subprocess.run(
        [sys.executable, "-c", code, "search", tmp_path / "index", "what do bees do"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "bees fly" in found.stdout.split("ants dig")[0]
    assert found.stdout.splitlines()[-1] == "[]"
