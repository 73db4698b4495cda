"""What is exported gives the encoder's vectors in plain sentence-transformers and in ``Encoder.load``, or is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.export.export import export
from searchapp.encoder.template import Template
from searchapp.errors import ModelError
from tests.models import make_adapter, make_checkpoint

TEXTS = [
    "bees", "fox", "How do you measure a search engine?", "naïve café 吾輩は猫である 🐝", "bees fly, in 2024",
    "the quick brown fox jumps over the lazy dog " * 8 + "end",
]  # fmt: skip
INSTRUCTION = "retrieve relevant passages:"
EQUAL = 1e-5


@pytest.fixture(scope="module")
def spaced():
    """SentencePiece's way: a blank is put before the text and stands in the tokens, so spans never depend on it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from tests.models import LINES

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = [f"▁{word}" for line in LINES for word in line.split()]
    words += [f"▁{letter}" for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"] * 200
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    backend.train_from_iterator(words, trainer)
    content = json.loads(backend.to_str())
    content["model"]["vocab"] |= {name: len(content["model"]["vocab"]) + i for i, name in enumerate(bytes_)}
    backend = Tokenizer.from_str(json.dumps(content))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Replace("▁", " ")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def with_settings(encoder: Encoder, **changes) -> Encoder:
    settings = replace(encoder.settings, **changes)
    return Encoder(encoder.model, encoder.tokenizer, settings, encoder.checkpoint, encoder.options)


def load(directory: Path, **options):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(directory), device="cpu", **options)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    assert np.all(np.linalg.norm(one, axis=1) > 0.99)
    return float(np.abs(one - other).max())


def check(encoder: Encoder, directory: Path, texts: list[str] = TEXTS, instruction: str | None = None, **options):
    """Export, load it both ways, and compare documents, plain encoding and queries with the encoder's."""
    written = export(encoder, directory, instruction=instruction, **options)
    theirs, ours = load(directory), Encoder.load(str(directory), device="cpu")
    documents, queries = encoder.encode_documents(texts), encoder.encode_queries(texts, instruction)
    assert difference(theirs.encode_document(texts), documents) < EQUAL
    assert difference(theirs.encode(texts), documents) < EQUAL
    assert difference(theirs.encode_query(texts), queries) < EQUAL
    assert difference(ours.encode_documents(texts), documents) < EQUAL
    assert difference(ours.encode_queries(texts), queries) < EQUAL
    return written, theirs


@pytest.mark.parametrize(
    "family", ["llama", "mistral", "qwen2", "gemma", "gemma2", "gemma3_text", "gpt2", "opt", "stablelm"]
)
def test_families_without_an_instruction(tmp_path: Path, tokenizer, family: str) -> None:
    encoder = Encoder.load(str(make_checkpoint(tmp_path / "base", tokenizer, family)))
    written, theirs = check(encoder, tmp_path / "export")
    assert written.prompts == {"query": "", "document": ""}
    assert not any(tmp_path.rglob("*.bin"))
    assert not np.allclose(theirs.encode(["bees fly"]), theirs.encode(["bees fly"], prompt="how do you "))


def test_the_first_position_sees_the_last_in_plain_sentence_transformers(tmp_path: Path, tokenizer) -> None:
    import torch

    for family in ("llama", "mistral", "stablelm"):
        base = make_checkpoint(tmp_path / family, tokenizer, family)
        export(str(base), tmp_path / f"{family}-export", device="cpu")
        export(str(base), tmp_path / f"{family}-causal", device="cpu", bidirectional=False)
        ids = torch.arange(5, 29)[None]
        other = ids.clone()
        other[0, -1] = 40
        for name, moves in (("export", True), ("causal", False)):
            body = load(tmp_path / f"{family}-{name}")[0].auto_model
            with torch.inference_mode():
                one, two = (body(input_ids=row).last_hidden_state[0, 0] for row in (ids, other))
            assert bool((one - two).abs().max() > 1e-4) is moves, (family, name)


