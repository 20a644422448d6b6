"""Decisions by people in Dagster: the asset that records them, and the sensor that applies them."""
