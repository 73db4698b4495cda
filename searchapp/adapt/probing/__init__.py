"""What a model knows of single words: labelled sentences, vectors of words, a linear probe."""

from __future__ import annotations