@pytest.mark.parametrize("pooling", ["eos_token", "last_token", "bos_token", "mean"])
def test_poolings_with_an_instruction(tmp_path: Path, tiny_encoder: Encoder, pooling: str) -> None:
    encoder = with_settings(tiny_encoder, pooling=pooling, pool_instruction=True)
    written, _ = check(encoder, tmp_path / "export", [*TEXTS, "7", " leading", "trailing \n"], INSTRUCTION)
    assert written.prompts == {"query": f"{INSTRUCTION} ", "document": ""}
    assert not any("begin" in notice or "end with" in notice for notice in written.notices)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("span", ["offsets", "count"])
def test_an_instruction_that_is_not_pooled(tmp_path: Path, spaced, padding: str, span: str) -> None:
    base = make_checkpoint(tmp_path / "base", spaced, "mistral", vocab_size=600)
    encoder = with_settings(Encoder.load(str(base)), span=span, query_instruction=INSTRUCTION)
    written, theirs = check(encoder, tmp_path / "export")
    assert theirs.prompts["query"] == f"{INSTRUCTION} "
    theirs.tokenizer.padding_side = padding
    assert difference(theirs.encode_query(TEXTS, batch_size=6), encoder.encode_queries(TEXTS)) < EQUAL
    assert difference(theirs.encode_document(TEXTS, batch_size=6), encoder.encode_documents(TEXTS)) < EQUAL
    for word in ("bees", "a", "fox"):  # one batch each: nothing is lost to the length of the prompt
        assert difference(theirs.encode_query([word]), encoder.encode_queries(word)) < EQUAL
    assert not any("begin with white" in notice and "document" in notice for notice in written.notices)


def test_an_instruction_before_bytes_is_measured_without_its_last_space(tmp_path: Path) -> None:
    encoder = with_settings(Encoder.load("bundled", device="cpu"), query_instruction=INSTRUCTION)
    texts = ["bees", "a", "What is a fox?", "the quick brown fox jumps over the lazy dog"]
    written, theirs = check(encoder, tmp_path / "export", texts)
    alone = theirs.preprocess([f"{INSTRUCTION} "])["input_ids"].shape[1]
    assert alone == theirs.preprocess([f"{INSTRUCTION} bees"])["input_ids"].shape[1] - 1
    assert any("a digit or a sign get other vectors behind the query prompt" in notice for notice in written.notices)
    assert difference(theirs.encode_query(["7"]), encoder.encode_queries("7")) > 1e-3  # as the notice says
    assert difference(theirs.encode_document(["7"]), encoder.encode_documents("7")) < EQUAL


def test_an_export_that_would_differ_is_refused_and_leaves_nothing(tmp_path: Path, tiny_encoder: Encoder) -> None:
    for changes, words in (
        ({"span": "count", "query_instruction": INSTRUCTION}, "span rule 'count'"),
        ({"pooling": "weighted_mean"}, "from the beginning of the sequence"),
        ({"template": Template("[INST] ", " [/INST]")}, "single special token"),
    ):
        encoder = with_settings(tiny_encoder, **changes)
        with pytest.raises(ModelError, match=words.replace("[", r"\[")) as caught:
            export(encoder, tmp_path / "export")
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())
        assert export(encoder, tmp_path / "merged", sentence_transformers=False).prompts is None
        assert not (tmp_path / "merged" / "modules.json").exists()
        again = Encoder.load(str(tmp_path / "merged"))
        assert again.settings == encoder.settings
        assert difference(again.encode_queries(TEXTS), encoder.encode_queries(TEXTS)) < EQUAL
        shutil.rmtree(tmp_path / "merged")


@pytest.mark.parametrize("pooling", ["mean", "eos_token"])
@pytest.mark.parametrize("template", [Template("<s>\n", "</s>"), Template("<s>\n", "</s>", " </s>"), Template()])
def test_closing_templates(tmp_path: Path, tiny_encoder: Encoder, pooling: str, template: Template) -> None:
    encoder = with_settings(tiny_encoder, template=template, pooling=pooling)
    written, theirs = check(encoder, tmp_path / "export")
    assert theirs.default_prompt_name == ("document" if template.prefix else None)
    ids = theirs.preprocess(["bees"], prompt=theirs.prompts["document"])["input_ids"][0].tolist()
    [ours] = encoder._tokenize(["bees"], [None])
    assert ids == ours.ids.tolist()


