"""The table `incident_ledger`: one row per incident and check, kept after alerting has forgotten it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import duckdb

from exd_dagster.alerts.policy.ledger import LedgerRow
from exd_dagster.bins.places.turns import in_turn, transaction
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
    shown = ", ".join(f"epoch_us({name}) AS {name}" for name in _INSTANTS)
    try:
        found = connection.execute(
            f"SELECT * REPLACE ({shown}) FROM incident_ledger ORDER BY opened_at, incident, check_name"  # noqa: S608
        )
    except duckdb.CatalogException:  # no such table yet
        return []
    names = [name for name, *_ in found.description or ()]
    return [_row(dict(zip(names, record, strict=True))) for record in found.fetchall()]


def _values(row: LedgerRow) -> Sequence[Any]:
    flag = row.flag
    scope = {"namespace": flag.namespace, "environment": flag.environment, "flag_key": flag.key}
    known = {**scope, "check_name": row.check}
    return [known[name] if name in known else getattr(row, name) for name in _COLUMNS]


def _row(record: dict[str, Any]) -> LedgerRow:
    def instant(name: str) -> datetime | None:
        micros = record[name]
        return None if micros is None else datetime.fromtimestamp(micros / 1e6, timezone.utc)

    known: dict[str, Any] = {name: instant(name) for name in _INSTANTS}
    known |= {name: record[name] or "" for name in _TEXTS}
    return LedgerRow(
        incident=record["incident"],
        flag=FlagId(record["namespace"], record["environment"], record["flag_key"]),
        check=record["check_name"],
        blocked=bool(record["blocked"]),
        **known,
    )
