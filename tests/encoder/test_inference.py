"""The loop: any mix of texts, windows and budgets gives the vectors of one-by-one encoding; no text sees a neighbour."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchapp import Encoder
from searchapp.encoder import window
from searchapp.encoder.attention import packed_lengths
from searchapp.encoder.backend import TorchBackend
from searchapp.encoder.batching import next_batch
from searchapp.encoder.inference import prefetch
from searchapp.encoder.pooling import highest, pool, token_weights, weigh
from searchapp.encoder.settings import POOLINGS
from searchapp.errors import ModelError
from tests.models import make_checkpoint

WORDS = st.sampled_from(["bees", "fly", "honey", "quick", "measure", "engine", "2020", "猫", "xx"])
TEXTS = st.lists(WORDS, max_size=40).map(" ".join) | st.sampled_from(["", " ", "bees " * 600, "bees fly", "bees fly"])


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> str:
    """Four heads on two of keys and values, as most decoders have it."""
    return str(make_checkpoint(tmp_path_factory.mktemp("grouped") / "model", tokenizer, "llama"))


@pytest.fixture(scope="module", params=["packed", "sdpa", "eager"])
def kernel(request, grouped: str) -> Encoder:
    return Encoder.load(grouped, attention=request.param)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=14),
    budget=st.sampled_from([1, 30, 100, 5_000]),
    first=st.sampled_from([1, 3, 64]),
    instruction=st.sampled_from([None, "find what answers:"]),
)
def test_any_window_and_budget_gives_the_vectors_of_one_by_one(
    kernel: Encoder, monkeypatch, texts: list[str], budget: int, first: int, instruction: str | None
) -> None:
    whole = {text: kernel.encode([text], instruction, normalize=False)[0] for text in set(texts)}
    with monkeypatch.context() as patch:
        patch.setattr(window, "FIRST", first)
        patch.setattr(kernel.backend, "budget", budget)
        together = kernel.encode(texts, instruction, normalize=False)
        streamed = np.concatenate([*kernel.encode_stream(iter(texts), instruction, normalize=False, dtype=np.float32)])
    for vectors in (together, streamed):
        for vector, text in zip(vectors, texts, strict=True):
            scale = max(1.0, float(np.abs(whole[text]).max()))
            np.testing.assert_allclose(vector, whole[text], atol=1e-5 * scale)


def test_a_text_does_not_see_its_neighbours(kernel: Encoder) -> None:
    """The leak test: everything around a text changes, the text's own vector does not; in every kernel offered."""
    text = "bees fly and make honey"
    alone = kernel.encode(text, normalize=False)[0]
    for others in (["the quick brown fox"] * 3, ["0 1 2 3 4 5 6 7", "xx"], ["measure the quality of bees fly"]):
        for place in range(len(others) + 1):
            batch = [*others[:place], text, *others[place:]]
            np.testing.assert_allclose(kernel.encode(batch, normalize=False)[place], alone, atol=1e-5)


def test_bfloat16_does_not_depend_on_batch_mates_beyond_rounding(grouped: str) -> None:
    encoder = Encoder.load(grouped, dtype="bfloat16")
    texts = ["bees", "the quick brown fox jumps " * 9, "bees fly and make honey", "how do you measure", "2020 2024"]
    alone = np.vstack([encoder.encode(text) for text in texts])
    assert (encoder.encode(texts) * alone).sum(1).min() > 0.9995


def test_rounding_a_packed_batch_up_changes_no_vector(grouped: str, monkeypatch) -> None:
    encoder = Encoder.load(grouped, dtype="float32", attention="packed")
    texts = ["bees fly", "quick honey " * 9, "measure", "engine 2020 xx " * 20]
    want = encoder.encode(texts)
    sizes = []

    def rounded(_: TorchBackend, tokens: int) -> int:
        sizes.append(tokens)
        return -(-tokens // 64) * 64

    monkeypatch.setattr(TorchBackend, "computed", rounded)
    np.testing.assert_allclose(encoder.encode(texts), want, atol=1e-5)
    assert any(size % 64 for size in sizes), "nothing was rounded"


def test_bfloat16_batches_have_few_sizes(grouped: str) -> None:
    backend = Encoder.load(grouped, dtype="bfloat16", attention="packed").backend
    made = {backend.computed(tokens) for tokens in range(1, 4_097)}
    assert len(made) < 200
    assert all(0 <= backend.computed(tokens) - tokens <= max(7, tokens / 32) for tokens in range(1, 4_097))
    assert Encoder.load(grouped, dtype="float32").backend.computed(4_001) == 4_001


def test_a_kernel_that_ignores_the_lengths_is_found_out(grouped: str, monkeypatch) -> None:
    """The probe must be able to fail: attention over the whole batch is what transformers' own packing would do."""
    from searchapp.encoder import attention

    def over_all(query, key, value, lengths, scaling, dropout):
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling, enable_gqa=True)
        return out.transpose(0, 1)

    monkeypatch.setattr(attention, "attend_by_run", over_all)
    assert Encoder.load(grouped).attention == "sdpa"
    with pytest.raises(ModelError, match="mixes texts"):
        Encoder.load(grouped, attention="packed")


