"""Documents in one block know nothing of each other, in every family; what is scored, and what stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from searchapp.adapt.config import TrainingConfig
from searchapp.adapt.model import load_trainable_model
from searchapp.adapt.objectives import masking, packing
from searchapp.adapt.objectives import mntp as mntp_module
from searchapp.adapt.objectives.mntp import MntpObjective, mask_token_id
from searchapp.encoder.probes import make_bidirectional
from searchapp.errors import AdaptError
from tests.adapt.stages import small, write_text
from tests.models import FAMILIES, make_checkpoint, make_config

SIZES = (5, 1, 9, 7)  # tokens of the documents of a block; the windows of the families are 4
# A learned position table, or a kernel whose mask is its own business: refused by the probe when a model is loaded.
REFUSED = {"gpt_neo": ("eager", "sdpa")}
KERNELS = {"gemma2": ("eager",), "stablelm": ("eager",)}  # the one has no sdpa kernel, the other's stays causal


def _documents() -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))[None]


def _model(family: str, kernel: str):
    from transformers import AutoModel

    config = make_config(family)
    make_bidirectional(config)
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation=kernel)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    return model.eval()


@pytest.mark.parametrize(
    ("family", "kernel"),
    [
        (family, kernel)
        for family in FAMILIES
        if family not in REFUSED
        for kernel in KERNELS.get(family, ("eager", "sdpa"))
    ],
)
def test_no_attention_crosses_a_border(family: str, kernel: str) -> None:
    model = _model(family, kernel)
    documents = _documents().expand(2, -1)
    mask, positions = packing.attention_mask(documents, torch.float32), packing.positions(documents)
    ids = torch.randint(3, 400, (1, sum(SIZES)), generator=torch.Generator().manual_seed(1)).repeat(2, 1)
    ids[1, 0] = 390 if ids[0, 0] != 390 else 391  # a token of the first document
    with torch.no_grad():
        block = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state
        starts = np.cumsum([0, *SIZES])
        for number, (start, end) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
            moved = (block[0, start:end] - block[1, start:end]).abs().max().item()
            if number == 0:
                assert (block[0, end - 1] - block[1, end - 1]).abs().max() > 1e-4, "nor within a document"
                continue
            assert moved == 0.0, f"document {number} moved by {moved}"
            alone = model(input_ids=ids[:1, start:end], use_cache=False).last_hidden_state[0]
            error = ((block[0, start:end] - alone).norm(dim=-1) / alone.norm(dim=-1)).max().item()
            assert error < 1e-5, f"document {number} differs by {error} from itself alone"


def test_positions_begin_anew_with_each_document() -> None:
    assert packing.positions(torch.tensor([[4, 4, 4, 5, 7, 7], [1, 2, 3, 3, 3, 3]])).tolist() == [
        [0, 1, 2, 0, 0, 1],
        [0, 0, 0, 1, 2, 3],
    ]


def test_blocks_are_the_tokens_in_order_and_the_rest_is_dropped(tmp_path: Path) -> None:
    texts = [np.arange(size) + 100 * size for size in (3, 0, 4, 1, 6)]
    packed = packing.pack(iter(texts), 4, tmp_path)
    ids, documents = packed.read(np.arange(packed.blocks))
    whole = np.concatenate(texts)
    assert packed.blocks == 3
    assert ids.reshape(-1).tolist() == whole[:12].tolist()
    assert documents.tolist() == [[0, 0, 0, 1], [1, 1, 1, 2], [3, 3, 3, 3]]
    assert isinstance(packed.tokens, np.memmap)  # 4 bytes a token, on disk
    with pytest.raises(AdaptError, match="14 tokens, which is less than one block of 15"):
        packing.pack(iter(texts), 15, tmp_path)


class Seen:
    """Stands for the model in a step and keeps what it was given."""

    def __init__(self, trainee) -> None:
        self.trainee, self.calls = trainee, []

    def __call__(self, *given, **named):
        self.calls.append(given)
        return self.trainee(*given, **named)


@pytest.mark.parametrize("mix", [False, True])
def test_a_step_blocks_attention_unless_documents_are_mixed(tiny_model: Path, tmp_path: Path, mix: bool) -> None:
    stage = small("mntp", mix_documents=mix, max_length=24, lora_dropout=0.0, mask_rate=0.5, attention="sdpa")
    trainee = load_trainable_model(str(tiny_model), stage.training)
    task = MntpObjective(trainee, stage, [write_text(tmp_path / "text.txt", words=6)], tmp_path / "work")
    model = Seen(trainee)
    task.backward(model, 0)
    ids, mask, positions = model.calls[0]
    if mix:
        assert mask is None
        assert positions is None
        return
    _, documents = task._packed.read(task._numbers(0))
    assert (documents[:, 0] != documents[:, -1]).all(), "every block is to hold several documents"
    together = documents[:, :, None] == documents[:, None, :]
    assert ((mask[:, 0] == 0).numpy() == together).all()
    assert (mask[:, 0][torch.from_numpy(~together)] < -1e30).all()
    changed, place = ids.clone(), int(np.argmax(documents[0] != documents[0, 0]))
    changed[0, 0] = (changed[0, 0] + 7) % 300 + 5
    trainee.eval()
    with torch.no_grad():
        difference = (trainee(ids, mask, positions) - trainee(changed, mask, positions)).abs()[0]
        across = (trainee(ids) - trainee(changed)).abs()[0]
    assert difference[:place].max() > 1e-5
    assert difference[place:].max() == 0.0
    assert across[place:].max() > 1e-5, "mixed documents are to see each other"


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[masking.Masked]:
    """What every step hides."""
    seen: list[masking.Masked] = []

    def keep(*given, **options) -> masking.Masked:
        seen.append(masking.mask_tokens(*given, **options))
        return seen[-1]

    monkeypatch.setattr(mntp_module, "mask_tokens", keep)
    return seen


@pytest.mark.parametrize("mix", [False, True])
def test_special_tokens_and_first_tokens_are_never_scored(
    tiny_model: Path, tmp_path: Path, masked: list[masking.Masked], mix: bool
) -> None:
    stage = small("mntp", mix_documents=mix, batch_size=16, max_length=24, mask_rate=0.95, mask_strategy="all")
    trainee = load_trainable_model(str(tiny_model), stage.training)
    task = MntpObjective(trainee, stage, [write_text(tmp_path / "text.txt", words=6)], tmp_path / "work")
    task.backward(trainee, 0)
    ids, documents = task._packed.read(task._numbers(0))
    scored = (masked[0].labels != -100).numpy()
    assert scored.mean() > 0.6
    assert not scored[np.isin(ids, [0, 1, 2])].any()
    assert (ids == 1).sum() > 30
    if not mix:
        first = np.ones_like(scored)
        first[:, 1:] = documents[:, 1:] != documents[:, :-1]
        assert (first & (ids != 1)).any(), "a document that a block has cut, so that it begins with a word"
        assert not scored[first].any()
    assert (masked[0].labels.numpy()[scored] == ids[scored]).all()
    assert (masked[0].ids.numpy()[scored] == task._mask_id).all()


@pytest.mark.parametrize("chunk", [0, 3])
def test_the_label_of_a_position_is_read_from_the_one_before(
    tiny_model: Path, tmp_path: Path, masked: list[masking.Masked], chunk: int
) -> None:
    """The loss of a step is the mean, by hand, over the logits of transformers' own causal language model."""
    from transformers import AutoModelForCausalLM

    stage = small("mntp", max_length=16, lora_dropout=0.0, batch_size=4, mask_rate=0.4, chunk=chunk)
    trainee = load_trainable_model(str(tiny_model), stage.training)
    task = MntpObjective(trainee, stage, [write_text(tmp_path / "text.txt", words=5)], tmp_path / "work")
    model = Seen(trainee)
    loss, tokens = task.backward(model, 2)
    assert tokens == 64
    causal = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager").eval()
    _, documents = task._packed.read(task._numbers(2))
    documents = torch.from_numpy(documents)
    with torch.no_grad():
        logits = causal(
            input_ids=masked[0].ids,
            attention_mask=packing.attention_mask(documents, torch.float32),
            position_ids=packing.positions(documents),
        ).logits
    scored = [
        torch.nn.functional.cross_entropy(logits[row, place - 1], label).item()
        for row, labels in enumerate(masked[0].labels)
        for place, label in enumerate(labels)
        if label != -100
    ]
    assert len(scored) > 8
    assert loss.item() == pytest.approx(np.mean(scored), rel=1e-5)


