"""Survey of a log: its flags with their observed splits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np

from exd_dagster.config import FlagId
from exd_dagster.config.reasons import EXCLUDED_REASONS, is_reason
from exd_dagster.stats.inputs import Floats
from exd_dagster.telemetry.records import from_ms, instant_ms, literal
from exd_dagster.telemetry.sources.duckdb import Records


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

    def __str__(self) -> str:
        """Its key, with namespace and environment in front where they are named."""
        return str(FlagId(self.namespace, self.environment, self.key))

    @property
    def total(self) -> int:
        """Units over all variants."""
        return sum(self.units.values())

    @property
    def shares(self) -> dict[str, float]:
        """Share of each variant among the units."""
        return {variant: count / self.total for variant, count in self.units.items()}


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
