"""A bin store in a DuckDB file, or in MotherDuck, which DuckDB opens like a file."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from exd_dagster.errors import StoreError
from exd_dagster.telemetry.extensions import load_extension
from exd_dagster.telemetry.records import ident, literal
from exd_dagster.telemetry.sources.files import is_sqlite

MOTHERDUCK = "md:"


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A DuckDB file that one process at a time may open, or a database of MotherDuck.

    Attributes:
        database: path, or `md:<database>`.
        config: DuckDB's settings.
    """

    database: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The path, without what follows it in an address of MotherDuck, which may be a token."""
        return self.database.partition("?")[0] if self.database.startswith(MOTHERDUCK) else self.database

    def connect(self, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        """See `Place`."""
        refuse_sqlite(self.database)
        try:
            return duckdb.connect(self.database, read_only=read_only, config=dict(self.config))
        except (duckdb.Error, RuntimeError) as error:
            raise StoreError(cannot_open(self.database, error)) from error

    def attach(self, connection: duckdb.DuckDBPyConnection, name: str) -> str:
        """See `Place`."""
        refuse_sqlite(self.database)
        try:
            if self.database.startswith(MOTHERDUCK):
                load_extension(connection, "motherduck")
                connection.execute(f"ATTACH {literal(self.database)}")
                return ident(self.address.removeprefix(MOTHERDUCK) or "my_db") + ".main"
            connection.execute(f"ATTACH {literal(self.database)} AS {ident(name)}")
        except (duckdb.Error, RuntimeError) as error:
            raise StoreError(cannot_open(self.database, error)) from error
        return f"{ident(name)}.main"

    def page(self, name: str) -> str:
        """See `Place`."""
        return str(Path(self.database).with_name(name))


def refuse_sqlite(file: str) -> None:
    """Refuse a database of SQLite before DuckDB fetches an extension over the network to open it.

    Raises:
        StoreError: when the file is one.
    """
    if is_sqlite(file):
        raise StoreError(f"{file} is a database of SQLite; the bin store is a DuckDB file, give another path")


def is_locked(error: Exception) -> bool:
    """Return whether the store is locked by another process, so that waiting can help."""
    reason = str(error).lower()
    return any(sign in reason for sign in ("set lock on file", "conflicting lock", "used by another process"))


def cannot_open(file: str, error: Exception) -> str:
    """Return the error for a store that cannot be opened, with the fix."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    cannot = f"{file} cannot be opened: {reason}"
    low, path = reason.replace(file, "").lower(), Path(file)
    if is_locked(error):
        return f"{file} is in use by another process ({reason}); wait for it, or stop it, and run again"
    if "version number" in low or "newer version" in low or "storage version" in low:
        return (
            f"{file} was written by another version of DuckDB than the {duckdb.__version__} installed here "
            f"({reason}); install the version that wrote it, or give a new store and materialize again"
        )
    with suppress(OSError, ValueError):
        if path.is_dir():
            return f"{file} is a folder; give the path of a file, for example {path / 'exd.duckdb'}"
        if path.parent.exists() and not path.parent.is_dir():
            return f"{file} cannot be opened: {path.parent} is a file, not a folder; give another path"
        if not file.startswith((":", "md:")) and not path.parent.is_dir():
            return f"{file} cannot be opened: its folder does not exist; create {path.parent}"
    if "does not exist" in low:
        return f"{file} does not exist; correct the path, or materialize the bins first"
    if "permission" in low or "read-only" in low or "read only" in low:
        return f"{cannot}; let this user write the file and its folder, or give another path"
    if "corrupt" in low or "checksum" in low:
        return f"{cannot}; restore a copy of it, or give a new store and materialize the bins again"
    return f"{file} cannot be opened as a DuckDB database: {reason}; give another path"
