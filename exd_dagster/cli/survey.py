"""Survey of a log: likely columns, and its flags with their observed splits."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np

from exd_dagster.config.reasons import EXCLUDED_REASONS, is_reason
from exd_dagster.errors import RecordsError
from exd_dagster.stats.inputs import Floats
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED, from_ms, instant_ms, literal
from exd_dagster.telemetry.sources.duckdb import FileRecords, Records
from exd_dagster.telemetry.sources.files import list_files, open_bytes
from exd_dagster.telemetry.sources.text import csv_header, text_format

NAMES = {
    "timestamp": "timestamp ts time event_time event_timestamp evaluated_at exposed_at exposure_time "
    "occurred_at created_at datetime date",
    "flag_key": "flag_key flag flag_name feature_flag feature_key feature experiment_key experiment_id "
    "experiment_name experiment test_id test_name test",
    "variant_key": "variant_key variant variant_name variation_key variation_id variation treatment arm "
    "group bucket value",
    "unit_id_hash": "unit_id_hash unit_id unit user_id_hash user_id userid user anonymous_id visitor_id "
    "device_id account_id customer_id session_id entity_id id",
    "evaluation_id": "evaluation_id exposure_id event_id insert_id",
    "namespace": "namespace project project_key",
    "environment": "environment environment_key env",
    "manifest_version": "manifest_version config_version",
    "evaluation_reason": "evaluation_reason reason",
    "ingested_at": "ingested_at received_at loaded_at inserted_at",
}
"""Names that logs give to exd's columns, the likeliest first."""


@dataclass(frozen=True, slots=True)
class SeenFlag:
    """One flag of a log.

    Attributes:
        namespace: "" where the log has none.
        environment: "" where the log has none.
        key: its name.
        units: distinct units by variant, most first.
        first: its first record (UTC).
        last: its last one (UTC).
    """

    namespace: str
    environment: str
    key: str
    units: Mapping[str, int]
    first: datetime
    last: datetime

    @property
    def total(self) -> int:
        """Units over all variants."""
        return sum(self.units.values())

    @property
    def shares(self) -> dict[str, float]:
        """Share of each variant among the units."""
        return {variant: count / self.total for variant, count in self.units.items()}


def guess_columns(names: Sequence[str]) -> dict[str, str]:
    """Return exd's name to the log's own for every recognised column, where the two differ.

    Args:
        names: the columns of the log.
    """
    known = {_snake(name): name for name in reversed(names)}
    found: dict[str, str] = {}
    for column in (*REQUIRED, *OPTIONAL):
        own = next((known[name] for name in NAMES[column].split() if name in known), None)
        if own is not None and own not in found.values():
            found[column] = own
    return found


def _snake(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def column_names(
    connection: duckdb.DuckDBPyConnection, records: Records, start: datetime, end: datetime
) -> list[str]:
    """Return the names of the columns of a log.

    Raises:
        RecordsError: when the log cannot be read.
    """
    if not isinstance(records, FileRecords):
        with records.open(connection, start, end) as scan:
            return list(scan.types)
    file = list_files(connection, records.paths, start, end)[0]
    with open_bytes(file) as lines:
        first = lines.readline().decode("utf-8-sig", "replace").strip()
    if (records.format or text_format(records.paths[0])) == "csv":
        return csv_header(first)[2]
    try:
        return list(json.loads(first))
    except (ValueError, TypeError):
        raise RecordsError(f"{file}: line 1 is no JSON object; give a file of one object a line") from None


def survey(
    connection: duckdb.DuckDBPyConnection, records: Records, start: datetime, end: datetime
) -> list[SeenFlag]:
    """Return the flags of a log, those with the most units first; without evaluations that assigned nothing.

    A flag whose records name no unit is in it, with none.

    Args:
        connection: an open connection.
        records: the log, its columns mapped.
        start: records before this instant (UTC) are left out.
        end: so are those at or after this one.

    Raises:
        RecordsError: when the log cannot be read.
    """
    with records.resolved(connection, start, end) as columns:
        sql = columns.expressions
        keys = ", ".join(
            f"coalesce({sql[name]}, '') AS {name}" for name in ("namespace", "environment", "flag", "variant")
        )
        assigned = f"NOT {is_reason(sql['reason'], EXCLUDED_REASONS)}"
        rows = connection.execute(
            f"SELECT {keys}, count(DISTINCT {sql['unit']}) FILTER ({sql['has_unit']}) AS units, "
            f"min({sql['us']}) // 1000, max({sql['us']}) // 1000 FROM {columns.scan.relation} "
            f"WHERE {columns.between(instant_ms(start), instant_ms(end))} AND {assigned} GROUP BY 1, 2, 3, 4 "
            "HAVING flag <> '' AND variant <> '' ORDER BY units DESC, variant"
        ).fetchall()
    return _flags(rows)


def _flags(rows: Sequence[tuple[str, str, str, str, int, int, int]]) -> list[SeenFlag]:
    """Group rows of (namespace, environment, flag, variant, units, first ms, last ms)."""
    groups: dict[tuple[str, str, str], list[tuple[str, int, int, int]]] = defaultdict(list)
    for namespace, environment, flag, *seen in rows:
        groups[namespace, environment, flag].append(tuple(seen))  # type: ignore[arg-type]
    flags = [
        SeenFlag(
            *key,
            units={variant: units for variant, units, _, _ in seen if units},
            first=from_ms(min(first for _, _, first, _ in seen)),
            last=from_ms(max(last for *_, last in seen)),
        )
        for key, seen in groups.items()
    ]
    return sorted(flags, key=lambda flag: (-flag.total, flag.namespace, flag.environment, flag.key))


def hourly_units(
    connection: duckdb.DuckDBPyConnection, records: Records, flag: SeenFlag, start: datetime, end: datetime
) -> tuple[datetime, list[str], Floats]:
    """Return the units of a flag by hour of their first exposure: first hour (UTC), V names, float (T, V).

    Args:
        connection: an open connection.
        records: the log, its columns mapped.
        flag: as `survey` found it.
        start: records before this instant (UTC) are left out.
        end: so are those at or after this one.

    Raises:
        RecordsError: when the log cannot be read.
    """
    scope = {"namespace": flag.namespace, "environment": flag.environment, "flag": flag.key}
    with records.resolved(connection, start, end) as columns:
        sql = columns.expressions
        wanted = [f"coalesce({sql[name]}, '') = {literal(value)}" for name, value in scope.items()]
        wanted += [sql["has_unit"], columns.between(instant_ms(start), instant_ms(end))]
        wanted += [f"NOT {is_reason(sql['reason'], EXCLUDED_REASONS)}"]
        rows = connection.execute(
            f"SELECT variant, us // 3600000000 AS hour, count(*) FROM (SELECT {sql['variant']} AS variant, "
            f"min({sql['us']}) AS us FROM {columns.scan.relation} WHERE {' AND '.join(wanted)} "
            f"GROUP BY {sql['variant']}, {sql['unit']}) WHERE variant <> '' GROUP BY ALL"
        ).fetchall()
    names = sorted({str(variant) for variant, _, _ in rows})
    first = min(hour for _, hour, _ in rows)
    counts = np.zeros((max(hour for _, hour, _ in rows) - first + 1, len(names)))
    for variant, hour, units in rows:
        counts[hour - first, names.index(str(variant))] = units
    return from_ms(first * 3_600_000), names, counts
