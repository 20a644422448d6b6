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
from exd_dagster.telemetry.sources.lakehouse import DeltaRecords, IcebergRecords

RECORDS: dict[str, type[Records]] = {
    "parquet": ParquetRecords,
    "files": FileRecords,
    "table": TableRecords,
    "delta": DeltaRecords,
    "iceberg": IcebergRecords,
}
"""Sources of records by their `type` in YAML."""

__all__ = [
    "RECORDS",
    "DataFrameRecords",
    "DeltaRecords",
    "FileRecords",
    "IbisRecords",
    "IcebergRecords",
    "ParquetRecords",
    "Records",
    "TableRecords",
    "as_records",
]
