"""GGUF files: the vectors of the numbers in them, the tokens of the model's own tokenizer, and refusals in one line."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.gguf.tokenizer import load_tokenizer
from searchapp.errors import ModelError
from tests.gguf_files import write_gguf
from tests.models import make_checkpoint

pytest.importorskip("gguf")

TEXTS = ["bees fly", "how do you measure the quality of 2024 search engines", "", "the quick brown fox"]
WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8, "num_key_value_heads": 4}
ROPE = {"rope_type": "default", "rope_theta": 50_000.0}


def same(one: Path, other: Path, **options) -> None:
    vectors = [Encoder.load(str(path), **options).encode(TEXTS) for path in (one, other)]
    np.testing.assert_allclose(*vectors, atol=1e-5)
    assert np.linalg.norm(vectors[0], axis=1).max() > 0.99


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_1", "Q4_K"])
def test_the_vectors_are_those_of_the_same_numbers_in_safetensors(tmp_path: Path, tokenizer, kind: str) -> None:
    base = make_checkpoint(tmp_path / "base", tokenizer, rope_parameters=ROPE, **WIDE)
    file = write_gguf(tmp_path / "model.gguf", base, kind, reference=tmp_path / "plain")
    same(file, tmp_path / "plain")


@pytest.mark.parametrize(
    ("family", "changes"),
    [("llama", {"tie_word_embeddings": True}), ("mistral", {}), ("qwen2", {}), ("qwen3", {"head_dim": 16}),
     ("llama", {"attention_bias": True, "head_dim": 16}), ("llama", {"num_key_value_heads": 4})],
)  # fmt: skip
def test_families(tmp_path: Path, tokenizer, family: str, changes: dict) -> None:
    base = make_checkpoint(tmp_path / "base", tokenizer, family, rope_parameters=ROPE, **changes)
    pre = "qwen2" if family == "qwen2" else "gpt-2"  # AutoTokenizer gives that family its own split
    same(write_gguf(tmp_path / "model.gguf", base, pre=pre), base)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_rope_of_llama_3_is_told_from_its_numbers(tmp_path: Path, tokenizer, factor: float) -> None:
    from transformers import AutoModel

    scaled = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": factor, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    base = make_checkpoint(tmp_path / "base", tokenizer, rope_parameters=scaled, head_dim=64)
    turned = AutoModel.from_pretrained(base).rotary_emb.inv_freq.numpy()
    plain = 500_000.0 ** -(np.arange(0, 64, 2) / 64)
    extra = {"rope_freqs.weight": (plain / turned).astype(np.float32)}
    same(write_gguf(tmp_path / "model.gguf", base, extra=extra), base)
    odd = write_gguf(tmp_path / "odd.gguf", base, extra={"rope_freqs.weight": np.full(32, 3.0, dtype=np.float32)})
    with pytest.raises(ModelError, match="scales RoPE in a way"):
        Encoder.load(str(odd))


def test_a_folder_and_its_file_are_one_model(tmp_path: Path, tiny_model: Path) -> None:
    file = write_gguf(tmp_path / "model.gguf", tiny_model)
    one, folder = Encoder.load(str(file)), Encoder.load(str(tmp_path))
    assert one.fingerprint == folder.fingerprint
    assert one.reference["model"] == str(file)
    before = one.fingerprint
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    assert Encoder.load(str(file)).fingerprint["weights"] != before["weights"]
    shutil.copy(file, tmp_path / "other.gguf")
    with pytest.raises(ModelError, match=r"holds 2 GGUF files \(model.gguf, other.gguf\); give the path of one"):
        Encoder.load(str(tmp_path))


def test_export_and_adapter_stand_on_a_file(tmp_path: Path, tiny_model: Path) -> None:
    from searchapp.encoder.export.export import export
    from tests.models import make_adapter

    (tmp_path / "files").mkdir()
    file = write_gguf(tmp_path / "files" / "model.gguf", tiny_model, "F16")
    encoder = Encoder.load(str(file))
    export(encoder, tmp_path / "exported")
    same(tmp_path / "exported", file)
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace(str(tiny_model), str(file)))
    merged = Encoder.load(str(adapter)).encode(TEXTS)
    np.testing.assert_allclose(merged, Encoder.load(str(file), adapters=[str(adapter)]).encode(TEXTS), atol=1e-6)
    assert np.abs(merged - encoder.encode(TEXTS)).max() > 0.01


HARD = [
    "In 2024, 1234567 people didn't pay $3.50 for “naïve” cafés…", "  two  spaces\n\n\tand a tab ", "漢字とかな 🐝🐝",
    "cafe\u0301 x\u0308", "<s>control</s> and <pad>", "a" * 40, "", "0 1 2 ½ ٣",
]  # fmt: skip


def require_same_tokens(file: Path, tokenizer) -> None:
    ours = load_tokenizer(file)
    assert len(ours) >= len(tokenizer)
    for text in HARD:
        assert ours(text).input_ids == tokenizer(text).input_ids, text
    assert ours.decode(ours("make honey").input_ids, skip_special_tokens=True) == "make honey"
    assert (ours.bos_token, ours.eos_token, ours.pad_token) == (
        tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)  # fmt: skip


def split_by(pre: str):
    """What the tokenizer.json of Llama 3, Qwen2 and SmolLM2 has in these places."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    llama = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")  # fmt: skip
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    steps = {
        "gpt-2": [whole],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), whole],
        "llama-bpe": [pre_tokenizers.Split(Regex(llama), behavior="isolated"), bytes_only],
        "qwen2": [pre_tokenizers.Split(Regex(llama.replace("{1,3}", "")), behavior="isolated"), bytes_only],
    }[pre]
    return pre_tokenizers.Sequence(steps), normalizers.NFC() if pre == "qwen2" else None


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_byte_level_tokens_are_those_of_the_original(tmp_path: Path, tiny_model: Path, pre: str) -> None:
    from tokenizers import pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    made = AutoTokenizer.from_pretrained(tiny_model).backend_tokenizer
    made.pre_tokenizer, normalizer = split_by(pre)
    made.train_from_iterator(
        [*HARD * 3, "1234 2024 350 caf\u00e9 cafe\u0301 x\u0308"] * 3,
        trainers.BpeTrainer(vocab_size=390, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    if normalizer is not None:
        made.normalizer = normalizer
    original = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    base = shutil.copytree(tiny_model, tmp_path / "base")
    original.save_pretrained(base)
    require_same_tokens(write_gguf(tmp_path / "model.gguf", base, pre=pre), original)


@pytest.mark.parametrize("prefixed", [True, False])
def test_sentencepiece_merges_follow_from_the_scores(tmp_path: Path, tiny_model: Path, prefixed: bool) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from tests.models import LINES

    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("▁")] * prefixed + [normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence(steps)
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    named = special + [f"<0x{number:02X}>" for number in range(256)]
    backend.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=390, special_tokens=named, show_progress=False))
    state = json.loads(backend.to_str())
    state["added_tokens"] = [item for item in state["added_tokens"] if item["content"] in special]
    backend = Tokenizer.from_str(json.dumps(state))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    after = [decoders.Strip(" ", 1, 0)] * prefixed
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *after])
    original = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    base = shutil.copytree(tiny_model, tmp_path / "base")
    original.save_pretrained(base)
    file = write_gguf(tmp_path / "model.gguf", base, prefixed=prefixed)
    require_same_tokens(file, original)


