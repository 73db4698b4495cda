"""Small Llama decoders in NumPy: an encoder that is there in a tenth of a second, without torch and transformers.

Importing these takes longer than a search. What is known to give the vectors that the full path gives is done here; all
else is refused by ``NotLightError``, whose text says what it is, and loaded the usual way. So every key of a
``config.json`` or ``tokenizer_config.json`` that is not known makes a model one for the full path.
"""

from __future__ import annotations

from searchapp.encoder.light.backend import NumpyBackend
from searchapp.encoder.light.load import LightParts, light_parts, light_refusal
from searchapp.encoder.light.refusal import NotLightError

__all__ = ["LightParts", "NotLightError", "NumpyBackend", "light_parts", "light_refusal"]
