"""`--source` values -> one readable log: paths, globs, prefixes and URLs of files, and DuckDB tables."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import duckdb
from pydantic import Field

from exd_dagster.cli.telemetry.finding import redacted
from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.preset import Row
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED, Scan
from exd_dagster.telemetry.sources.base import describe
from exd_dagster.telemetry.sources.duckdb import (
    FileRecords,
    IbisRecords,
    ParquetRecords,
    Records,
    TableRecords,
)
from exd_dagster.telemetry.sources.text import text_format

TABLE = "flag_evaluations"
"""exd's name of the warehouse table."""

COLUMNS = (*REQUIRED, *OPTIONAL)
_DATABASES = (".duckdb", ".ddb", ".db")


class MergedRecords(Records):
    """Several logs of different kinds, read as one under exd's names."""

    parts: tuple[Records, ...] = Field(description="The logs.")

    @property
    def place(self) -> str:
        """Every part's place."""
        return ", ".join(part.place for part in self.parts)

    @contextmanager
    def open(
        self,
        connection: duckdb.DuckDBPyConnection,
        start: datetime,
        end: datetime,
        extras: Sequence[str] = (),
    ) -> Iterator[Scan]:
        """Open every part, find its columns and stack them; see `Records.open`."""
        with ExitStack() as stack:
            parts = [
                stack.enter_context(part.resolved(connection, start, end, extras)) for part in self.parts
            ]
            relation = f"({' UNION ALL BY NAME '.join(part.select() for part in parts)})"
            unreadable = tuple(line for part in parts for line in part.scan.unreadable)
            yield Scan(self.place, relation, describe(connection, relation, self.place), unreadable)

    def sample(
        self, connection: duckdb.DuckDBPyConnection, start: datetime, end: datetime
    ) -> Mapping[str, Sequence[Row]]:
        """Return some rows of every part; see `Records.sample`."""
        return {
            file: rows for part in self.parts for file, rows in part.sample(connection, start, end).items()
        }


def read_sources(
    uris: Sequence[str],
    columns: Sequence[str] = (),
    constants: Sequence[str] = (),
    engine: str = "duckdb",
    preset: str | None = None,
    unit: str | None = None,
) -> Records:
    """Return the log that `--source` names, once or several times.

    Args:
        uris: files, globs, folders, URLs and DuckDB files.
        columns: `exd's name=own name` of columns that are named otherwise.
        constants: `exd's name=value` of columns the log does not have.
        engine: where the counting is done; another than duckdb reads one table.
        preset: the vendor or SDK whose export it is.
        unit: which of the preset's units is randomized.

    Raises:
        click.UsageError: when no source is named, or a pair cannot be read.
        RecordsError: when a source is none we can read.
    """
    if not uris:
        raise click.UsageError(
            "give the records: --source 'logs/*.parquet' (Parquet, NDJSON, CSV, a DuckDB file, s3://...)."
        )
    named: dict[str, Any] = {
        "columns": read_pairs(columns, "--column"),
        "constants": read_pairs(constants, "--constant"),
        "preset": preset,
        "unit": unit,
    }
    if engine != "duckdb":
        return _engine_table(engine, uris, named)
    files: dict[str | None, list[str]] = {}
    parts: list[Records] = []
    for uri in uris:
        place = _expanded(uri.removeprefix("file://"))
        if _database(place):
            database, _, table = place.partition(":")
            parts.append(TableRecords(database=database, table=table or TABLE, **named))
        else:
            files.setdefault(text_format(place), []).append(place)
    for kind, paths in files.items():
        source = ParquetRecords if kind is None else FileRecords
        parts.append(source(path=tuple(paths), **named))
    return parts[0] if len(parts) == 1 else MergedRecords(parts=tuple(parts))


def _engine_table(engine: str, uris: Sequence[str], named: dict[str, Any]) -> IbisRecords:
    if len(uris) != 1 or "://" not in uris[0]:
        raise click.UsageError(
            f"--engine {engine} reads one table: --source '{engine}://user@host/database#{TABLE}'."
        )
    try:
        import ibis
    except ImportError:
        raise click.UsageError(
            f"--engine {engine} needs Ibis and its driver; install 'ibis-framework[{engine}]'."
        ) from None
    address, _, table = uris[0].partition("#")
    database, _, name = (table or TABLE).rpartition(".")
    try:
        connection = ibis.connect(address)
    except Exception as error:
        raise RecordsError(
            f"{redacted(address)} cannot be opened: {redacted(str(error))}; --source is an address that "
            f"ibis.connect takes, with #{TABLE} for the table"
        ) from error
    return IbisRecords(connection=connection, table=name, database=database or None, **named)


def read_pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Read `exd's name=value` options.

    Raises:
        click.UsageError: for text of another form, or a name exd does not have.
    """
    pairs = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (sign and name in COLUMNS):
            hint = did_you_mean(name, COLUMNS)
            raise click.UsageError(f"{option} '{text}': write exd's name of a column, then =.{hint}")
        pairs[name] = value
    return pairs


def _expanded(place: str) -> str:
    """A directory or a prefix means the Parquet files under it, or else its NDJSON."""
    if place.endswith("/") and "://" in place:
        return f"{place}**/*.parquet"
    root = Path(place)
    if not root.is_dir():
        return place
    for ending in ("parquet", "ndjson", "ndjson.gz", "jsonl", "csv", "csv.gz"):
        if next(root.rglob(f"*.{ending}"), None):
            return f"{root}/**/*.{ending}"
    raise RecordsError(
        f"no Parquet, NDJSON or CSV file is under {place}; pass a glob, for example '{place}/*'"
    )


def _database(place: str) -> bool:
    return "://" not in place and place.partition(":")[0].endswith(_DATABASES)
