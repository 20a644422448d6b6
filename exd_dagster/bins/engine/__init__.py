"""Counting in the engine of the records."""

from exd_dagster.bins.engine.count import EngineLog

__all__ = ["EngineLog"]
