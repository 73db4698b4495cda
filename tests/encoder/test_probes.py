"""Probes ask the first layer of each kind alone: no layer answers for another, and no other layer is run."""

from __future__ import annotations

import pytest
import torch

from searchapp.encoder.attention import register
from searchapp.encoder.layers import layer_stack
from searchapp.encoder.probes import bidirectional_fault, make_bidirectional, packing_fault, values_fault
from tests.models import make_config

TYPES = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"]


def made(family: str = "gemma3_text", kernel: str = "sdpa", **changes):
    """A random bidirectional decoder of five layers, of two kinds in Gemma 3."""
    from transformers import AutoModel

    torch.manual_seed(0)
    types = {"layer_types": TYPES} if family == "gemma3_text" else {}
    config = make_config(family, num_hidden_layers=5, **types, **changes)
    make_bidirectional(config)
    model = AutoModel.from_config(config, attn_implementation=kernel).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.15)
    return model


def fault(model, **options):
    return bidirectional_fault(model, vocabulary=400, pad=0, **options)


def leak(model, kernel: str = "packed"):
    model.set_attn_implementation(register())
    return packing_fault(model, vocabulary=400)


def override(module, change) -> None:
    """Change what a module is called with: ``change(keywords)`` in place."""
    own = module.forward

    def forward(*given, **named):
        change(named)
        return own(*given, **named)

    module.forward = forward


def causal_from_now_on(named) -> None:
    length = named["hidden_states"].shape[1]
    named["attention_mask"] = torch.full((length, length), float("-inf")).triu(1)[None, None]


def count_runs(model) -> list[int]:
    runs = [0] * len(model.layers)

    def counting(place: int):
        def count(*_) -> None:
            runs[place] += 1

        return count

    for place, layer in enumerate(model.layers):
        layer.self_attn.register_forward_hook(counting(place))
    return runs


def test_layers_are_told_apart_by_what_they_do_not_by_their_place() -> None:
    assert [kind.places for kind in layer_stack(made()).kinds] == [(0, 1, 3), (2, 4)]
    assert [kind.places for kind in layer_stack(made("llama")).kinds] == [(0, 1, 2, 3, 4)]
    model = made("llama")
    model.layers[3].self_attn.is_causal = not model.layers[3].self_attn.is_causal
    assert [kind.places for kind in layer_stack(model).kinds] == [(0, 1, 2, 4), (3,)]


def test_only_the_first_layer_of_each_kind_is_run() -> None:
    model = made()
    runs = count_runs(model)
    assert (fault(model), leak(model)) == (None, None)
    assert [place for place, count in enumerate(runs) if count] == [0, 2]


def test_a_probe_leaves_the_model_as_it_was() -> None:
    model = made()
    ids = torch.arange(12)[None] + 3
    with torch.inference_mode():
        before = model(input_ids=ids).last_hidden_state
        assert fault(model) is None
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, before, rtol=0, atol=0)
    assert not any("forward" in vars(module) or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kinds", [(0, 1, 3), (2, 4), (0, 1, 2, 3, 4)])
def test_a_kind_of_layer_that_stays_causal_is_found_though_others_see(kinds: tuple[int, ...]) -> None:
    model = made()
    for place in kinds:
        override(model.layers[place].self_attn, causal_from_now_on)
    assert fault(model) == "stays causal without padding (the first position does not see the last)"
    assert (fault(model, whole=True) is None) == (len(kinds) < 5), "one kind alone hides in the depth"


@pytest.mark.parametrize("kinds", [(0, 1, 3), (2, 4)])
def test_a_kind_of_layer_that_lets_padding_through_is_found(kinds: tuple[int, ...]) -> None:
    model = made()
    for place in kinds:
        override(model.layers[place].self_attn, lambda named: named.update(attention_mask=None))
    assert "lets padding through" in fault(model)


@pytest.mark.parametrize("kinds", [(0, 1, 3), (2, 4)])
def test_a_kind_of_layer_that_mixes_packed_texts_is_found(kinds: tuple[int, ...]) -> None:
    model = made()
    for place in kinds:
        override(model.layers[place].self_attn, lambda named: named.pop("packed_lengths", None))
    assert leak(model) == "mixes texts that are packed together"


def test_a_window_on_one_kind_is_found() -> None:
    """A window of 6 to each side, as a configuration that was not cleared would leave it."""

    def narrow(named) -> None:
        length = named["hidden_states"].shape[1]
        near = (torch.arange(length)[:, None] - torch.arange(length)).abs() <= 6
        given = named["attention_mask"]
        named["attention_mask"] = near[None, None] if given is None else near & given

    model = made()
    for place in (2, 4):
        override(model.layers[place].self_attn, narrow)
    assert "does not see the last" in fault(model)
    assert fault(model, whole=True) is None


def test_a_layer_of_little_effect_is_asked_with_its_like() -> None:
    """One layer whose values round to nothing says nothing of its kind: the others of it are asked with it."""
    model = made("llama")
    with torch.no_grad():
        model.layers[0].self_attn.v_proj.weight.zero_()
    assert fault(model) is None


def needs_the_one_before(model) -> None:
    """Make layer 2, a kind of its own, refuse to run unless layer 1 ran in the same pass, as shared keys would."""
    ran: list[bool] = []
    model.layers[0].register_forward_pre_hook(lambda *_: ran.clear())
    model.layers[1].self_attn.register_forward_hook(lambda *_: ran.append(True))
    model.layers[2].own = 1

    def check(*_) -> None:
        if not ran:
            raise RuntimeError("no keys to share")

    model.layers[2].register_forward_pre_hook(check)


def test_layers_that_do_not_run_alone_are_probed_through_the_whole_depth() -> None:
    model = made("llama")
    needs_the_one_before(model)
    runs = count_runs(model)
    assert (fault(model), leak(model)) == (None, None)
    assert all(runs)
    for layer in model.layers:
        override(layer.self_attn, causal_from_now_on)
    model.set_attn_implementation("sdpa")
    assert "stays causal" in fault(model)


def test_a_model_without_a_list_of_layers_is_probed_whole() -> None:
    model = made("llama")
    model.config.num_hidden_layers = 4  # one more than it says
    assert layer_stack(model) is None
    assert fault(model) is None


def test_values_are_looked_at_in_every_layer() -> None:
    model = made("llama")
    assert values_fault(model, vocabulary=400) is None
    with torch.no_grad():
        model.layers[4].mlp.up_proj.weight[0, 0] = float("nan")
    assert values_fault(model, vocabulary=400) == "gives values that are not finite in float32"
