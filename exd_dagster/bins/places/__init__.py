"""Where a bin store may be: a DuckDB file, MotherDuck, or a DuckLake that several workers share."""

from exd_dagster.bins.places.place import Place, place_at

__all__ = ["Place", "place_at"]