def test_texts_longer_than_everything(tmp_path: Path, tiny_encoder: Encoder) -> None:
    long = ["bees fly and make honey " * 60, "x " * 300, "fox" * 400]
    whole = with_settings(tiny_encoder, max_length=48, document_max_length=48)
    written, theirs = check(whole, tmp_path / "whole", [*TEXTS, *long])
    assert not any("tokens" in notice for notice in written.notices)
    assert theirs.max_seq_length == 48
    closed = with_settings(whole, template=Template(suffix="</s>"))
    check(closed, tmp_path / "closed", [*TEXTS, *long])
    short = with_settings(tiny_encoder, max_length=48, document_max_length=20)
    written = export(short, tmp_path / "short")
    assert any("more than 20 tokens" in notice for notice in written.notices)
    fitting = ["bees fly and make honey"]
    assert difference(load(tmp_path / "short").encode(fitting), short.encode_documents(fitting)) < EQUAL


def test_notices_are_true(tmp_path: Path, tiny_encoder: Encoder) -> None:
    written = export(with_settings(tiny_encoder, template=Template("<s>\n", "</s>")), tmp_path / "export")
    assert any("end with white space" in notice for notice in written.notices)
    theirs = load(tmp_path / "export")
    encoder = with_settings(tiny_encoder, template=Template("<s>\n", "</s>"))
    assert difference(theirs.encode(["bees fly \n"]), encoder.encode_documents("bees fly \n")) > 1e-3
    plain = export(tiny_encoder, tmp_path / "plain")
    assert not any("white space" in notice for notice in plain.notices)
    texts = [" bees fly", "bees fly \n", "7"]
    assert difference(load(tmp_path / "plain").encode(texts), tiny_encoder.encode_documents(texts)) < EQUAL


def test_the_empty_text_is_zero_in_both(tmp_path: Path, tiny_encoder: Encoder) -> None:
    export(tiny_encoder, tmp_path / "export")
    assert not load(tmp_path / "export").encode(["", "bees"])[0].any()


def test_several_adapters_are_merged(tmp_path: Path, tokenizer) -> None:
    base = make_checkpoint(tmp_path / "base", tokenizer)
    adapters = [str(make_adapter(base, tmp_path / f"adapter-{seed}", seed=seed)) for seed in (1, 2)]
    encoder = Encoder.load(str(base), adapters=adapters)
    check(encoder, tmp_path / "export")
    shutil.rmtree(base)
    moved = (tmp_path / "export").rename(tmp_path / "moved")
    assert difference(load(moved).encode(TEXTS), encoder.encode_documents(TEXTS)) < EQUAL
    assert Encoder.load(str(moved)).checkpoint.adapters == ()


@pytest.mark.parametrize("bias", [None, np.linspace(-0.2, 0.2, 7, dtype=np.float32)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_reduction_is_applied_after_normalising(tmp_path: Path, tiny_model: Path, dtype: str, bias) -> None:
    encoder = Encoder.load(str(tiny_model), dtype=dtype, device="cpu")
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(encoder.dim, 7)))[0].astype(np.float32)
    written = export(encoder, tmp_path / "export", reduction=axes, bias=bias)
    assert written.dim == 7
    full = Encoder.load(str(tmp_path / "export"), device="cpu", dtype="float32")
    want = full.encode_documents(TEXTS) @ axes + (0 if bias is None else bias)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert difference(load(tmp_path / "export").encode(TEXTS), want) < EQUAL
    assert full.dim == encoder.dim
    for wrong in ({"reduction": axes[1:]}, {"reduction": axes, "bias": np.zeros(3)}):
        with pytest.raises(ModelError, match="shape"):
            export(encoder, tmp_path / "wrong", **wrong)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_half_precision(tmp_path: Path, tiny_model: Path, dtype: str, tolerance: float) -> None:
    encoder = Encoder.load(str(tiny_model), dtype=dtype, device="cpu")
    assert export(encoder, tmp_path / "export").dtype == dtype
    theirs = load(tmp_path / "export")
    assert str(theirs[0].auto_model.dtype) == f"torch.{dtype}"
    assert difference(theirs.encode(TEXTS), encoder.encode_documents(TEXTS)) < tolerance
    exact = Encoder.load(str(tiny_model), dtype="float32", device="cpu").encode_documents(TEXTS)
    assert EQUAL < difference(theirs.encode(TEXTS), exact) < 5 * tolerance
    floats = load(tmp_path / "export", model_kwargs={"dtype": "float32"}).encode(TEXTS)
    assert difference(floats, Encoder.load(str(tmp_path / "export"), device="cpu").encode_documents(TEXTS)) < EQUAL


