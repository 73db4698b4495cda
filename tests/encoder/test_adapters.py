"""LoRA adapters of every configuration that peft writes: merged as peft merges them, or refused by the field's name."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchapp import Encoder
from searchapp.errors import ModelError
from tests.models import make_adapter, make_checkpoint

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FAMILIES = {  # Qwen 2 has biases, the second Llama a tied head, GPT-2 layers that are transposed
    "llama": {},
    "tied": {"tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": False},
    "gpt2": {},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {
        name: make_checkpoint(root / name, tokenizer, "llama" if name == "tied" else name, **changes)
        for name, changes in FAMILIES.items()
    }


def _train(base: Path, directory: Path, *, head: bool, **options) -> None:
    """One step of training by peft alone, large enough to be seen in every weight."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, AutoModelForCausalLM

    torch.manual_seed(5)
    model = (AutoModelForCausalLM if head else AutoModel).from_pretrained(base, dtype=torch.float32)
    wrapped = get_peft_model(model, LoraConfig(**options))
    with torch.no_grad():  # LoRA begins at zero: moved off it, so that both factors have a gradient
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                parameter.normal_(0, 0.1)
    trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    ids = torch.arange(3, 40)[None]
    out = wrapped(input_ids=ids)
    (out.logits if head else out.last_hidden_state).square().mean().backward()
    optimizer.step()
    wrapped.save_pretrained(directory)


def _merged_by_peft(base: Path, adapter: Path, *, head: bool) -> dict[str, torch.Tensor]:
    from peft import PeftModel
    from transformers import AutoModel, AutoModelForCausalLM

    model = (AutoModelForCausalLM if head else AutoModel).from_pretrained(base, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    inner = getattr(merged, merged.base_model_prefix) if head else merged
    return dict(inner.state_dict())


def _compare(base: Path, adapter: Path, *, head: bool) -> None:
    want = _merged_by_peft(base, adapter, head=head)
    got = Encoder.load(str(base), adapters=[str(adapter)], bidirectional=False).model.state_dict()
    assert set(got) == set(want)
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


@st.composite
def configurations(draw):
    family = draw(st.sampled_from(sorted(FAMILIES)))
    head = draw(st.booleans())
    layers, block = ("h", "attn.c_attn") if family == "gpt2" else ("layers", "self_attn.q_proj")
    outer = {"gpt2": "transformer.", "llama": "model."}.get(family, "model.") if head else ""
    regex = rf".*{layers}\.\d+\.({'attn' if family == 'gpt2' else 'self_attn'})\..*"
    short = ["c_attn", "c_proj", "c_fc"] if family == "gpt2" else SEVEN
    targets = draw(st.sampled_from([short, short[:1], "all-linear", regex]))
    options = {
        "r": draw(st.sampled_from([2, 4])),
        "lora_alpha": draw(st.sampled_from([1, 8, 32])),
        "use_rslora": draw(st.booleans()),
        "use_dora": draw(st.booleans()),
        "bias": draw(st.sampled_from(["none", "all", "lora_only"])),
        "target_modules": targets,
        "fan_in_fan_out": family == "gpt2",
    }
    patterns = [f"{outer}{layers}.0.{block}", block.rsplit(".", 1)[1], rf"{layers}\.1\..*{block.rsplit('.', 1)[1]}"]
    if draw(st.booleans()):
        options["rank_pattern"] = {draw(st.sampled_from(patterns)): 3}
    if draw(st.booleans()):
        options["alpha_pattern"] = {draw(st.sampled_from(patterns)): 20}
    if isinstance(targets, list) and (head or family == "gpt2") and draw(st.booleans()):
        options["layers_to_transform"] = draw(st.sampled_from([0, [1]]))
        if head and draw(st.booleans()):
            options["layers_pattern"] = layers
    if draw(st.booleans()):
        options["exclude_modules"] = draw(st.sampled_from([[f"{outer}{layers}.1.{block}"], rf".*{layers}\.1\.mlp.*"]))
    saved = ["embed_tokens" if family != "gpt2" else "wte", *(["lm_head"] if head else [])]
    extra = draw(st.sampled_from([None, "save", "tokens"]))
    if extra == "save":
        options["modules_to_save"] = draw(st.lists(st.sampled_from(saved), min_size=1, unique=True))
    elif extra == "tokens":
        options["trainable_token_indices"] = {saved[0]: [3, 9]}
    return family, head, options


@given(configurations())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_configuration_is_merged_as_peft_merges_it(bases, drawn) -> None:
    family, head, options = drawn
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder) / "adapter"
        try:
            _train(bases[family], adapter, head=head, **options)
            want = _merged_by_peft(bases[family], adapter, head=head)
        except Exception:  # peft itself takes no such combination
            return
        assert want
        _compare(bases[family], adapter, head=head)


