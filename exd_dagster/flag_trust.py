"""`flag_trust`: the one answer to "which flags may be used, up to when", as asset, page and function."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from exd_dagster._dagster_internals import latest_checks
from exd_dagster.config import FlagAudit, FlagId, floor_hour
from exd_dagster.errors import StoreError, did_you_mean
from exd_dagster.resources import BinStoreResource
from exd_dagster.stats.fleet import discovered
from exd_dagster.stats.trust import TrustVerdict
from exd_dagster.trust_page import TrustRow, by_urgency, trust_page
from exd_dagster.trust_table import TrustEntry, mark_discoveries, read_trust

FDR = 0.05
"""False discovery rate of the fleet's discoveries (e-BH)."""


def trust_row(flag: FlagAudit, verdict: TrustVerdict, picture: str = "") -> TrustRow:
    """Return the flag's row from its `trust` verdict.

    Args:
        flag: the flag.
        verdict: its one answer.
        picture: SVG of the failing check, "" for none.
    """
    through = verdict.audited_through
    return TrustRow(
        flag=flag.id,
        iteration_start=iteration_start(flag, through),
        trusted=None if verdict.verdict == "not_checked" else verdict.trusted,
        sentence=verdict.sentence,
        mode=flag.mode,
        failing=verdict.failing,
        since=verdict.bad_from or through,
        usable_until=verdict.usable_until or (through if verdict.trusted else None),
        audited_through=through,
        contained=verdict.state == "contained",
        waived_by=verdict.waived_by,
        waived_until=verdict.waived_until,
        owners=flag.owners,
        picture=picture,
    )


def iteration_start(flag: FlagAudit, through: datetime | None) -> datetime:
    """Return the first hour (UTC) of the iteration that `through` lies in."""
    begun = max((s for s in flag.iterations if through is None or s <= through), default=flag.start)
    return floor_hour(begun)


def build_flag_trust(
    flags: Sequence[FlagAudit],
    trust_checks: Sequence[dg.AssetCheckKey],
    *,
    name: str = "exd",
    group_name: str = "experiments",
    base_url: str = "",
    sensor_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> tuple[dg.AssetsDefinition, Any, dg.SensorDefinition]:
    """Build the asset, its job, and the sensor that refreshes it after each audit.

    The asset depends on nothing in the graph: no flag's failure may keep the list of failures from being
    made.

    Args:
        flags: the fleet.
        trust_checks: the `trust` check of each flag.
        name: prefix of job and sensor.
        group_name: asset group.
        base_url: address of the Dagster UI, for links to runs.
        sensor_status: whether the sensor starts by itself; it does.
    """
    known = {flag.id for flag in flags}

    @dg.asset(
        key=["flag_trust"] if name == "exd" else [f"{name}_flag_trust"],
        group_name=group_name,
        kinds={"duckdb", "html"},
        description="Which flags may be used, and up to when: one row per flag, environment and iteration.",
    )
    def flag_trust(exd_store: BinStoreResource) -> dg.MaterializeResult[None]:
        mark_discoveries(exd_store.connection, discoveries(read_trust(exd_store.connection)))
        entries = [entry for entry in read_trust(exd_store.connection) if entry.row.flag in known]
        rows = [replace(entry.row, run_url=_run_url(base_url, entry.run_id)) for entry in entries]
        page = _write_page(Path(exd_store.duckdb.database), rows)
        return dg.MaterializeResult(metadata=_metadata(rows, page))

    job = dg.define_asset_job(
        f"{name}_flag_trust", selection=[flag_trust.key], executor_def=dg.in_process_executor
    )

    @dg.sensor(
        name=f"{name}_flag_trust_sensor",
        job=job,
        default_status=sensor_status,
        minimum_interval_seconds=30,
        description="Refreshes flag_trust after each audit.",
    )
    def refresh(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        records, running = latest_checks(context.instance, trust_checks)
        newest = max((record.at.isoformat() for record in records), default="")
        if running:
            return dg.SkipReason("an audit is running")
        if newest <= (context.cursor or ""):
            return dg.SkipReason("no audit since the last refresh")
        context.update_cursor(newest)
        return dg.RunRequest(run_key=newest)

    return flag_trust, job, refresh


def discoveries(entries: Sequence[TrustEntry]) -> list[FlagId]:
    """Return the flags that e-BH discovers at the fleet's false discovery rate, newest iterations only."""
    newest = {entry.row.flag: entry.log_e_value for entry in entries if entry.log_e_value is not None}
    return discovered(newest, FDR)


def trust(
    flag: str, store: str | Path, *, namespace: str | None = None, environment: str | None = None
) -> TrustRow:
    """Return the newest standing of a flag, for a notebook or a script.

    Args:
        flag: the flag's key.
        store: the DuckDB file that keeps the bins.
        namespace: needed where several flags share the key.
        environment: likewise.

    Returns:
        The row: `.trusted`, `.sentence`, `.usable_until`, `.audited_through`, ...

    Raises:
        StoreError: when the store cannot be read, the flag was never audited, or the key is ambiguous.

    Examples:
        >>> trust("new-checkout-flow", "exd.duckdb").trusted  # doctest: +SKIP
        True
    """
    try:
        with duckdb.connect(str(store), read_only=True) as connection:
            rows = [entry.row for entry in read_trust(connection)]
    except duckdb.Error as error:
        raise StoreError(f"{store} cannot be read: {error}") from error
    found = [
        row
        for row in rows
        if row.flag.key == flag
        and namespace in (None, row.flag.namespace)
        and environment in (None, row.flag.environment)
    ]
    if not found:
        near = did_you_mean(flag, {row.flag.key for row in rows})
        raise StoreError(f"flag '{flag}' has no audit in {store}.{near}")
    if len({row.flag for row in found}) > 1:
        names = ", ".join(sorted({str(row.flag) for row in found}))
        raise StoreError(f"flag '{flag}' is ambiguous in {store}: {names}; give namespace= and environment=")
    return max(found, key=lambda row: row.iteration_start)


def _run_url(base_url: str, run_id: str) -> str:
    return f"{base_url.rstrip('/')}/runs/{run_id}" if run_id else ""


def _write_page(database: Path, rows: Sequence[TrustRow]) -> Path:
    page = database.with_name("flag_trust.html")
    page.write_text(trust_page(rows, written_at=datetime.now(timezone.utc)), encoding="utf-8")
    return page


def _metadata(rows: Sequence[TrustRow], page: Path) -> Mapping[str, Any]:
    shown = [
        dg.TableRecord(
            {
                "flag": str(row.flag),
                "standing": row.standing,
                "sentence": row.sentence,
                "usable_until": _shown(row.usable_until),
                "audited_through": _shown(row.audited_through),
                "waived_by": row.waived_by or "",
                "fleet": "discovered" if row.discovery else "",
            }
        )
        for row in by_urgency(rows)
    ]
    return {
        "flags": dg.MetadataValue.table(shown) if shown else dg.MetadataValue.text("no flag is audited yet"),
        "trusted": sum(row.trusted is True for row in rows),
        "not_trusted": sum(row.trusted is False for row in rows),
        "page": dg.MetadataValue.path(str(page.absolute())),
    }


def _shown(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant else ""
