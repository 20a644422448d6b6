"""The bin store: counts in one DuckDB database, updated incrementally."""

from exd_dagster.bins.store.store import BinStore, open_store

__all__ = ["BinStore", "open_store"]
