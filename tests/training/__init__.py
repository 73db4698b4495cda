"""Tests of the scripts that repeat the paper's ablation."""
