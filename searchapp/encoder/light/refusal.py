"""Why a model is not one for the light path."""

from __future__ import annotations


class NotLightError(Exception):
    """A model, or a way to run it, that the light path does not have; the text says why, as a phrase."""
