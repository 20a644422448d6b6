"""Bins, trust and verdicts in a warehouse, beside the reports that use them."""
