"""The table `exd_carried`: per flag, the states from which its checks go on in the next night.

It lies beside the bins, and nothing but time is lost with it: what a state was computed from is compared with
the bins and the configuration before it is used (`stats.carried`).
"""

import duckdb
import numpy as np

from exd_dagster.bins.rows import insert_rows
from exd_dagster.config import FlagId
from exd_dagster.stats.carried import Carried, State

_CREATE = """
CREATE TABLE IF NOT EXISTS exd_carried (namespace VARCHAR, environment VARCHAR, flag_key VARCHAR,
    name VARCHAR, through BIGINT, fingerprint VARCHAR, state BLOB)
"""
_OF_FLAG = "FROM exd_carried WHERE namespace = ? AND environment = ? AND flag_key = ?"


def read_carried(connection: duckdb.DuckDBPyConnection, flag: FlagId) -> Carried:
    """Return the states of a flag; none before its first audit."""
    query, key = f"SELECT name, through, fingerprint, state {_OF_FLAG}", [*flag.columns.values()]
    try:
        rows = connection.execute(query, key).fetchall()
    except duckdb.CatalogException:  # no such table yet
        return Carried()
    return Carried(
        {name: State(through, print_, np.frombuffer(state)) for name, through, print_, state in rows}
    )


def write_carried(connection: duckdb.DuckDBPyConnection, flag: FlagId, carried: Carried) -> None:
    """Write what an evaluation saved, inside the caller's transaction; states it had no use for are dropped.

    Nothing is written where nothing was saved, as in most hours of a day.
    """
    if not carried.saved:
        return
    key = [*flag.columns.values()]
    connection.execute(_CREATE)
    connection.execute(f"DELETE {_OF_FLAG}", key)
    kept = {name: state for name, state in carried.known.items() if name in carried.used}
    rows = [
        (*key, name, state.through, state.fingerprint, state.values.tobytes())
        for name, state in (kept | carried.saved).items()
    ]
    insert_rows(connection, "exd_carried", rows)
