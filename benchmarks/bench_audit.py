"""A fleet's nightly audit through Dagster against the same events written by empty bodies, and its load time.

python -m benchmarks.bench_audit [flags]
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from exd_dagster.assets import BINS_BUILT, bins_asset_keys, bins_partitions
from exd_dagster.build import build_flag_audit_defs
from exd_dagster.checks import BLOCKING, TELLING
from exd_dagster.config import FlagAudit
from exd_dagster.schedules import range_tags

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
UNITS = 2000
"""New units a flag and day."""


def write_records(path: Path, flags: int) -> None:
    rows = 3 * flags * UNITS  # three days
    query = f"""
        SELECT
            make_timestamptz(epoch_us(TIMESTAMPTZ '2026-03-01 00:00:00+00') + i * 259200000000 // {rows})
                AS timestamp,
            'flag-' || (i % {flags}) AS flag_key,
            CASE WHEN hash(i * 7) % 2 = 0 THEN 'control' ELSE 'treatment' END AS variant_key,
            'u' || i AS unit_id_hash
        FROM range({rows}) t(i)
    """
    duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet)")


def empty_bodies(flags: list[FlagAudit], keys: list[dg.AssetKey]) -> dg.Definitions:
    """Return the same assets and checks with nothing in them: what Dagster itself needs."""

    @dg.multi_asset(
        specs=[dg.AssetSpec(key, skippable=True) for key in keys],
        partitions_def=bins_partitions(flags, "day"),
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec(BINS_BUILT, asset=key) for key in keys],
    )
    def bins() -> Iterator[Any]:
        for key in keys:
            yield dg.MaterializeResult(asset_key=key)
            yield dg.AssetCheckResult(asset_key=key, check_name=BINS_BUILT, passed=True)

    def checks_of(key: dg.AssetKey) -> dg.AssetChecksDefinition:
        names = (*BLOCKING, *TELLING)

        @dg.multi_asset_check(
            name=f"{key.path[-1]}_checks", specs=[dg.AssetCheckSpec(name, asset=key) for name in names]
        )
        def checks() -> Iterator[dg.AssetCheckResult]:
            for name in names:
                yield dg.AssetCheckResult(asset_key=key, check_name=name, passed=True)

        return checks

    job = dg.define_asset_job(
        "exd_audit", dg.AssetSelection.assets(*keys), executor_def=dg.in_process_executor
    )
    return dg.Definitions(assets=[bins], asset_checks=[checks_of(key) for key in keys], jobs=[job])


def seconds_of_a_run(defs: dg.Definitions, partition: str) -> float:
    silent = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with tempfile.TemporaryDirectory() as home, dg.instance_for_test(temp_dir=home) as instance:
        job = defs.resolve_job_def("exd_audit")
        begin = perf_counter()
        result = job.execute_in_process(
            instance=instance, tags=range_tags(partition, partition), run_config=silent, raise_on_error=False
        )
        assert result.success
        return perf_counter() - begin


def report(name: str, value: float, unit: str, target: float) -> None:
    print(
        json.dumps({"benchmark": name, "value": round(value, 3), "unit": unit, "target": target}), flush=True
    )


def main(count: int = 500) -> None:
    with tempfile.TemporaryDirectory() as folder:
        begin = perf_counter()
        flags = [
            FlagAudit(
                key=f"flag-{i}",
                split={"control": 0.5, "treatment": 0.5},
                start=START,
                end=START + timedelta(days=2),
            )
            for i in range(count)
        ]
        defs = build_flag_audit_defs(
            flags,
            records=f"{folder}/log.parquet",
            store=DuckDBResource(database=f"{folder}/bins.duckdb"),
            grain="day",
        )
        defs.get_repository_def()
        report(f"definitions of {count} flags", perf_counter() - begin, "s", 2.5)
        write_records(Path(folder) / "log.parquet", count)
        keys = list(bins_asset_keys(flags).values())
        empty = empty_bodies(flags, keys)
        pairs = [
            (seconds_of_a_run(defs, "2026-03-02"), seconds_of_a_run(empty, "2026-03-02")) for _ in range(3)
        ]
        audit, floor = sorted(pairs, key=lambda pair: pair[0] / pair[1])[1]
        report(f"nightly audit of {count} flags over empty bodies", audit / floor, "ratio", 1.25)
        print(
            json.dumps({"audit_seconds": round(audit, 2), "empty_bodies_seconds": round(floor, 2)}),
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