def test_packed_lengths_by_hand() -> None:
    packing = packed_lengths([5, 3, 3, 1])
    assert packing.runs == ((0, 1, 5), (5, 2, 3), (11, 1, 1))
    assert packing.cu_seqlens.tolist() == [0, 5, 8, 11, 12]
    assert packing.max_seqlen == 5


@pytest.mark.parametrize("mode", POOLINGS)
def test_both_ways_to_pool_agree(mode: str) -> None:
    hidden = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    spans, lengths = [(1, 4), (0, 2), (2, 2)], [6, 2, 3]
    want = pool(hidden, torch.tensor(spans), torch.tensor(lengths), mode)
    weights = np.concatenate([token_weights(*span, length, mode) for span, length in zip(spans, lengths, strict=True)])
    flat = torch.cat([states[:length] for states, length in zip(hidden, lengths, strict=True)])
    packed = highest if mode == "max" else weigh
    got = packed(flat, torch.from_numpy(weights), torch.tensor([0, 6, 8]))
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)


def test_a_packed_batch_costs_what_its_texts_have() -> None:
    lengths = np.array([50, 30, 20, 10])
    assert next_batch(lengths, 100, padded=False) == 3
    assert next_batch(lengths, 100, padded=True) == 2
    assert next_batch(lengths, 10, padded=False) == 1
    assert next_batch(lengths, 1_000, 2, padded=False) == 2


class Scarce(TorchBackend):
    """A backend whose memory holds so many tokens."""

    holds = 60

    def submit(self, batch):
        if sum(len(item.ids) for item in batch) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return super().submit(batch)


def test_out_of_memory_halves_the_budget_once_said_and_keeps_it(grouped: str, caplog) -> None:
    encoder = Encoder.load(grouped)
    texts = [f"bees fly {number}" for number in range(60)]
    want = encoder.encode(texts)
    encoder.backend = Scarce(encoder.model, encoder.tokenizer, "mean")
    with caplog.at_level(logging.WARNING, "searchapp"):
        np.testing.assert_allclose(encoder.encode(texts), want, atol=1e-5)
        found = encoder.backend.budget
        np.testing.assert_allclose(encoder.encode(texts), want, atol=1e-5)
    assert [record.message for record in caplog.records if "out of memory" in record.message].__len__() == 1
    assert found <= 60
    assert encoder.backend.budget == found
    with pytest.raises(ModelError, match="no memory for one text of"):
        encoder.encode("bees fly and make honey " * 30)


def test_what_a_source_gave_before_it_raised_is_not_lost(tiny_encoder: Encoder, monkeypatch) -> None:
    monkeypatch.setattr(window, "FIRST", 4)

    def source() -> Iterator[str]:
        for number in range(6):
            yield f"bees {number}"
        raise OSError("the disk is gone")

    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        got.extend(tiny_encoder.encode_stream(source(), dtype=np.float32))
    want = tiny_encoder.encode([f"bees {number}" for number in range(6)])
    np.testing.assert_allclose(np.concatenate(got), want, atol=1e-5)


def test_identical_texts_are_encoded_once_wherever_they_stand(tiny_encoder: Encoder, monkeypatch) -> None:
    monkeypatch.setattr(window, "FIRST", 2)
    texts = [f"bees {number % 5}" for number in range(40)]
    once = tiny_encoder.encode_counted(texts[:5])
    again = tiny_encoder.encode_counted(texts)
    assert again.tokens == once.tokens
    np.testing.assert_allclose(again.vectors, np.tile(once.vectors, (8, 1)), atol=1e-5)
    half = tiny_encoder.encode_counted(texts, dtype=np.float16).vectors
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, again.vectors.astype(np.float16))


def test_the_next_item_is_made_while_this_one_is_used() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    stream = prefetch(source(), depth=1)
    assert next(stream) == 0
    deadline = time.monotonic() + 20
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert made == [0, 1, 2]  # one is ready, one is held out; no more, so memory stays bounded
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "searchapp-prefetch" and thread.is_alive()]


def test_an_encoder_says_what_it_chose(grouped: str) -> None:
    assert "float32 (auto: this CPU does not multiply bfloat16 natively) on cpu" in Encoder.load(grouped).description
    assert Encoder.load(grouped, dtype="float32").description == "32 dimensions, float32 on cpu, packed batches"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_packed_on_a_gpu_gives_the_vectors_of_the_cpu(grouped: str, dtype: str) -> None:
    exact = Encoder.load(grouped, dtype="float32", device="cpu")
    encoder = Encoder.load(grouped, dtype=dtype, device="cuda")
    assert encoder.attention == "packed"
    texts = ["bees", "the quick brown fox jumps " * 9, "bees fly and make honey", "how do you measure", ""]
    want, got = exact.encode(texts), encoder.encode(texts)
    assert (want * got).sum(1)[:4].min() > 0.999
    assert not got[4].any()
