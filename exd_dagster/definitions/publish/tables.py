"""What is published: the tables, and their rows out of the store and of Dagster's check results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import dagster as dg
import duckdb

from exd_dagster.audit.trust_table import TrustEntry
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.definitions.catalog import BINS_SCHEMA, TRUST_SCHEMA
from exd_dagster.definitions.internals import CheckRecord
from exd_dagster.telemetry.records import literal

Row: TypeAlias = tuple[Any, ...]
OWNER = ("namespace", "environment", "flag_key")
"""The columns of every table that name a flag."""


@dataclass(frozen=True, slots=True)
class Table:
    """A published table.

    Attributes:
        name: in the warehouse.
        text: what it holds.
        columns: name to type and description; lists are text, separated by commas.
    """

    name: str
    text: str
    columns: Mapping[str, tuple[str, str]]


def _columns(schema: dg.TableSchema) -> dict[str, tuple[str, str]]:
    return {
        column.name: (column.type.removesuffix("[]"), column.description or "") for column in schema.columns
    }


_FLAG = {name: _columns(TRUST_SCHEMA)[name] for name in OWNER}
BINS = Table("flag_bins", "Hourly bins of every audited flag: its closed hours.", _columns(BINS_SCHEMA))
TRUST = Table(
    "flag_trust",
    "Which flags may be used, and up to when: one row per flag, environment and iteration.",
    _columns(TRUST_SCHEMA),
)
VERDICTS = Table(
    "flag_verdicts",
    "The latest result of every check of every flag.",
    {
        **_FLAG,
        "check_name": ("varchar", "Name of the check."),
        "passed": ("boolean", "Null: the run ended without a result."),
        "severity": ("varchar", "ERROR or WARN; empty without a result."),
        "sentence": ("varchar", "The verdict in one sentence."),
        "evaluated_at": ("timestamptz", "When it was evaluated (UTC)."),
        "run_id": ("varchar", "The Dagster run."),
    },
)
DAYS = Table(
    "exd_published_days",
    "A digest of the bins of each flag and day, which shows what is to be published again.",
    {
        **_FLAG,
        "day": ("bigint", "Days since 1970 (UTC)."),
        "digest": ("varchar", "Sum of the hashes of its bins."),
    },
)
TABLES = (BINS, TRUST, VERDICTS, DAYS)


def trust_rows(entries: Sequence[TrustEntry]) -> list[Row]:
    """Return `flag_trust`, a row per entry."""
    rows = []
    for entry in entries:
        known = {field.name: getattr(entry.row, field.name) for field in fields(entry.row)}
        known |= {"run_id": entry.run_id, "log_e_value": entry.log_e_value, **entry.row.flag.columns}
        rows.append(tuple(_plain(known[name]) for name in TRUST.columns))
    return rows


def verdict_rows(records: Sequence[CheckRecord], checks: Mapping[dg.AssetCheckKey, FlagAudit]) -> list[Row]:
    """Return `flag_verdicts`, a row per check that ever ran."""
    return [
        (
            *checks[record.key].id.columns.values(),
            record.key.name,
            record.passed,
            record.severity,
            record.description.partition("\n")[0],
            record.at,
            record.run_id,
        )
        for record in records
    ]


def day_digests(connection: duckdb.DuckDBPyConnection, flags: Sequence[FlagId]) -> dict[Row, str]:
    """Return a digest of the bins of each flag and day that has any."""
    measures = ", ".join(name for name in BINS.columns if name not in OWNER)
    query = (
        f"SELECT {', '.join(OWNER)}, epoch(hour)::BIGINT // 86400 AS day, "  # noqa: S608 - our own names
        f"sum(hash({measures})::HUGEINT)::VARCHAR FROM flag_bins WHERE {_of(flags)} GROUP BY ALL"
    )
    return {tuple(row[:-1]): row[-1] for row in connection.execute(query).fetchall()}


def bins_rows(connection: duckdb.DuckDBPyConnection, flag: FlagId, first: int, last: int) -> list[Row]:
    """Return the bins of one flag in `[first, last]`, days since 1970."""
    columns = ", ".join(f"epoch_ms({name})" if name == "hour" else name for name in BINS.columns)
    query = (
        f"SELECT {columns} FROM flag_bins WHERE {_of([flag])} "  # noqa: S608 - our own names
        f"AND epoch(hour)::BIGINT // 86400 BETWEEN {first} AND {last}"
    )
    return connection.execute(query).fetchall()


def _of(flags: Sequence[FlagId]) -> str:
    listed = ", ".join(f"({', '.join(map(literal, flag.columns.values()))})" for flag in flags)
    return f"({', '.join(OWNER)}) IN ({listed})" if flags else "false"


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
