"""The LLM2Vec recipe: what is masked, and the losses that are minimised."""

from __future__ import annotations

from searchapp.adapt.objectives.losses import info_nce, mntp_loss
from searchapp.adapt.objectives.masking import Masked, mask_tokens

__all__ = ["Masked", "info_nce", "mask_tokens", "mntp_loss"]
