"""A bin store in a DuckLake: a catalog in a database, data as Parquet in a folder or on object storage."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import duckdb

from exd_dagster.bins.places.file import is_locked
from exd_dagster.bins.places.turns import again
from exd_dagster.errors import StoreError
from exd_dagster.telemetry.extensions import STORAGES, load_extension, reach_storage
from exd_dagster.telemetry.records import ident, literal

LAKE = "ducklake:"
RETENTION = timedelta(days=7)
MOST_FILES = 100
"""Files of one table that are worth merging."""
INLINED = 1000
"""Rows that are written into the catalog instead of a file of their own."""

_MADE_TWICE = ("duplicate key", "already exists")
"""What PostgreSQL says to the second of two workers that make a lake at once."""

_SCANNERS = {"postgres": "postgres_scanner", "sqlite": "sqlite_scanner"}


@dataclass(frozen=True, slots=True)
class LakePlace:
    """A lake that several workers write to.

    Attributes:
        catalog: `postgres:dbname=... host=...` (or a postgresql:// address), `sqlite:<file>`, or the path of
            a DuckDB file, which one process at a time may open.
        data_path: folder or URL of the data; "" for a lake that exists, whose catalog knows it.
        schema: schema of the store, made if it is not there.
        retention: how long earlier states, and the files that only they need, are kept; None: as the lake
            has it.
        setup: SQL to run before the lake is attached, such as `CREATE SECRET`.
        config: DuckDB's settings.
    """

    catalog: str
    data_path: str = ""
    schema: str = "main"
    retention: timedelta | None = None
    setup: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The catalog, without its password, and the schema if it has another than main."""
        schema = "" if self.schema == "main" else f", schema {self.schema}"
        return without_password(LAKE + self.catalog) + schema if self.catalog else ""

    def connect(self, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        """See `Place`."""
        connection = duckdb.connect(config=dict(self.config))
        try:
            schema = self.attach(connection, "exd", read_only=read_only)
            connection.execute(f"USE {schema}")
        except BaseException:
            connection.close()
            raise
        return connection

    def attach(self, connection: duckdb.DuckDBPyConnection, name: str, *, read_only: bool = False) -> str:
        """See `Place`."""
        kind = self._catalog.partition(":")[0]
        load_extension(connection, "ducklake")
        if kind in _SCANNERS:
            load_extension(connection, _SCANNERS[kind])
        try:
            connection.execute("".join(f"{statement};" for statement in self.setup))
            reach_storage(connection, self.data_path, secrets=not self.setup)
            options = [f"DATA_PATH {literal(self.data_path)}"] if self.data_path else []
            options.append("READ_ONLY" if read_only else f"DATA_INLINING_ROW_LIMIT {INLINED}")
            attached = f"ATTACH {literal(LAKE + self._catalog)} AS {ident(name)} ({', '.join(options)})"
            if kind == "sqlite" and not read_only:
                _let_readers_and_writers_work_together(self._catalog.partition(":")[2])
            again(lambda: _attach(connection, attached), _MADE_TWICE)
            reach_storage(connection, data_path(connection, name), secrets=not self.setup)
            if not read_only:
                again(lambda: self._keep(connection, name))
        except (duckdb.Error, OSError) as error:
            raise StoreError(_cannot_open(self, error)) from None
        return f"{ident(name)}.{ident(self.schema)}"

    def page(self, name: str) -> str:
        """See `Place`; beside the folder of the data, which is DuckLake's own."""
        scheme, sign, path = (self.data_path or self.catalog.partition(":")[2]).rpartition("://")
        folder = PurePosixPath(path)
        return f"{scheme}{sign}{folder.parent if len(folder.parts) > 1 else folder}/{name}"

    @property
    def _catalog(self) -> str:
        if re.match("postgres(ql)?://", self.catalog):
            return f"postgres:{self.catalog}"
        return self.catalog

    def _keep(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        schemas = "SELECT count(*) FROM duckdb_schemas() WHERE database_name = ? AND schema_name = ?"
        if connection.execute(schemas, [name, self.schema]).fetchall() == [(0,)]:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(name)}.{ident(self.schema)}")
        if self.retention is None:
            return
        wanted = f"{self.retention.total_seconds():.0f} seconds"
        query = "SELECT value FROM ducklake_options(?) WHERE option_name = 'expire_older_than'"
        if connection.execute(query, [name]).fetchall() != [(wanted,)]:
            connection.execute(
                f"CALL ducklake_set_option({literal(name)}, 'expire_older_than', {literal(wanted)})"
            )


def _attach(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    try:
        connection.execute(statement)
    except duckdb.Error as error:
        needed = [name for name in STORAGES if f"'{name}'" in str(error)]
        if not needed:
            raise
        load_extension(connection, needed[0])  # only the catalog knows where the data are
        connection.execute(statement)


def data_path(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return where the data of an attached lake are."""
    query = "SELECT value FROM ducklake_options(?) WHERE option_name = 'data_path'"
    return "".join(value for (value,) in connection.execute(query, [name]).fetchall())


def without_password(text: str) -> str:
    """Return a text, such as an error, without the passwords of addresses in it."""
    text = re.sub(r"(?i)\b(password|motherduck_token)\s*=\s*('[^']*'|[^\s;&]+)", r"\1=...", text)
    return re.sub(r"(?<=://)([^/\s:@]*):[^@\s]*@", r"\1:...@", text)


def tidy(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Expire snapshots older than the lake's retention, merge small files and delete unused ones.

    Done about once a day, or when a table has more than `MOST_FILES` files; returns whether it was.

    Args:
        connection: outside a transaction, by the only writer of bins.
        name: of the lake.
    """
    quoted = literal(name)
    options = dict(
        connection.execute(f"SELECT option_name, value FROM ducklake_options({quoted})").fetchall()
    )
    kept = literal(options.get("expire_older_than", f"{RETENTION.total_seconds():.0f} seconds"))
    overdue = f"min(snapshot_time) < now() - INTERVAL {kept} - INTERVAL 1 DAY"
    due = f"SELECT {overdue} FROM ducklake_snapshots({quoted})"
    many = f"SELECT max(file_count) > {MOST_FILES} FROM ducklake_table_info({quoted})"
    if not any(row == (True,) for query in (due, many) for row in connection.execute(query).fetchall()):
        return False
    for step in (
        f"CALL ducklake_expire_snapshots({quoted}, older_than => now() - INTERVAL {kept})",
        f"CALL ducklake_flush_inlined_data({quoted})",
        f"CALL ducklake_rewrite_data_files({quoted})",
        f"CALL ducklake_merge_adjacent_files({quoted})",
        f"CALL ducklake_cleanup_old_files({quoted}, older_than => now() - INTERVAL 1 DAY)",
        # of runs that were killed
        f"CALL ducklake_delete_orphaned_files({quoted}, older_than => now() - INTERVAL 7 DAY)",
    ):
        connection.execute(step).fetchall()
    return True


def _let_readers_and_writers_work_together(file: str) -> None:
    import sqlite3

    with sqlite3.connect(file, timeout=30) as catalog:
        catalog.execute("PRAGMA journal_mode = WAL")
    catalog.close()


def _cannot_open(place: LakePlace, error: Exception) -> str:
    reason = without_password((str(error).splitlines() or [type(error).__name__])[0])
    if is_locked(error):
        return (
            f"{place.address} is in use by another process ({reason}); a catalog in a DuckDB file takes one "
            "at a time: wait for it, or keep the catalog in PostgreSQL or SQLite"
        )
    if "DATA_PATH" in str(error):
        return f"{place.address} cannot be opened: {reason}; give the data_path it was made with, or none"
    return f"{place.address} cannot be opened: {reason}; correct catalog and data_path, or start its database"
