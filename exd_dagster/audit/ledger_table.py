"""The table `incident_ledger`: one row per incident and check, kept after alerting has forgotten it."""

from collections.abc import Iterable, Sequence
from typing import Any

import duckdb

from exd_dagster.alerts.policy.ledger import LedgerRow
from exd_dagster.bins.places.turns import in_turn, transaction
from exd_dagster.bins.rows import read_rows
from exd_dagster.config import FlagId

_INSTANTS = (*("opened_at", "bad_from", "audited_through", "delivered_at", "acknowledged_at", "resolved_at"),)
_TEXTS = ("verdict", "cause", "answered_by", "note")
_COLUMNS = (
    *("incident", "check_name", "namespace", "environment", "flag_key"),
    *_INSTANTS,
    "blocked",
    *_TEXTS,
)
_CREATE = f"""
CREATE TABLE IF NOT EXISTS incident_ledger (
    incident VARCHAR, check_name VARCHAR, namespace VARCHAR, environment VARCHAR, flag_key VARCHAR,
    {", ".join(f"{name} TIMESTAMPTZ" for name in _INSTANTS)}, blocked BOOLEAN,
    {", ".join(f"{name} VARCHAR" for name in _TEXTS)}
)
"""
_NAMES, _PLACES = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
_WRITE = f"INSERT INTO incident_ledger ({_NAMES}) VALUES ({_PLACES})"  # noqa: S608

_FORGET = "DELETE FROM incident_ledger WHERE incident = ? AND check_name = ?"


def write_ledger(connection: duckdb.DuckDBPyConnection, rows: Iterable[LedgerRow]) -> None:
    """Write rows, new or over those of the same incident and check; others stay."""
    values = [_values(row) for row in rows]

    def write() -> None:
        with transaction(connection):
            connection.execute(_CREATE)
            if values:
                connection.executemany(_FORGET, [value[:2] for value in values])
                connection.executemany(_WRITE, values)

    in_turn(connection, "ledger", write)


def read_ledger(connection: duckdb.DuckDBPyConnection) -> list[LedgerRow]:
    """Return every row, oldest first; none before the first one was written."""
    rows = "FROM incident_ledger ORDER BY opened_at, incident, check_name"
    return [_row(record) for record in read_rows(connection, rows, _INSTANTS)]


def _values(row: LedgerRow) -> Sequence[Any]:
    known = {**row.flag.columns, "check_name": row.check}
    return [known[name] if name in known else getattr(row, name) for name in _COLUMNS]


def _row(record: dict[str, Any]) -> LedgerRow:
    known = {name: record[name] for name in _INSTANTS} | {name: record[name] or "" for name in _TEXTS}
    return LedgerRow(
        incident=record["incident"],
        flag=FlagId(record["namespace"], record["environment"], record["flag_key"]),
        check=record["check_name"],
        blocked=bool(record["blocked"]),
        **known,
    )
