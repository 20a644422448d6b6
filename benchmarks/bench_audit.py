"""What a fleet's night costs through Dagster beside the same events written by empty bodies; and its load.

    python -m benchmarks.bench_audit          500 flags by the day, 50 by the hour
    python -m benchmarks.bench_audit 100      100 flags by the day

The store holds four weeks before the first night. Each night is a real one, with records of its own, and is
run beside the same graph with nothing in it: as many assets, checks, steps and events. The one scan of the
records is timed inside the audit, told, and not held against it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from benchmarks.line import tell
from exd_dagster.bins.report import BuildReport
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.assets import Grain, bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.schedules import range_tags

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
UNITS = 500
"""New units a flag and day."""

HISTORY = 28
NIGHTS = 3
TARGET = 1.25
LOAD_LIMIT = 2.5


def fleet(count: int, days: int) -> list[FlagAudit]:
    split = {"control": 0.5, "treatment": 0.5}
    return [
        FlagAudit(key=f"flag-{i}", split=split, start=START, end=START + days * DAY) for i in range(count)
    ]


def definitions(flags: list[FlagAudit], folder: str, grain: Grain) -> dg.Definitions:
    store = DuckDBResource(database=f"{folder}/bins.duckdb")
    return build_flag_audit_defs(flags, records=f"{folder}/log.parquet", store=store, grain=grain)


def write_records(path: str, flags: int, days: int) -> None:
    rows = days * flags * UNITS
    query = f"""
        SELECT
            to_timestamp({START.timestamp()} + {days * 86400.0} * (i / {rows})) AS timestamp,
            'flag-' || (i % {flags}) AS flag_key,
            CASE WHEN hash(i * 7) % 2 = 0 THEN 'control' ELSE 'treatment' END AS variant_key,
            'u' || i AS unit_id_hash,
            7 + i // ({rows // days} * 10) AS manifest_version
        FROM range({rows}) t(i)
    """
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")  # it would stand among the figures
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")


def write_history(folder: str, flags: list[FlagAudit], days: int) -> None:
    """Count the nights before the first one that is measured."""
    with duckdb.connect(f"{folder}/bins.duckdb") as connection:
        end = START + days * DAY
        BinStore(connection).update(f"{folder}/log.parquet", flags, START, end, now=end + DAY)


def emptied(defs: dg.Definitions, keys: list[dg.AssetKey]) -> dg.Definitions:
    """Return the same assets, checks and job with nothing in them: what Dagster itself needs."""
    graph = defs.get_repository_def()
    bins = graph.assets_defs_by_key[keys[0]]
    built = {check.asset_key: check.name for check in bins.check_specs}
    judging = {key.asset_key: checks for key, checks in graph.asset_checks_defs_by_key.items()}

    @dg.multi_asset(
        name="empty_bins",
        specs=list(bins.specs),
        partitions_def=bins.partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=list(bins.check_specs),
        can_subset=True,
    )
    def empty_bins() -> Iterator[Any]:
        for key in keys:
            yield dg.MaterializeResult(asset_key=key)
            yield dg.AssetCheckResult(asset_key=key, check_name=built[key], passed=True)

    def empty_checks(key: dg.AssetKey) -> dg.AssetChecksDefinition:
        specs = list(judging[key].check_specs)

        @dg.multi_asset_check(name=f"{key.path[-1]}_empty", specs=specs, can_subset=True)
        def checks() -> Iterator[dg.AssetCheckResult]:
            for spec in specs:
                yield dg.AssetCheckResult(asset_key=key, check_name=spec.name, passed=True)

        return checks

    job = dg.define_asset_job(
        "exd_audit", dg.AssetSelection.assets(*keys), executor_def=dg.in_process_executor
    )
    return dg.Definitions(assets=[empty_bins], asset_checks=[empty_checks(key) for key in keys], jobs=[job])


@dataclass(order=True)
class Cost:
    """Seconds by the clock and of the processors."""

    seconds: float = 0.0
    cpu: float = 0.0

    def less(self, other: "Cost") -> "Cost":
        """Return what remains without a part of it."""
        return Cost(self.seconds - other.seconds, self.cpu - other.cpu)


@contextmanager
def timed(cost: Cost) -> Iterator[None]:
    begin, cpu = perf_counter(), process_time()
    yield
    cost.seconds += perf_counter() - begin
    cost.cpu += process_time() - cpu


@contextmanager
def scan_timed(cost: Cost) -> Iterator[None]:
    """Time the one scan inside the audit."""
    update: Callable[..., BuildReport] = BinStore.update

    def watched(*args: Any, **values: Any) -> BuildReport:
        with timed(cost):
            return update(*args, **values)

    BinStore.update = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        BinStore.update = update  # type: ignore[method-assign]


@dataclass
class Project:
    """Definitions on a Dagster instance of their own, which remembers the nights before."""

    defs: dg.Definitions
    home: str
    spent: Cost = field(default_factory=Cost)

    def night(self, first: str, last: str) -> Cost:
        """Run one night and return what it took."""
        silent = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        cost = Cost()
        Path(self.home).mkdir(exist_ok=True)
        with dg.instance_for_test(temp_dir=self.home) as instance:
            job = self.defs.resolve_job_def("exd_audit")
            with timed(cost):
                result = job.execute_in_process(
                    instance=instance,
                    tags=range_tags(first, last),
                    run_config=silent,
                    raise_on_error=False,
                )
        assert result.success
        return cost

    def log_bytes(self) -> int:
        """Return the size of the event log."""
        return sum(file.stat().st_size for file in (Path(self.home) / "history").rglob("*.db"))


def night_over_empty_bodies(count: int, grain: Grain, *, nights: int = NIGHTS) -> None:
    """Measure each night beside its floor, one after the other, and tell the median."""
    with tempfile.TemporaryDirectory() as folder:
        days = HISTORY + nights
        flags = fleet(count, days)
        write_records(f"{folder}/log.parquet", count, days + 1)
        write_history(folder, flags, HISTORY)
        defs = definitions(flags, folder, grain)
        audit = Project(defs, f"{folder}/audit")
        floor = Project(emptied(defs, list(bins_asset_keys(flags).values())), f"{folder}/floor")
        costs = [one_night(audit, floor, START + (HISTORY + night) * DAY, grain) for night in range(nights)]
        _, ours, peer, scan = sorted((o.cpu / p.cpu, o, p, s) for o, p, s in costs)[nights // 2]
        name = f"night of {count} flags by the {grain} after {HISTORY} days, over empty bodies"
        tell(
            name,
            ours.cpu,
            "cpu s",
            peer=peer.cpu,
            target=TARGET,
            scan=round(scan.cpu, 2),
            clock=round(ours.seconds, 1),
            clock_ratio=round(ours.seconds / peer.seconds, 3),
            nights=[round(ours.cpu, 1) for ours, _, _ in costs],
        )
        kib = [project.log_bytes() / count / nights / 1024 for project in (audit, floor)]
        tell(f"event log of that night, per flag, {grain}", kib[0], "KiB", peer=kib[1])


def one_night(audit: Project, floor: Project, day: datetime, grain: Grain) -> tuple[Cost, Cost, Cost]:
    """Return what the audit took without its scan, what its floor took, and the scan."""
    names = {"day": ("%Y-%m-%d", day), "hour": ("%Y-%m-%d-%H:%M", day + 23 / 24 * DAY)}
    form, last = names[grain]
    span = (f"{day:{form}}", f"{last:{form}}")
    peer, scan = floor.night(*span), Cost()
    with scan_timed(scan):
        whole = audit.night(*span)
    return whole.less(scan), peer, scan


LOAD = """
import json, sys
from time import process_time
import dagster
begin = process_time()
from benchmarks.bench_audit import HISTORY, definitions, fleet
definitions(fleet(int(sys.argv[1]), HISTORY), "nowhere", "day").get_repository_def()
print(process_time() - begin)
"""


def load_definitions(count: int) -> None:
    """Tell the seconds from after `import dagster` to a loaded repository, each run in a new process."""
    command = (sys.executable, "-c", LOAD, str(count))
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3)]
    seconds = min(json.loads(run.stdout) for run in runs)
    tell(f"definitions of {count} flags, beyond importing dagster", seconds, "cpu s", limit=LOAD_LIMIT)


def main(count: int = 0) -> None:
    load_definitions(count or 500)
    night_over_empty_bodies(count or 500, "day")
    if not count:
        night_over_empty_bodies(50, "hour", nights=1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
