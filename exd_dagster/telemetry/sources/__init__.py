"""Where evaluation records are read from: DuckDB for files, tables and frames, Ibis for other engines."""

from exd_dagster.telemetry.sources.duckdb import (
    DataFrameRecords,
    FileRecords,
    IbisRecords,
    ParquetRecords,
    Records,
    TableRecords,
    as_records,
)

__all__ = [
    "DataFrameRecords",
    "FileRecords",
    "IbisRecords",
    "ParquetRecords",
    "Records",
    "TableRecords",
    "as_records",
]
