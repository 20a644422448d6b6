"""Audit feature-flag rollouts and experiments in Dagster."""
