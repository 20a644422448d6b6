"""What comes in: evaluation records, manifests and thresholds."""
