"""Recipes: several stages of training in one TOML file, those that ship and those of users."""

from __future__ import annotations
