"""The table `flag_trust`: one row per flag, environment and iteration, for reports over many flags to join.

    SELECT m.* FROM metrics m JOIN flag_trust t USING (flag_key) WHERE t.trusted

It is in the schema of the bin store and is updated by the checks themselves, in the same
step in which they answer, so that it is never older than the checks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import duckdb

from exd_dagster.audit.carried_table import write_carried
from exd_dagster.audit.trust_row import TrustRow
from exd_dagster.bins.places.turns import in_turn, transaction
from exd_dagster.bins.rows import read_rows
from exd_dagster.config import FlagAudit, FlagId, floor_hour
from exd_dagster.stats.carried import Carried

_KEY = ("namespace", "environment", "flag_key", "iteration_start")
_ADDED = dict.fromkeys(("usable_without", "collides_with", "off_reports"), "VARCHAR[]")
"""Columns that a table of an earlier version lacks."""
_COLUMNS = {
    "namespace": "VARCHAR",
    "environment": "VARCHAR",
    "flag_key": "VARCHAR",
    "iteration_start": "TIMESTAMPTZ",
    "trusted": "BOOLEAN",
    "sentence": "VARCHAR",
    "mode": "VARCHAR",
    "failing": "VARCHAR[]",
    "since": "TIMESTAMPTZ",
    "usable_until": "TIMESTAMPTZ",
    "audited_through": "TIMESTAMPTZ",
    "contained": "BOOLEAN",
    "waived_by": "VARCHAR",
    "waived_until": "TIMESTAMPTZ",
    "discovery": "BOOLEAN",
    "owners": "VARCHAR[]",
    "run_id": "VARCHAR",
    "log_e_value": "DOUBLE",
    "picture": "VARCHAR",
    **_ADDED,
}
"""Type of each column, the key first."""
_VALUES = [*_COLUMNS][len(_KEY) :]
_LISTS = [name for name, kind in _COLUMNS.items() if kind == "VARCHAR[]"]
_INSTANTS = [name for name, kind in _COLUMNS.items() if kind == "TIMESTAMPTZ"]
_CREATE = f"CREATE TABLE IF NOT EXISTS flag_trust ({', '.join(map(' '.join, _COLUMNS.items()))})"
_ADD = " ".join(
    f"ALTER TABLE flag_trust ADD COLUMN IF NOT EXISTS {name} {kind};" for name, kind in _ADDED.items()
)
_FIELDS = frozenset(field.name for field in fields(TrustRow))
_OF_KEY = " AND ".join(f"{name} = ?" for name in _KEY)
_INSERT = f"INSERT INTO flag_trust ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_UPDATE = f"UPDATE flag_trust SET {', '.join(f'{name} = ?' for name in _VALUES)} WHERE {_OF_KEY}"  # noqa: S608


@dataclass(frozen=True, slots=True)
class TrustEntry:
    """A row of the table: what the page shows, the run that gave it, and the evidence e-BH ranks.

    Attributes:
        row: the flag's standing.
        run_id: the Dagster run.
        log_e_value: ln E of the sequential test now; None where it was not computed.
    """

    row: TrustRow
    run_id: str = ""
    log_e_value: float | None = None


def not_checked_entry(
    flag: FlagAudit, entries: Sequence[TrustEntry], *, reason: str, run_id: str, at: datetime
) -> TrustEntry:
    """Return the flag's newest row as "not checked": what was known before stays, the answer does not.

    Args:
        flag: the flag.
        entries: its rows, by iteration.
        reason: why there is no answer.
        run_id: the run that gave none.
        at: when that was (UTC).
    """
    first = TrustRow(flag=flag.id, iteration_start=floor_hour(flag.start), trusted=None, sentence=reason)
    row = replace(
        entries[-1].row if entries else first,
        trusted=None,
        sentence=reason,
        mode=flag.mode,
        failing=(),
        usable_without=(),
        since=at,
        waived_by=None,
        waived_until=None,
        owners=flag.owners,
        picture="",
    )
    return TrustEntry(row, run_id)


def write_trust(
    connection: duckdb.DuckDBPyConnection, entry: TrustEntry, carried: Carried | None = None
) -> None:
    """Write one flag's row, new or over the one of its iteration; `since` stays while the standing does.

    With it, in one transaction, the states that its checks `carried` to the next evaluation.
    """

    def write() -> None:
        with transaction(connection):
            _write(connection, entry)
            if carried is not None:
                write_carried(connection, entry.row.flag, carried)

    in_turn(connection, "trust", write)


def _write(connection: duckdb.DuckDBPyConnection, entry: TrustEntry) -> None:
    row = entry.row
    _make_ready(connection)
    known = {e.row.iteration_start: e.row for e in read_trust(connection, row.flag)}
    before = known.get(row.iteration_start)
    if before is None:
        connection.execute(_INSERT, _values(entry))
        return
    if before.standing == row.standing and before.since is not None:
        row = replace(
            row, since=before.since if row.trusted else min(before.since, row.since or before.since)
        )
    values = _values(replace(entry, row=row))
    connection.execute(_UPDATE, [*values[len(_KEY) :], *values[: len(_KEY)]])


def mark_discoveries(
    connection: duckdb.DuckDBPyConnection, fleet: Iterable[TrustRow], discovered: Sequence[TrustRow]
) -> None:
    """Set `discovery` of a fleet's rows: True for those discovered; rows of other flags are left alone."""
    found = [(row, row in discovered) for row in fleet]
    _mark(connection, "discovery", [(row, now) for row, now in found if now != row.discovery])


