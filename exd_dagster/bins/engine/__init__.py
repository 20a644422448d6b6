"""Counting in the engine that holds the records."""

from exd_dagster.bins.engine.count import EngineLog

__all__ = ["EngineLog"]
