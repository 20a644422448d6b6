"""Counting in the engine of the records."""

from exd_dagster.bins.engine.log import EngineLog

__all__ = ["EngineLog"]
