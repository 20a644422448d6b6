"""A bin store in a DuckLake (marker `lake`), with a DuckDB whose extensions are packages: `make lake`."""
