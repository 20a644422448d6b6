"""Writing where other workers write too: in turn, and once more after a conflict.

A DuckDB file has one process at a time. In a lake, whose catalog is in PostgreSQL or SQLite, a writer waits
for a lock of the catalog's database, which the death of its process releases. What changes without a lock (a
person's SQL, a commit to other tables) may still conflict: DuckLake refuses the later commit, nothing is
written and the work is done again from what is there now.
"""

import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, TypeAlias, TypeVar

import duckdb

from exd_dagster.errors import StoreError

What: TypeAlias = Literal["bins", "trust", "ledger", "schema"]
"""What is written; each has a lock of its own."""

MOST_ATTEMPTS = 8
LONGEST_WAIT = 3600.0
"""Seconds that a writer waits for others."""

_CONFLICT = ("conflict", "database is locked", "could not serialize", "deadlock detected")
_T = TypeVar("_T")
_log = logging.getLogger("exd_dagster")


class StoreBusyError(StoreError):
    """Another worker wrote to the store at the same time; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Database:
    """The database that a connection writes to.

    Attributes:
        kind: "duckdb", "ducklake" or "motherduck".
        name: its name in the connection.
        path: where it is; of a lake the catalog, possibly with a password.
        schema: the schema in use.
    """

    kind: str
    name: str
    path: str
    schema: str

    @property
    def shared(self) -> bool:
        """Whether other processes may write to it."""
        return self.kind != "duckdb"


def current(connection: duckdb.DuckDBPyConnection) -> Database:
    """Return the database that a connection writes to."""
    query = (
        "SELECT type, database_name, coalesce(path, ''), current_schema() FROM duckdb_databases() "
        "WHERE database_name = current_database()"
    )
    (row,) = connection.execute(query).fetchall()
    return Database(*row)


def in_turn(connection: duckdb.DuckDBPyConnection, what: What, work: Callable[[], _T]) -> _T:
    """Do work that writes, alone among the workers that write the same.

    Args:
        connection: the store.
        what: what it writes.
        work: begins and ends its own transaction; called again after a conflict.

    Raises:
        StoreError: when others write for too long, or at the same time without a lock again and again.
    """
    database = current(connection)
    if not database.shared:
        return work()
    with _turn(connection, database, what):
        return again(work)


def again(work: Callable[[], _T], also: Sequence[str] = ()) -> _T:
    """Do work, and after a conflict again; `also` are further signs of one in the text of an error."""
    for attempt in range(1, MOST_ATTEMPTS):
        try:
            return work()
        except (duckdb.Error, StoreBusyError) as error:
            if not is_conflict(error) and not any(sign in str(error).lower() for sign in also):
                raise
            time.sleep(random.uniform(0.1, 0.1 * 2**attempt))  # noqa: S311 - no secret
    return work()


def is_conflict(error: BaseException) -> bool:
    """Return whether another worker's write was the cause, so that doing it again can help."""
    text = str(error).lower()
    return isinstance(error, StoreBusyError) or any(sign in text for sign in _CONFLICT)


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # the failure itself may have ended the transaction
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _turn(connection: duckdb.DuckDBPyConnection, database: Database, what: What) -> Iterator[None]:
    kind, _, file = database.path.partition(":")
    if database.kind == "ducklake" and kind == "postgres":
        with connection.cursor() as other:  # a session of its own in PostgreSQL
            other.execute("BEGIN")
            number = int.from_bytes(sha256(f"{database.schema} {what}".encode()).digest()[:7], "big")
            catalog = f"__ducklake_metadata_{database.name}"
            ask = f"SELECT pg_try_advisory_xact_lock({number})"
            query = "SELECT * FROM postgres_query(?, ?)"
            _wait(lambda: other.execute(query, [catalog, ask]).fetchall() == [(True,)])
            yield
    elif database.kind == "ducklake" and kind == "sqlite":
        lock = sqlite3.connect(f"{file}.{what}-lock", timeout=0, isolation_level=None)
        try:
            _wait(lambda: _taken(lock))
            yield
        finally:
            lock.close()
    else:
        yield


def _taken(lock: sqlite3.Connection) -> bool:
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise StoreError(f"the lock beside the catalog cannot be taken: {error}") from error
        return False
    return True


def _wait(taken: Callable[[], bool]) -> None:
    pause, until = 0.05, time.monotonic() + LONGEST_WAIT
    while not taken():
        if pause == 0.05:
            _log.info("another run writes to the store; waiting for it to end")
        if time.monotonic() > until:
            raise StoreBusyError(
                f"another run has been writing to the store for {LONGEST_WAIT / 60:.0f} minutes\nNothing was "
                "changed; end that run if it hangs, and run again"
            )
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        pause = min(2 * pause, 2.0)
