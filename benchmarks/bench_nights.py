"""What the night of one flag costs after 90 days, beside the same after 2 days, and 45, in the same run.

    python -m benchmarks.bench_nights

A night is what the flag's checks do once the bins are built: bins and segments are read from a store of some
flags, all checks judged from what the night before carried, results and pictures made, and trust written.
After 2 days the traffic tests do not run yet, after 45 they do: what a night gains since is for age alone.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from time import process_time

import dagster as dg
import duckdb

from benchmarks.bench_audit import DAY, START, fleet
from benchmarks.line import tell
from exd_dagster.audit.carried_table import read_carried
from exd_dagster.audit.flag import audit
from exd_dagster.audit.trust_table import write_trust
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.definitions.checks import check_result
from exd_dagster.stats.carried import Carried

FLAGS = 20
UNITS = 1000
"""New units a flag and day."""
TARGET, AGED = 1.3, 1.15
KEY = dg.AssetKey("bins")


@dataclass
class Age:
    """A store whose flags are so many days old; seconds of the processors by part of a night."""

    days: int
    store: BinStore
    connection: duckdb.DuckDBPyConnection
    flags: list[FlagAudit]
    spent: dict[str, list[float]] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """End of the last day counted."""
        return START + self.days * DAY

    def night(self, flag: FlagAudit, *, carries: bool = True) -> dict[str, float]:
        """Run one flag's checks as their op does, and return the seconds of each part."""
        parts, clock = dict[str, float](), Clock()
        bins = self.store.read(flag)
        segments = self.store.segments(flag, bins)
        carried = read_carried(self.connection, flag.id) if carries else Carried()
        parts["read"] = clock.lap()
        done = audit(flag, bins, Thresholds(), now=self.now, segments=segments, carried=carried)
        parts["judge"] = clock.lap()
        for verdict in (*done.verdicts, done.trust):
            check_result(done, KEY, verdict)
        parts["draw"] = clock.lap()
        write_trust(self.connection, done.trust_entry(""), carried)
        parts["write"] = clock.lap()
        return parts


@dataclass
class Clock:
    """Seconds of the processors since the last lap."""

    at: float = field(default_factory=process_time)

    def lap(self) -> float:
        """Return the seconds since the last call."""
        before, self.at = self.at, process_time()
        return self.at - before


def write_records(path: str, days: int) -> None:
    """Write evaluations of every flag by one version of the manifest and four browsers."""
    rows = days * FLAGS * UNITS
    query = f"""
        SELECT
            to_timestamp({START.timestamp()} + {days * 86400.0} * (i / {rows})) AS timestamp,
            'flag-' || (i % {FLAGS}) AS flag_key,
            CASE WHEN hash(i * 7) % 2 = 0 THEN 'control' ELSE 'treatment' END AS variant_key,
            'u' || i AS unit_id_hash,
            7 AS manifest_version,
            ['Chrome', 'Safari', 'Firefox', 'Edge'][1 + (hash(i * 11) % 4)::INTEGER] AS browser
        FROM range({rows}) t(i)
    """
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")


def aged(days: int, dimensions: tuple[str, ...], stack: ExitStack) -> Age:
    """Return flags of whose days the last was counted after their checks had run."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    changes = {"end": None, "dimensions": dimensions}
    flags = [flag.model_copy(update=changes) for flag in fleet(FLAGS, days)]
    write_records(f"{folder}/log.parquet", days)
    connection = stack.enter_context(duckdb.connect(f"{folder}/bins.duckdb"))
    connection.execute("SET threads = 1; SET enable_progress_bar = false")
    age = Age(days - 1, BinStore(connection), connection, flags)
    for end in (START + (days - 1) * DAY, START + days * DAY):
        age.store.update(f"{folder}/log.parquet", flags, end - DAY, end, now=end + DAY)
        if age.now == end:
            for flag in flags:
                age.night(flag)
            age.days = days
    return age


def nights(ages: list[Age]) -> Iterator[None]:
    """Run every flag's night, the ages in turn, so that all meet the same machine."""
    for number in range(FLAGS):
        for age in ages:
            for part, seconds in age.night(age.flags[number]).items():
                age.spent.setdefault(part, []).append(seconds)
        yield


def compare(named: str, dimensions: tuple[str, ...], target: float | None, since: int = 2) -> None:
    """Tell the medians after `since` and 90 days, and what the latter takes where nothing is carried."""
    with ExitStack() as stack:
        young, old = ages = [aged(days, dimensions, stack) for days in (since, 90)]
        anew = [sum(old.night(flag, carries=False).values()) for flag in old.flags[:5]]
        for _ in nights(ages):
            pass
        whole = [median(map(sum, zip(*age.spent.values(), strict=True))) * 1e3 for age in ages]
        tell(
            f"night of one flag{named}, 90 days old, over {since} days old",
            whole[1],
            "cpu ms",
            peer=whole[0],
            target=target,
            **{part: [round(median(age.spent[part]) * 1e3, 2) for age in ages] for part in young.spent},
            nothing_carried=round(median(anew) * 1e3, 1),
        )


def main() -> None:
    compare("", (), TARGET)
    compare("", (), AGED, since=45)
    compare(" with four browsers, whose six parts are tested from the tenth day on", ("browser",), None)


if __name__ == "__main__":
    main()
