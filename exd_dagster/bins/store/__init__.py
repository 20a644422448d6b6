"""The bin store: what was counted, kept in one DuckDB database and brought up to date."""

from exd_dagster.bins.store.store import BinStore, open_store

__all__ = ["BinStore", "open_store"]
