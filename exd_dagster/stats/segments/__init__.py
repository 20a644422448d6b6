"""Faults of a segment: one value of one dimension whose units are not split as declared."""
