"""A project that other processes can load again: flags of every kind, a report behind each.

Nothing is built on import. `job` is what `dagster.build_reconstructable_job` calls in each step process.
"""

from datetime import timedelta
from pathlib import Path

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.config import FlagAudit, Mode
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.checks import build_flag_audit_checks
from exd_dagster.definitions.schedules import range_tags
from tests.logs import HOUR, START, broken, healthy, rows, write

HOURS = 4
MODES: dict[str, Mode] = {"good": "block", "bad": "block", "warned": "warn", "observed": "observe"}
SPLIT = {"control": 0.5, "treatment": 0.5}
ALL_HOURS = range_tags(f"{START:%Y-%m-%d-%H:%M}", f"{START + (HOURS - 1) * HOUR:%Y-%m-%d-%H:%M}")
FORKED = {"start_method": {"forkserver": {"preload_modules": ["tests.definitions.blocking.project"]}}}
EXECUTORS = {
    "in_process": dg.in_process_executor,
    "multiprocess": dg.multiprocess_executor.configured(FORKED),
}

FLAGS = [
    FlagAudit(key=key, split=SPLIT, start=START, end=START + HOURS * HOUR, mode=mode)
    for key, mode in MODES.items()
]
BINS = {flag.key: key for flag, key in zip(FLAGS, bins_asset_keys(FLAGS).values(), strict=True)}


def write_log(folder: Path) -> None:
    """Write a log in which every flag but the good one has lost its treatment."""
    counts = {key: healthy(HOURS) if key == "good" else broken(HOURS) for key in MODES}
    heartbeat = rows("heartbeat", healthy(1), start=START + (HOURS + 2) * HOUR)
    write(folder / "log", *(rows(key, hours) for key, hours in counts.items()), heartbeat)


@dg.asset
def model() -> None:
    """Stand for an asset of someone else, whose attached audit cannot read its records."""


def _report(name: str, upstream: dg.AssetKey) -> dg.AssetsDefinition:
    @dg.asset(name=f"{name}_report", deps=[upstream])
    def report() -> None:
        """Stand for what an analyst reads."""

    return report


REPORTS = [*(_report(name, key) for name, key in BINS.items()), _report("crashed", model.key)]


def definitions(folder: Path) -> dg.Definitions:
    """The audited fleet, the reports, and one asset whose checks crash."""
    audit = build_flag_audit_defs(
        FLAGS,
        records=str(folder / "log" / "*.parquet"),
        store=DuckDBResource(database=str(folder / "bins.duckdb")),
    )
    crashing = build_flag_audit_checks(
        FlagAudit(key="crashed", split=SPLIT, start=START),
        asset=model,
        records=str(folder / "nowhere" / "*.parquet"),
    )
    return dg.Definitions.merge(audit, dg.Definitions(assets=[model, *REPORTS], asset_checks=[crashing]))


def selections() -> dict[str, dg.AssetSelection]:
    """What is run, by name."""
    bins = dg.AssetSelection.assets(*BINS.values(), model)
    reports = dg.AssetSelection.assets(*REPORTS)
    checks = dg.AssetSelection.checks_for_assets(*BINS.values(), model)
    return {
        "everything": bins | reports,
        "audit": dg.AssetSelection.assets(*BINS.values()),
        "reports": reports - dg.AssetSelection.all_asset_checks(),
        "without_checks": (bins | reports) - checks,
        "checks_and_reports": checks | reports,
    }


def job(folder: str, name: str, executor: str) -> dg.JobDefinition:
    """Return the job over one of `selections`, or over `contracts`; every op may be tried twice."""
    if name == "contracts":
        defs, selection = contracts(), dg.AssetSelection.all()
    else:
        defs, selection = definitions(Path(folder)), selections()[name]
    chosen = dg.define_asset_job(
        "run", selection, executor_def=EXECUTORS[executor], op_retry_policy=dg.RetryPolicy(max_retries=1)
    )
    return dg.Definitions.merge(defs, dg.Definitions(jobs=[chosen])).resolve_job_def("run")


def contracts() -> dg.Definitions:
    """Checks unlike ours: silent, inside their asset, over two assets, an error that blocks nothing."""

    @dg.asset
    def silent() -> None: ...

    @dg.multi_asset_check(specs=[dg.AssetCheckSpec("c", asset="silent", blocking=True)], can_subset=True)
    def says_nothing():
        yield from ()

    @dg.asset(check_specs=[dg.AssetCheckSpec("c", asset="inside", blocking=True)])
    def inside():
        yield dg.MaterializeResult()
        yield dg.AssetCheckResult(passed=False)

    @dg.asset
    def told() -> None: ...

    @dg.asset_check(asset=told)
    def error_that_blocks_nothing() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.ERROR)

    @dg.asset
    def first() -> None: ...

    @dg.asset
    def second() -> None: ...

    @dg.multi_asset_check(
        specs=[dg.AssetCheckSpec("c", asset=name, blocking=True) for name in ("first", "second")]
    )
    def over_both():
        yield dg.AssetCheckResult(asset_key="first", passed=False)
        yield dg.AssetCheckResult(asset_key="second", passed=True)

    assets = [silent, inside, told, first, second]
    return dg.Definitions(
        assets=[*assets, *(_report(asset.key.path[-1], asset.key) for asset in assets)],
        asset_checks=[says_nothing, error_that_blocks_nothing, over_both],
    )


@dg.definitions
def aged() -> dg.Definitions:
    """A flag that goes on, whose answers hold for a day and a half."""
    return build_flag_audit_defs(
        [FlagAudit(key="a", split=SPLIT, start=START)],
        records="log/*.parquet",
        store=DuckDBResource(database="bins.duckdb"),
        max_age=timedelta(hours=36),
    )


@dg.definitions
def month() -> dg.Definitions:
    """Two flags over thirty days of hours."""
    flags = [FlagAudit(key=key, split=SPLIT, start="2026-03-01", end="2026-03-31") for key in ("a", "b")]
    return build_flag_audit_defs(
        flags, records="log/*.parquet", store=DuckDBResource(database="bins.duckdb"), grain="hour"
    )
