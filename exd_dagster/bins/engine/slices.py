"""The records that an update reads, as a table of their own with the canonical columns.

The log is read once for it, whatever the number of queries that follow; these all see the same records. Units
are in it as their seeded hash. It is dropped after the commit.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from exd_dagster.bins.counting.audience import Target
from exd_dagster.bins.engine.tally import EngineTally
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.config.dimensions import dimensions_of
from exd_dagster.telemetry.canonical import TEXTS
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED, instant_ms
from exd_dagster.telemetry.sources.ibis import IbisRecords

if TYPE_CHECKING:
    from exd_dagster.bins.engine.log import EngineLog


def is_slice(log: "EngineLog", targets: Sequence[Target]) -> bool:
    """Return whether these flags are read from later than their start, and a table may stand for the log.

    Args:
        log: with a state.
        targets: the flags read.
    """
    known = log.state.scopes if log.state else {}
    later = all(t.number in known and t.start > instant_ms(t.flag.start) for t in targets)
    # hashed in the slice, and not to be filtered by
    return later and not {"unit_id_hash", "evaluation_id"} & _extras(targets)


def slice_log(log: "EngineLog", targets: Sequence[Target]) -> "EngineLog":
    """Make the table, and return it as a log.

    Args:
        log: with a state.
        targets: the flags read.

    Raises:
        RecordsError: when the engine refuses.
    """
    from exd_dagster.bins.engine.log import EngineLog

    records, rows = log.records, EngineTally(log, targets).rows(counted_only=False)
    columns = {
        "timestamp": rows.at,
        "unit_id_hash": rows.has_unit.ifelse(rows.unit_key, None),
        "evaluation_id": rows.has_id.ifelse(rows.id_key, None),
        "ingested_at": records.column(log.table, "ingested_at"),
    }
    columns |= {source: rows[f"raw_{name}"] for name, source in TEXTS.items()}
    columns = {name: columns[name] for name in columns if records.column(log.table, name) is not None}
    extras = [name for name in sorted(_extras(targets)) if name not in (*REQUIRED, *OPTIONAL)]
    own: dict[str, str | tuple[str, ...]] = {
        name: f"x{i}" for i, name in enumerate(extras) if not log.missing([name])
    }
    columns |= {str(column): records.column(log.table, name) for name, column in own.items()}
    name = log.kept.make("slice", rows.select(**columns))
    schema = records.state_schema
    sliced = IbisRecords(connection=records.connection, table=name, database=schema, columns=own)
    first = min(target.start for target in targets) // HOUR_MS
    size = sum(n for survey in log.surveys for hour, (_, n) in survey.hours.items() if hour >= first)
    return EngineLog(log.connection, sliced, sliced.expression(), log.lateness_ms, log.state, size=size)


def _extras(targets: Sequence[Target]) -> set[str]:
    return {name for target in targets for name in (*target.extras, *dimensions_of(target.flag))}
