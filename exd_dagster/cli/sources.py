"""`--source` values -> one readable log: paths, globs, prefixes and URLs of files, and DuckDB tables."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import click
import duckdb
from pydantic import Field

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import Scan
from exd_dagster.telemetry.sources import Records, TableRecords, as_records, describe
from exd_dagster.telemetry.text import text_format

TABLE = "flag_evaluations"
"""exd's name of the warehouse table."""

_DATABASES = (".duckdb", ".ddb", ".db")


class MergedRecords(Records):
    """Several logs of different kinds, read as one; columns are matched by name."""

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
        """Open every part and stack them; see `Records.open`."""
        with ExitStack() as stack:
            scans = [stack.enter_context(part.open(connection, start, end, extras)) for part in self.parts]
            union = " UNION ALL BY NAME ".join(f"FROM {scan.relation}" for scan in scans)
            relation = f"({union})"
            unreadable = tuple(line for scan in scans for line in scan.unreadable)
            yield Scan(self.place, relation, describe(connection, relation, self.place), unreadable)


def read_sources(uris: Sequence[str]) -> Records:
    """Return the log that `--source` names, once or several times.

    Raises:
        click.UsageError: when no source is named.
        RecordsError: when a source is none we can read.
    """
    if not uris:
        raise click.UsageError(
            "say where the records are: --source 'logs/*.parquet' (Parquet, NDJSON, CSV, a DuckDB file, s3://...)."
        )
    tables: list[Records] = []
    texts: list[str] = []
    parquets: list[str] = []
    for uri in uris:
        place = _expanded(uri.removeprefix("file://"))
        if _database(place):
            tables.append(_table(place))
        else:
            (texts if text_format(place) else parquets).append(place)
    parts = tables + [as_records(places) for places in (*_by_format(texts), parquets) if places]
    return parts[0] if len(parts) == 1 else MergedRecords(parts=tuple(parts))


def _expanded(place: str) -> str:
    """A directory or a prefix stands for the Parquet files under it, or else its NDJSON."""
    if place.endswith("/") and "://" in place:
        return f"{place}**/*.parquet"
    root = Path(place)
    if not root.is_dir():
        return place
    for ending in ("parquet", "ndjson", "ndjson.gz", "jsonl", "csv", "csv.gz"):
        if next(root.rglob(f"*.{ending}"), None):
            return f"{root}/**/*.{ending}"
    raise RecordsError(
        f"no Parquet, NDJSON or CSV file lies under {place}; pass a glob, for example '{place}/*'"
    )


def _database(place: str) -> bool:
    return place.partition(":")[0].endswith(_DATABASES) if "://" not in place else False


def _table(place: str) -> TableRecords:
    database, _, table = place.partition(":")
    return TableRecords(database=database, table=table or TABLE)


def _by_format(places: Sequence[str]) -> list[list[str]]:
    groups: dict[str | None, list[str]] = {}
    for place in places:
        groups.setdefault(text_format(place), []).append(place)
    return list(groups.values())