@pytest.mark.parametrize("family", ["llama", "tied"])
@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
        {"target_modules": ["lm_head", "v_proj"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2, 7]},
        {"target_modules": ["q_proj"], "init_lora_weights": "pissa"},
        {"target_modules": ["q_proj"], "init_lora_weights": "olora"},
        {"target_modules": ["q_proj"], "target_parameters": ["mlp.up_proj.weight"]},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values())[:40],
)
def test_embeddings_heads_and_initialisations_come_out_as_in_peft(bases, tmp_path: Path, family, options) -> None:
    _train(bases[family], tmp_path / "adapter", head=True, **options)
    _compare(bases[family], tmp_path / "adapter", head=True)


def _change(source: Path, target: Path, **fields: object) -> Path:
    shutil.copytree(source, target)
    path = target / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return target


def test_fields_of_a_newer_peft_are_taken_at_their_defaults_only(bases, tmp_path: Path) -> None:
    adapter = make_adapter(bases["llama"], tmp_path / "adapter", head=True)
    tolerant = _change(adapter, tmp_path / "tolerant", a_new_field=None, another={}, third=False)
    Encoder.load(str(bases["llama"]), adapters=[str(tolerant)])
    strict = _change(adapter, tmp_path / "strict", a_new_field=0.5)
    with pytest.raises(ModelError, match="a_new_field"):
        Encoder.load(str(bases["llama"]), adapters=[str(strict)])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer_replication", [[0, 2], [1, 2]]),
        ("alora_invocation_tokens", [3, 4]),
        ("use_qalora", True),
        ("megatron_config", {"a": 1}),
        ("peft_type", "IA3"),
        ("r", 0),
    ],
)
def test_what_cannot_be_merged_is_refused_by_its_name(bases, tmp_path: Path, field: str, value: object) -> None:
    adapter = _change(make_adapter(bases["llama"], tmp_path / "adapter"), tmp_path / "changed", **{field: value})
    with pytest.raises(ModelError, match=rf"\b{field}\b") as caught:
        Encoder.load(str(bases["llama"]), adapters=[str(adapter)])
    assert "\n" not in str(caught.value)


def test_a_saved_classifier_is_passed_over_and_said(bases, tmp_path: Path, caplog) -> None:
    from safetensors.torch import load_file, save_file

    plain = make_adapter(bases["llama"], tmp_path / "plain", head=True)
    with_head = _change(plain, tmp_path / "scored", modules_to_save=["classifier", "score"], task_type="SEQ_CLS")
    tensors = load_file(with_head / "adapter_model.safetensors")
    save_file({**tensors, "base_model.model.score.weight": torch.ones(1, 32)}, with_head / "adapter_model.safetensors")
    with caplog.at_level(logging.WARNING, "searchapp"):
        scored = Encoder.load(str(bases["llama"]), adapters=[str(with_head)])
    assert "score, which embedding does not use" in caplog.text
    for name, value in Encoder.load(str(bases["llama"]), adapters=[str(plain)]).model.state_dict().items():
        assert torch.equal(scored.model.state_dict()[name], value)


def test_a_tensor_without_a_place_is_refused(bases, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = make_adapter(bases["llama"], tmp_path / "adapter", head=True)
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    first = next(iter(tensors))
    for changed in (
        {**tensors, "base_model.model.model.layers.0.extra.lora_A.weight": torch.ones(4, 32)},
        {key: value for key, value in tensors.items() if key != first},
        {key.replace(".lora_A.", ".lora_A.default."): value for key, value in tensors.items()},
    ):
        save_file(changed, path)
        with pytest.raises(ModelError, match="does not fit this base model"):
            Encoder.load(str(bases["llama"]), adapters=[str(adapter)])


def test_an_adapter_as_a_pickle_or_a_pointer_is_named_as_that(bases, tmp_path: Path) -> None:
    adapter = make_adapter(bases["llama"], tmp_path / "adapter")
    weights = adapter / "adapter_model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is a Git LFS pointer"):
        Encoder.load(str(bases["llama"]), adapters=[str(adapter)])
    weights.unlink()
    (adapter / "adapter_model.bin").write_bytes(b"never read")
    with pytest.raises(ModelError, match=r"pickles only.*adapter_model\.bin"):
        Encoder.load(str(bases["llama"]), adapters=[str(adapter)])


def test_an_adapter_with_added_tokens_is_refused_with_both_sizes(tmp_path: Path, tokenizer) -> None:
    import copy

    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = make_checkpoint(tmp_path / "base", tokenizer, "llama", vocab_size=len(tokenizer))
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["<new>"])
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(len(own))
    options = {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}
    get_peft_model(model, LoraConfig(**options)).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match=f"embedding of {len(own)} tokens, its base has {len(tokenizer)}"):
        Encoder.load(str(base), adapters=[str(tmp_path / "adapter")])
