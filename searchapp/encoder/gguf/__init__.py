"""GGUF files as checkpoints: one file holds weights, often quantised, configuration and tokenizer.

Read are the families, tensor types and tokenizers that are known here. Anything else is refused by name, for a file
that is read half right gives vectors, wrong ones.
"""

from __future__ import annotations

from searchapp.encoder.gguf.header import find_gguf, is_gguf

__all__ = ["find_gguf", "is_gguf"]
