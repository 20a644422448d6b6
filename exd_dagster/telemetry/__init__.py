"""Inputs: evaluation records, manifests and thresholds."""