MASKS = ["blank", "eos", " bees", "honey"]


@pytest.mark.parametrize("wanted", MASKS)
def test_the_mask_token_never_changes_the_saved_tokenizer(tiny_model: Path, tmp_path: Path, wanted: str) -> None:
    from tokenizers import Tokenizer

    from searchapp.adapt.run import run_stage

    text = write_text(tmp_path / "text.txt", 12)
    try:
        run_stage(small("mntp", steps=1, mask_token=wanted), model=str(tiny_model), to=tmp_path / "run", texts=[text])
    except AdaptError as error:
        assert wanted in ("honey", " bees"), error  # several tokens in this vocabulary
        assert "name a single token" in str(error)
        return
    before, after = (Tokenizer.from_file(str(place / "tokenizer.json")) for place in (tiny_model, tmp_path / "run"))
    for probe in ("__init__", " _x", "_", "make _ honey", "a_b __ _", "bees fly"):
        assert after.encode(probe).ids == before.encode(probe).ids
        assert after.encode(probe).tokens == before.encode(probe).tokens
    assert after.get_vocab() == before.get_vocab()


def test_the_mask_token_is_found_or_refused(tiny_model: Path) -> None:
    trainee = load_trainable_model(str(tiny_model), TrainingConfig(device="cpu", dtype="float32"))
    vocabulary = trainee.tokenizer.get_vocab()
    assert mask_token_id(trainee, "blank") == vocabulary["_"]
    assert mask_token_id(trainee, "eos") == 2
    for wanted, said in (("mask", "no mask token"), ("two words", "name a single token")):
        with pytest.raises(AdaptError, match=said):
            mask_token_id(trainee, wanted)
    trainee.tokenizer.add_tokens([f"<{number}>" for number in range(20)])
    trainee.tokenizer.add_special_tokens({"mask_token": "<new>"})  # known to the tokenizer alone
    with pytest.raises(AdaptError, match="the model knows 400 tokens"):
        mask_token_id(trainee, "mask")


def test_blocks_longer_than_the_positions_are_refused(tmp_path: Path, tokenizer) -> None:
    model = make_checkpoint(tmp_path / "gpt2", tokenizer, "gpt2", n_positions=64, max_position_embeddings=64)
    stage = small("mntp", max_length=65)
    trainee = load_trainable_model(str(model), stage.training)
    with pytest.raises(AdaptError, match="max_length is 65, the model has 64 positions"):
        MntpObjective(trainee, stage, [write_text(tmp_path / "text.txt")], tmp_path / "work")
