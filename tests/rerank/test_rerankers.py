"""Every kind of reranker against sentence-transformers or transformers, and batches against single pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import ModelError
from searchapp.rerank import Reranker, load_reranker
from searchapp.rerank.loading import find_kind
from searchapp.rerank.prompt import SYSTEM
from tests.models import make_checkpoint, make_config
from tests.rerankers import CHAT, ROLES, add_words, make_bert, make_causal, make_head, save

QUERIES = ["how do bees fly", "measure the quality of a search engine"]
DOCUMENTS = [
    ["bees fly and make honey", "the quick brown fox jumps over the lazy dog " * 3, "dog"],
    ["a search engine", "bees", "quality 2020 2024"],
]
PAIRS = [(query, text) for query, texts in zip(QUERIES, DOCUMENTS, strict=True) for text in texts]


@pytest.fixture(scope="module")
def words(tokenizer):
    return add_words(tokenizer)


def flat(reranker: Reranker) -> np.ndarray:
    scores = reranker.score(QUERIES, DOCUMENTS)
    assert [len(line) for line in scores] == [3, 3]
    assert all(line.dtype == np.float32 for line in scores)
    return np.concatenate(scores)


def single(reranker: Reranker) -> np.ndarray:
    return np.array([reranker.score([query], [[text]])[0][0] for query, text in PAIRS])


def predicted(path: Path) -> np.ndarray:
    """What sentence-transformers makes of the pairs, one at a time."""
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    return CrossEncoder(str(path), device="cpu").predict(PAIRS, activation_fn=Identity(), batch_size=1)


@pytest.fixture(params=["bert", "llama", "qwen3", "gpt2", "mistral"])
def headed(request, tmp_path: Path, tokenizer) -> Path:
    if request.param == "bert":
        return make_bert(tmp_path / "m")
    return make_head(tmp_path / "m", tokenizer, request.param)


def test_a_head_scores_as_sentence_transformers(headed: Path) -> None:
    assert find_kind(str(headed)) == "head"
    reranker = load_reranker(str(headed), cache=False)
    scores = flat(reranker)
    assert np.abs(scores - predicted(headed)).max() < 1e-5
    assert np.abs(scores - single(reranker)).max() < 1e-5
    assert np.ptp(scores) > 0.1, "the model tells nothing apart, so nothing was tested"


@pytest.mark.parametrize("family", ["llama", "qwen3", "opt", "gemma2", "gpt_neox"])
def test_yes_no_scores_as_sentence_transformers(family: str, tmp_path: Path, words) -> None:
    path = make_causal(tmp_path / "m", words, family, ROLES, vocab_size=len(words))
    assert find_kind(str(path)) == "yes-no"
    reranker = load_reranker(str(path), cache=False)
    scores = flat(reranker)
    assert np.abs(scores - predicted(path)).max() < 1e-5
    assert np.abs(scores - single(reranker)).max() < 1e-5
    assert np.ptp(scores) > 0.1


def test_a_saved_cross_encoder_keeps_its_tokens_and_its_prompt(tmp_path: Path, words) -> None:
    """A folder that sentence-transformers wrote: other answers than yes and no, and a prompt of its own."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from torch.nn import Identity

    base = make_causal(tmp_path / "base", words, "llama", ROLES, vocab_size=len(words))
    scored = LogitScore(true_token_id=77, false_token_id=None)
    model = CrossEncoder(
        modules=[Transformer(str(base), transformer_task="text-generation"), scored], device="cpu",
        prompts={"bees": "find insects"}, default_prompt_name="bees",
    )  # fmt: skip
    model.save_pretrained(str(tmp_path / "saved"))
    truth = model.predict(PAIRS, activation_fn=Identity(), batch_size=1)
    reranker = load_reranker(str(tmp_path / "saved"), cache=False)
    assert reranker.kind == "yes-no"
    assert np.abs(flat(reranker) - truth).max() < 1e-5
    other = load_reranker(str(tmp_path / "saved"), cache=False, instruction="find foxes")
    assert np.abs(flat(other) - truth).max() > 1e-4


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_a_chat_model_is_asked_and_its_logits_read(family: str, tmp_path: Path, words) -> None:
    """Against transformers alone: the prompt by hand, the logits of yes and no where the answer begins."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = make_causal(tmp_path / "m", words, family, CHAT, vocab_size=len(words))
    reranker = load_reranker(str(path), cache=False, instruction="find")
    model, own = AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    expected = []
    for query, text in PAIRS:
        prompt = f"<system>{SYSTEM}</system>\n<user><Instruct>: find\n<Query>: {query}\n<Document>: {text}</user>\n<assistant>"
        ids = own(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[0, -1]
        expected.append(float(logits[own.convert_tokens_to_ids("yes")] - logits[own.convert_tokens_to_ids("no")]))
    assert np.abs(flat(reranker) - np.array(expected)).max() < 1e-5
    assert np.abs(flat(reranker) - single(reranker)).max() < 1e-5


def test_a_pad_token_that_is_eos_hides_no_ending(tmp_path: Path, tokenizer) -> None:
    """transformers pools before an EOS that is also the pad token, but not in a batch of one. Here both are the same."""
    import copy

    own = copy.deepcopy(tokenizer)
    own.pad_token = None
    own.chat_template = (
        "{{ (messages | selectattr('role', 'eq', 'query') | first).content }} "
        "{{ (messages | selectattr('role', 'eq', 'document') | first).content }}</s>"
    )
    path = make_head(tmp_path / "m", own, pad_token_id=None)
    reranker = load_reranker(str(path), cache=False)
    assert np.abs(flat(reranker) - single(reranker)).max() < 1e-5
    yes = make_causal(tmp_path / "c", add_words(own), "llama", ROLES, vocab_size=len(own) + 2, pad_token_id=None)
    reranker = load_reranker(str(yes), cache=False)
    assert np.abs(flat(reranker) - single(reranker)).max() < 1e-5


def test_an_adapter_with_a_head_of_its_own(tmp_path: Path, tokenizer) -> None:
    """RankLLaMA's way: LoRA and a head over a plain base. Truth: peft and transformers, unmerged."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = make_checkpoint(tmp_path / "base", tokenizer)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    wrapped = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_proj", "v_proj"]))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(tmp_path / "adapter")
    own = AutoTokenizer.from_pretrained(base)
    expected = []
    for pair in PAIRS:
        with torch.no_grad():
            expected.append(float(wrapped.eval()(**own(*pair, return_tensors="pt")).logits[0, 0]))
    reranker = load_reranker(str(tmp_path / "adapter"), cache=False)
    assert reranker.kind == "head"
    assert np.abs(flat(reranker) - np.array(expected)).max() < 1e-5
    content = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    content["target_modules"] = ["q_proj"]
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="does not fit"):
        load_reranker(str(tmp_path / "adapter"))


