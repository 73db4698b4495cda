"""Every position sees every other one, in every family and kernel that is accepted; the rest is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.errors import ModelError
from tests.models import FAMILIES, make_checkpoint

CAUSAL = {("gpt_neo", "eager"), ("gpt_neo", "sdpa"), ("stablelm", "sdpa")}
UNSUPPORTED = {("gemma2", "sdpa")}
TEXT, OTHER_END = "bees fly and make honey in their hives 1", "bees fly and make honey in their hives 2"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, tokenizer):
    made = {}

    def get(family: str):
        if family not in made:
            made[family] = make_checkpoint(tmp_path_factory.mktemp("families") / family, tokenizer, family)
        return str(made[family])

    return get


def _bos_states(encoder: Encoder, texts: list[str]) -> np.ndarray:
    return encoder.encode(texts, normalize=False)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_position_sees_the_last(checkpoints, family: str, attention: str) -> None:
    if (family, attention) in CAUSAL | UNSUPPORTED:
        with pytest.raises(ModelError, match=family):
            Encoder.load(checkpoints(family), attention=attention)
        return
    encoder = Encoder.load(checkpoints(family), attention=attention, pooling="bos_token")
    alone = np.vstack([_bos_states(encoder, [TEXT]), _bos_states(encoder, [OTHER_END])])
    unpadded = _bos_states(encoder, [TEXT, OTHER_END])  # equal lengths: no mask
    padded = _bos_states(encoder, [TEXT, OTHER_END, TEXT + " and " + OTHER_END])[:2]
    for states in (alone, unpadded, padded):
        assert np.abs(states[0] - states[1]).max() > 1e-4, "the last token does not reach the first position"
    np.testing.assert_allclose(unpadded, alone, atol=1e-5)
    np.testing.assert_allclose(padded, alone, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_a_causal_encoder_does_not_see_ahead(checkpoints, family: str) -> None:
    """The control: without the switch the same measurement gives zero."""
    encoder = Encoder.load(checkpoints(family), bidirectional=False, pooling="bos_token")
    states = _bos_states(encoder, [TEXT, OTHER_END])
    assert np.abs(states[0] - states[1]).max() == 0


@pytest.mark.parametrize("family", ["mistral", "phi3", "gemma3_text", "gemma2"])
def test_sliding_windows_are_cleared(checkpoints, family: str) -> None:
    """With one layer and a window of 4 the first position could not see the end of a longer text."""
    import torch

    encoder = Encoder.load(checkpoints(family))
    ids = torch.arange(40)[None] % 90 + 3
    changed = ids.clone()
    changed[0, -1] = 95
    states = []
    layer = encoder.model.layers[0]
    handle = layer.register_forward_hook(lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out))
    with torch.inference_mode():
        for sequence in (ids, changed):
            encoder.model(input_ids=sequence, use_cache=False)
    handle.remove()
    first = [state[0, 0] if state.dim() == 3 else state[0] for state in states]
    assert (first[0] - first[1]).abs().max() > 1e-6


def test_auto_falls_back_to_a_kernel_that_passes_the_probe(checkpoints) -> None:
    assert Encoder.load(checkpoints("stablelm")).attention == "eager"
    assert Encoder.load(checkpoints("llama")).attention == "packed"
    assert Encoder.load(checkpoints("llama"), attention="sdpa").attention == "sdpa"


def test_a_family_that_stays_causal_is_refused_with_its_name_and_reason(checkpoints) -> None:
    with pytest.raises(ModelError, match=r"gpt_neo.*stays causal"):
        Encoder.load(checkpoints("gpt_neo"))
