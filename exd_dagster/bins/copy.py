"""Copy a bin store to another place: from a file to a lake, and back."""

from contextlib import closing

import duckdb

from exd_dagster.bins.places import Place
from exd_dagster.bins.places.turns import transaction
from exd_dagster.bins.store.schema import make_view
from exd_dagster.bins.store.store import BinStore
from exd_dagster.errors import StoreError
from exd_dagster.telemetry.records import ident


def copy_store(source: Place, target: Place) -> dict[str, int]:
    """Copy every table of a store, all or nothing: bins, exposures, what was read, `flag_trust`, the ledger.

    Args:
        source: the store; an older format is migrated first.
        target: where no store is yet.

    Returns:
        The rows of each table.

    Raises:
        StoreError: when one of them cannot be opened or written, there is none to copy, or one there already.
    """
    with closing(source.connect(read_only=True)) as connection:
        if not _tables(connection):
            raise StoreError(f"{source.address} has no bin store; correct where to copy from")
    with closing(source.connect()) as connection:
        BinStore(connection)
        own = _tables(connection)
        there = target.attach(connection, "exd_copy")
        here = ".".join(
            map(ident, connection.execute("SELECT current_database(), current_schema()").fetchall()[0])
        )
        connection.execute(f"USE {there}")
        if _tables(connection):
            raise StoreError(
                f"{target.address} has a bin store already; nothing was changed, give another place"
            )
        try:
            with transaction(connection):
                for table in own:
                    connection.execute(f"CREATE TABLE {ident(table)} AS FROM {here}.{ident(table)}")
                make_view(connection)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"{target.address} cannot be written: {reason}\nNothing was changed") from error
        return {table: _rows(connection, table) for table in own}


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    query = (
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() "
        "AND schema_name = current_schema() "
        "AND (starts_with(table_name, 'exd_') OR table_name IN ('flag_trust', 'incident_ledger')) "
        "ORDER BY table_name"
    )
    return [name for (name,) in connection.execute(query).fetchall()]


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {ident(table)}").fetchall()
    return int(rows)
