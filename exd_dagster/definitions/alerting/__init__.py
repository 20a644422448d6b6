"""Alerting in Dagster: the sensor, what it watches, and the destinations."""
