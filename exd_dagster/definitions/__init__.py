"""The Dagster layer: assets, checks, sensors, schedules, resources and jobs."""
