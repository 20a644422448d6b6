"""Bins to verdicts: pure numpy and scipy, no input or output."""
