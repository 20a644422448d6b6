"""Count a flag in the engine of its records, without the store: `recount` for foreign engines."""

from datetime import datetime

import duckdb

from exd_dagster.bins.counting.audience import Target
from exd_dagster.bins.counting.count import seen_variants
from exd_dagster.bins.engine.functions import whole
from exd_dagster.bins.engine.log import EngineLog
from exd_dagster.bins.engine.tally import EngineTally
from exd_dagster.config import FlagAudit
from exd_dagster.telemetry.records import instant_ms
from exd_dagster.telemetry.sources.ibis import IbisRecords


def engine_daily_units(
    connection: duckdb.DuckDBPyConnection, records: IbisRecords, flag: FlagAudit, end: datetime
) -> list[tuple[int, str, int]]:
    """Return rows of day (since 1970), variant and units; see `recount.daily_units`."""
    log = EngineLog(connection, records, records.expression(), 0)
    last = min(end, flag.end or end)
    tally = EngineTally(log, [Target(0, flag, instant_ms(flag.start), instant_ms(last))])
    tally.look_briefly()
    tally.label([(number, name, 0) for number, name in seen_variants(connection)])
    tally.clear()
    rows = tally.counted_rows()
    rows = rows.mutate(day=whole(rows.hour, 24))
    counts = log.execute(rows.group_by(["day", "variant"]).agg(units=rows.unit_key.nunique()))
    columns = (counts[name] for name in ("day", "variant", "units"))
    return sorted((int(day), str(variant), int(units)) for day, variant, units in zip(*columns, strict=True))
