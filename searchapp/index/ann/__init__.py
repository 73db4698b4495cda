"""Nearest neighbours: choice, training and search of FAISS indexes, reduction, calibration and rescoring."""

from __future__ import annotations
