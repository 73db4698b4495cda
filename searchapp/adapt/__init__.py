"""The LLM2Vec recipe: what is masked, and the losses that are minimised.

All names are imported when first touched, so that the settings of ``config`` stay cheap to read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchapp.adapt.objectives.losses import info_nce, mntp_loss
    from searchapp.adapt.objectives.masking import Masked, mask_tokens

__all__ = ["Masked", "info_nce", "mask_tokens", "mntp_loss"]
_MODULES = {"Masked": "masking", "info_nce": "losses", "mask_tokens": "masking", "mntp_loss": "losses"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"searchapp.adapt.objectives.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'searchapp.adapt' has no attribute {name!r}")