def test_the_bundled_model(tmp_path: Path) -> None:
    written, theirs = check(Encoder.load("bundled", device="cpu"), tmp_path / "export", [*TEXTS, "7", " x", "x \n"])
    assert written.dim == theirs.get_embedding_dimension() == 256


def test_a_sentence_transformers_folder_goes_round(tmp_path: Path, tiny_encoder: Encoder) -> None:
    encoder = with_settings(tiny_encoder, pool_bos=True, span="offsets", template=Template(raw=True))
    check(encoder, tmp_path / "export")


CASES = [
    ("tiny-llama/base", {}, None, True),
    ("tiny-llama/base", {"pooling": "eos_token"}, None, True),
    ("tiny-llama/mntp", {"adapters": ["tiny-llama/mntp-supervised"]}, None, True),
    ("tiny-llama/mntp-unsup-simcse", {}, None, True),
    ("tiny-mistral-sw8/base", {}, None, True),
    ("mistralai/Mistral-7B-Instruct-v0.2", {}, INSTRUCTION, True),
    ("McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp", {"pooling": "eos_token"}, INSTRUCTION, True),
    ("McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp", {"pool_instruction": True}, INSTRUCTION, True),
    ("McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp", {}, INSTRUCTION, False),
]


@pytest.mark.parametrize(("name", "options", "instruction", "expressible"), CASES)
def test_the_originals_checkpoints(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict, instruction, expressible
) -> None:
    monkeypatch.chdir(shared / "parity")
    encoder = Encoder.load(name, device="cpu", **options)
    if expressible:
        check(encoder, tmp_path / "export", instruction=instruction)
    else:
        with pytest.raises(ModelError, match="closing template"):
            export(encoder, tmp_path / "export", instruction=instruction)


def test_directories_in_use(tmp_path: Path, tiny_model: Path, tiny_encoder: Encoder) -> None:
    target = tmp_path / "export"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    for overwrite, words in ((False, "is not empty"), (True, "no earlier export")):
        with pytest.raises(ModelError, match=words):
            export(tiny_encoder, target, overwrite=overwrite)
    assert (target / "notes.txt").read_text() == "mine"
    (target / "notes.txt").unlink()
    export(tiny_encoder, target)
    before = (target / "model.safetensors").stat().st_ino
    with pytest.raises(ModelError, match="is not empty"):
        export(tiny_encoder, target)
    export(tiny_encoder, target, overwrite=True)
    assert (target / "model.safetensors").stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    again = Encoder.load(str(target))
    with pytest.raises(ModelError, match="holds the model"):
        export(again, target, overwrite=True)
    with pytest.raises(ModelError, match="no directory"):
        export(tiny_encoder, tmp_path / "export" / "config.json")
    with pytest.raises(ModelError, match="give them to Encoder.load"):
        export(tiny_encoder, tmp_path / "other", adapters=["x"])


def test_a_failure_on_the_way_leaves_the_old_one(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "export"
    export(tiny_encoder, target)
    files = sorted((path.name, path.stat().st_mtime_ns) for path in target.rglob("*"))

    def full(directory: Path, **_) -> None:
        (Path(directory) / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tiny_encoder.model, "save_pretrained", full)
    with pytest.raises(ModelError, match="No space left"):
        export(tiny_encoder, target, overwrite=True)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in target.rglob("*")) == files
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_current_class_paths_exist(tmp_path: Path, tiny_encoder: Encoder) -> None:
    import importlib

    export(tiny_encoder, tmp_path / "export", reduction=np.eye(tiny_encoder.dim, 3, dtype=np.float32))
    modules = json.loads((tmp_path / "export" / "modules.json").read_text())
    assert [module["path"] for module in modules] == [
        "",
        "1_WordWeights",
        "2_Pooling",
        "3_Normalize",
        "4_Dense",
        "5_Normalize",
    ]
    for module in modules:
        place, _, name = module["type"].rpartition(".")
        assert getattr(importlib.import_module(place), name).__module__ == place
    assert json.loads((tmp_path / "export" / "config.json").read_text())["is_causal"] is False
