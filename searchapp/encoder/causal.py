"""A causal encoder is a baseline: that it really is causal is tested, as the opposite is."""

from __future__ import annotations

from searchapp.encoder.encoder import Encoder
from searchapp.encoder.probes import bidirectional_fault, pad_id
from searchapp.errors import ModelError


def require_causal(encoder: Encoder) -> None:
    """Raise ModelError when an encoder that was loaded as causal sees what follows: no baseline must be mislabelled."""
    config = encoder.model.config
    if not encoder.settings.bidirectional and not bidirectional_fault(
        encoder.model, vocabulary=config.vocab_size, pad=pad_id(config), whole=True
    ):
        raise ModelError(
            f"{encoder.checkpoint.name} was to be causal and still sees what follows: it is bidirectional by nature, "
            "or its config.json has is_causal false; measure the model it was made from, or a copy without that entry"
        )
