"""The sizes of a Llama decoder, from a config.json of which every key is understood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from searchapp.encoder.light.refusal import NotLightError

# Numbers in the matrices of all layers. They are held in float32, four bytes each; a model with more is better off in
# torch, whose bfloat16 takes half of that, and where importing it is no longer most of the time (docs/log.md).
MOST = 150_000_000
# Keys that change no hidden state of a decoder that is run forward, with a mask of its own, in float32.
SILENT = {
    "_name_or_path", "architectures", "attention_dropout", "bos_token_id", "dtype", "eos_token_id",
    "initializer_range", "is_causal", "model_type", "pretraining_tp", "tie_word_embeddings", "torch_dtype",
    "transformers_version", "use_cache",
}  # fmt: skip
# Keys that are understood with these values alone: what an absent key stands for, among them.
FIXED: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "hidden_act": ("silu", "swish"),
    "mlp_bias": (False,),
    "rope_scaling": (None,),
}
SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings",
)  # fmt: skip
READ = {"num_key_value_heads", "head_dim", "rms_norm_eps", "pad_token_id", "rope_theta", "rope_parameters", *SIZES}


@dataclass(frozen=True)
class LlamaShape:
    """``heads`` attend, in groups that share one of ``shared`` keys and values, each of ``head`` numbers.

    The fields with longer names are config.json's, by which the encoder reads a configuration.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    max_position_embeddings: int
    heads: int
    shared: int
    head: int
    epsilon: float
    theta: float
    model_type: ClassVar[str] = "llama"
    _attn_implementation: ClassVar[str] = "numpy"  # where transformers keeps the name of the attention kernel

    @property
    def parameters(self) -> int:
        """Numbers in the matrices of all layers; the embeddings are read row by row and do not count."""
        attention = self.hidden_size * self.head * 2 * (self.heads + self.shared)
        return self.num_hidden_layers * (attention + 3 * self.hidden_size * self.intermediate_size)


def read_shape(config: dict[str, Any]) -> LlamaShape:
    """The sizes that a config.json gives. Raises NotLightError for what is not known to be handled."""
    if config.get("model_type") != "llama":
        raise NotLightError(f"it is a {config.get('model_type')!r} model, not a Llama")
    for key, value in config.items():
        if key not in SILENT and key not in READ and value not in FIXED.get(key, ()):
            raise NotLightError(f"its config.json sets {key} to {value!r:.60}")
    sizes = {key: _size(config, key, config.get(key)) for key in SIZES}
    heads = sizes.pop("num_attention_heads")
    shared = _size(config, "num_key_value_heads", config.get("num_key_value_heads") or heads)
    head = _size(config, "head_dim", config.get("head_dim") or sizes["hidden_size"] // heads)
    epsilon = config.get("rms_norm_eps", 1e-6)
    if heads % shared or sizes["hidden_size"] % heads or head % 2 or not isinstance(epsilon, float):
        raise NotLightError("the sizes in its config.json do not fit together")
    pad = config.get("pad_token_id")
    if pad is not None and not (isinstance(pad, int) and 0 <= pad < sizes["vocab_size"]):
        raise NotLightError(f"its config.json sets pad_token_id to {pad!r:.60}")
    shape = LlamaShape(heads=heads, shared=shared, head=head, epsilon=epsilon, theta=_theta(config), **sizes)
    if shape.parameters > MOST:
        raise NotLightError(f"its layers have {shape.parameters / 1e6:,.0f} million parameters, above {MOST // 10**6}")
    return shape


def _size(config: dict[str, Any], key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise NotLightError(f"its config.json gives {config.get(key)!r:.60} as {key}")
    return value


def _theta(config: dict[str, Any]) -> float:
    """The base of the rotary positions, as transformers 5 writes it, or as it was written before."""
    rope, theta = config.get("rope_parameters"), config.get("rope_theta")
    if rope is not None:
        if not isinstance(rope, dict) or set(rope) - {"rope_theta", "rope_type"} or theta is not None:
            raise NotLightError(f"its config.json sets rope_parameters to {rope!r:.60}")
        if rope.get("rope_type", "default") != "default":
            raise NotLightError(f"its rotary positions are of type {rope['rope_type']!r:.60}")
        theta = rope.get("rope_theta")
    elif theta is None:
        theta = 10_000.0
    if not isinstance(theta, int | float) or isinstance(theta, bool) or theta <= 1:
        raise NotLightError(f"its config.json gives {theta!r:.60} as rope_theta")
    return float(theta)