def test_what_is_not_read_is_refused_in_one_line(tmp_path: Path, tiny_model: Path, monkeypatch) -> None:
    def refusal(file: Path) -> str:
        with pytest.raises(ModelError) as refused:
            Encoder.load(str(file))
        assert "\n" not in str(refused.value) and str(file) in str(refused.value)
        return str(refused.value)

    good = write_gguf(tmp_path / "good.gguf", tiny_model).read_bytes()

    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    assert "parts are not read" in refusal(file("big-00001-of-00003.gguf", good))
    assert "does not begin with GGUF" in refusal(file("html.gguf", b"<html>"))
    assert "version 1" in refusal(file("v1.gguf", good[:4] + struct.pack("<I", 1) + good[8:]))
    assert "cut short" in refusal(file("cut.gguf", good[:-100]))
    assert "cut short or damaged" in refusal(file("head.gguf", good[:3000]))
    assert "damaged" in refusal(file("counts.gguf", good[:8] + b"\xff" * 8 + good[16:]))
    assert "holds a 'bloom' model" in refusal(file("family.gguf", good.replace(b"llama", b"bloom")))
    assert "splits text in the way 'viking'" in refusal(write_gguf(tmp_path / "pre.gguf", tiny_model, pre="viking"))
    assert "mixture of experts" in refusal(write_gguf(tmp_path / "moe.gguf", tiny_model, expert_count=8))
    assert "scales RoPE by 'yarn'" in refusal(
        write_gguf(tmp_path / "yarn.gguf", tiny_model, rope__scaling__type="yarn")
    )
    assert "has no place" in refusal(
        write_gguf(tmp_path / "odd.gguf", tiny_model, extra={"blk.0.ffn_gate_inp.weight": np.ones((2, 32), np.float32)})
    )
    assert "llama.block_count" in refusal(write_gguf(tmp_path / "bare.gguf", tiny_model, leave=("block_count",)))
    monkeypatch.setattr("searchapp.encoder.gguf.header.find_spec", lambda name: None)
    assert "pip install 'searchapp[gguf]'" in refusal(file("again.gguf", good + b"\0" * 8))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_1"])
def test_a_real_model(tmp_path: Path, shared: Path, kind: str) -> None:
    """SmolLM2-135M-Instruct of ../shared/models/smollm2.py, whose directory SEARCHAPP_SMOLLM2 names."""
    place = os.environ.get("SEARCHAPP_SMOLLM2")
    if not place:
        pytest.skip("SEARCHAPP_SMOLLM2 does not name the directory that ../shared/models/smollm2.py wrote")
    base = Path(place)
    file = write_gguf(tmp_path / "model.gguf", base, kind, pre="smollm", reference=tmp_path / "plain")
    same(file, tmp_path / "plain", dtype="float32")
    ours, original = load_tokenizer(file), load_original(base)
    for text in [*TEXTS, *HARD]:
        if not any(letter.isdigit() or letter.isnumeric() for letter in text):
            assert ours(text).input_ids == original(text).input_ids


def load_original(base: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)