def mark_collisions(
    connection: duckdb.DuckDBPyConnection, fleet: Iterable[TrustRow], pairs: Iterable[tuple[str, str]]
) -> None:
    """Set `collides_with` of a fleet's rows: the flags, as text, whose assignment is that of the row's."""
    met: dict[str, list[str]] = {}
    for one, other in pairs:
        met.setdefault(one, []).append(other)
        met.setdefault(other, []).append(one)
    found = [(row, met.get(str(row.flag), [])) for row in fleet]
    _mark(connection, "collides_with", [(row, now) for row, now in found if now != list(row.collides_with)])


def mark_reports(
    connection: duckdb.DuckDBPyConnection, fleet: Iterable[TrustRow], off: Mapping[FlagId, Sequence[str]]
) -> None:
    """Set `off_reports` of each flag's newest iteration: the reports whose units are not those exposed.

    Args:
        connection: the store.
        fleet: every row of the fleet, by flag and iteration.
        off: assets of such reports, by flag.
    """
    rows = list(fleet)
    newest = {row.flag: row for row in rows}
    found = [(row, list(off.get(row.flag, ())) if newest[row.flag] is row else []) for row in rows]
    _mark(connection, "off_reports", [(row, now) for row, now in found if now != list(row.off_reports)])


def _mark(connection: duckdb.DuckDBPyConnection, column: str, rows: Sequence[tuple[TrustRow, Any]]) -> None:
    """Set one column of some rows, all or nothing; makes the table where it is not."""

    def mark() -> None:
        with transaction(connection):
            _make_ready(connection)
            for row, value in rows:
                connection.execute(
                    f"UPDATE flag_trust SET {column} = ? WHERE {_OF_KEY}",  # noqa: S608 - our own names
                    [value, *row.flag.columns.values(), row.iteration_start],
                )

    in_turn(connection, "trust", mark)


def _make_ready(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table, or add the columns that an earlier version's lacks."""
    query = (
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 'flag_trust' "
        "AND database_name = current_database() AND schema_name = current_schema()"
    )
    columns = {name for (name,) in connection.execute(query).fetchall()}
    if not columns:
        connection.execute(_CREATE)
    elif not columns.issuperset(_ADDED):
        connection.execute(_ADD)


def read_trust(connection: duckdb.DuckDBPyConnection, flag: FlagId | None = None) -> list[TrustEntry]:
    """Return every row, or those of one flag, by flag and iteration; none before the first audit."""
    where, values = "", list[str]()
    if flag is not None:
        where = "WHERE namespace = ? AND environment = ? AND flag_key = ?"
        values = list(flag.columns.values())
    rows = f"FROM flag_trust {where} ORDER BY namespace, environment, flag_key, iteration_start"
    return [_entry(record) for record in read_rows(connection, rows, _INSTANTS, values)]


def _values(entry: TrustEntry) -> Sequence[Any]:
    row = entry.row
    shown = {field.name: getattr(row, field.name) for field in fields(row)}
    lists = {name: list(getattr(row, name)) for name in _LISTS}
    known = {**shown, **row.flag.columns, **lists, "run_id": entry.run_id, "log_e_value": entry.log_e_value}
    return [known[name] for name in _COLUMNS]


def _entry(record: dict[str, Any]) -> TrustEntry:
    known = {name: value for name, value in record.items() if name in _FIELDS and value is not None}
    lists = {name: tuple(known[name]) for name in _LISTS if name in known}
    flag = FlagId(record["namespace"], record["environment"], record["flag_key"])
    return TrustEntry(
        TrustRow(**{**known, **lists, "flag": flag, "trusted": record["trusted"]}),
        record["run_id"] or "",
        record["log_e_value"],
    )
