"""First exposures of units that several flags share, out of the store."""

from collections.abc import Sequence

import duckdb
import numpy as np

from exd_dagster.bins.counting.audience import RANKS, UPTAKE
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.bins.model import SharedUnits
from exd_dagster.bins.rows import insert_rows
from exd_dagster.bins.store.registry import Registry
from exd_dagster.config import FlagAudit
from exd_dagster.telemetry.records import instant_ms

MOST_EXPOSURES = 4_000_000
"""Exposures looked at; above, a quarter of the units is taken, a quarter of these, and so on."""


def select_shared(
    connection: duckdb.DuckDBPyConnection, flags: Sequence[FlagAudit], most: int = MOST_EXPOSURES
) -> SharedUnits:
    """Return the first exposures, in the current iteration of each flag, of units with more than one flag.

    Which units are looked at depends on their hash alone, and a smaller sample is part of a larger one. A
    unit that was first exposed while a phase was taken up is left out there: its split is not known.

    Args:
        connection: the store.
        flags: those with a declared split are looked at; of one counted in an engine the store has no units.
        most: exposures looked at.
    """
    known = Registry(connection).flags()
    numbers = {known[flag.id].number: flag for flag in flags if flag.id in known and flag.schedule}
    connection.execute("CREATE OR REPLACE TEMP TABLE exd_asked (flag INTEGER, since BIGINT)")
    insert_rows(
        connection,
        "exd_asked",
        [(number, instant_ms(flag.iterations[-1]) * RANKS) for number, flag in numbers.items()],
    )
    of_asked = "FROM exd_units JOIN exd_asked USING (flag) WHERE first >= since"
    stored = dict(connection.execute(f"SELECT flag, count(*) {of_asked} GROUP BY flag").fetchall())
    counted = (
        "SELECT flag FROM exd_bins JOIN exd_asked USING (flag) "
        f"WHERE hour >= since // {RANKS * HOUR_MS} AND new_units > 0 GROUP BY flag ORDER BY flag"
    )
    apart = [flag for (flag,) in connection.execute(counted).fetchall() if flag not in stored]
    rows = sum(stored.values())
    quarter = next(k for k in range(32) if rows >> (2 * k) <= most)
    found = connection.execute(
        "SELECT unit, flag, phase, variant FROM (SELECT unit, flag, arg_min(phase, first) AS phase, "
        f"min(first) % {RANKS} AS rank {of_asked} AND unit & {4**quarter - 1} = 0 GROUP BY unit, flag) "
        f"JOIN exd_variants USING (flag, rank) WHERE phase < {UPTAKE} "
        "QUALIFY count(*) OVER (PARTITION BY unit) > 1"
    ).fetchnumpy()
    connection.execute("DROP TABLE exd_asked")
    _, units = np.unique(found["unit"], return_inverse=True)
    seen = list(zip(found["flag"].tolist(), found["phase"].tolist(), found["variant"].tolist(), strict=True))
    place = {name: i for i, name in enumerate(sorted(set(seen)))}
    cells = np.array([place[name] for name in seen], dtype=np.int64)
    names = tuple((numbers[flag].id, int(phase), str(variant)) for flag, phase, variant in place)
    return SharedUnits(
        units.astype(np.int64), cells, names, quarter, tuple(numbers[flag].id for flag in apart)
    )