def test_long_documents_are_cut_and_nothing_else(tmp_path: Path, words) -> None:
    path = make_causal(tmp_path / "m", words, "llama", ROLES, vocab_size=len(words))
    reranker = load_reranker(str(path), cache=False, max_length=60)
    long = "bees fly and make honey " * 40
    rerank = reranker.score(["how do bees fly"], [[long, long + "and more", long[:40]]])[0]
    assert abs(rerank[0] - rerank[1]) < 1e-6 < 1e-4 < abs(rerank[0] - rerank[2])
    with pytest.raises(ModelError, match="leaves no room"):
        reranker.score(["bees " * 100], [["honey"]])


def test_a_bi_encoder_is_the_cosine(tiny_model: Path, tiny_encoder) -> None:
    assert find_kind(str(tiny_model)) == "yes-no", "a plain decoder can be asked"
    reranker = load_reranker(str(tiny_model), kind="bi-encoder", cache=False, instruction="find:")
    queries = tiny_encoder.encode(QUERIES, "find:")
    expected = [tiny_encoder.encode(texts) @ query for texts, query in zip(DOCUMENTS, queries, strict=True)]
    assert np.abs(flat(reranker) - np.concatenate(expected)).max() < 1e-5


def test_nothing_to_score(tmp_path: Path, tokenizer, tiny_model: Path) -> None:
    for reranker in (
        load_reranker(str(make_head(tmp_path / "m", tokenizer)), cache=False),
        load_reranker(str(tiny_model), kind="bi-encoder", cache=False),
    ):
        assert reranker.score([], []) == []
        assert [line.tolist() for line in reranker.score(["a", "b"], [[], []])] == [[], []]


def test_what_is_no_reranker_is_refused(tmp_path: Path, tokenizer, words) -> None:
    with pytest.raises(ModelError, match="gives 3 numbers for a pair"):
        load_reranker(str(make_head(tmp_path / "three", tokenizer, labels=3)))
    plain = make_checkpoint(tmp_path / "plain", tokenizer)
    with pytest.raises(ModelError, match="has no head that scores"):
        load_reranker(str(plain), kind="head")
    with pytest.raises(ModelError, match="no single token for 'yes'"):
        load_reranker(str(plain), kind="yes-no")
    with pytest.raises(ModelError, match="kind 'magic' is unknown; expected auto, bi-encoder, head, yes-no, listwise"):
        load_reranker(str(plain), kind="magic")
    with pytest.raises(ModelError, match="does not exist"):
        load_reranker(str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="too few for 20 documents"):
        load_reranker(
            str(make_causal(tmp_path / "short", words, vocab_size=len(words), max_position_embeddings=300)),
            kind="listwise",
        )


def test_a_pickle_is_refused(tmp_path: Path, tokenizer) -> None:
    path = make_head(tmp_path / "m", tokenizer)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        load_reranker(str(path))


def test_an_embedder_is_recognised(tmp_path: Path, tokenizer) -> None:
    from transformers import AutoModel

    path = save(AutoModel.from_config(make_config("llama", is_causal=False)), tokenizer, tmp_path / "m")
    assert find_kind(str(path)) == "bi-encoder"
    assert find_kind("bundled") == "bi-encoder"
