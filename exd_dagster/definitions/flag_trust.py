"""`flag_trust`: which flags may be used, and up to when, as asset, page and function."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.messages.text import clip, clip_name, visible
from exd_dagster.audit.trust_page import STANDINGS, by_urgency, trust_page
from exd_dagster.audit.trust_row import TrustRow
from exd_dagster.audit.trust_table import (
    TrustEntry,
    mark_collisions,
    mark_discoveries,
    mark_reports,
    not_checked_entry,
    read_trust,
    write_trust,
)
from exd_dagster.bins.places import place_at
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.assets import BINS_BUILT, STORE_POOL
from exd_dagster.definitions.catalog import TRUST_SCHEMA, table_metadata
from exd_dagster.definitions.fleet.collisions import (
    COLLISION,
    collision_result,
    fleet_collisions,
)
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.internals import CheckRecord, latest_checks
from exd_dagster.definitions.metadata import escape_markdown, table
from exd_dagster.definitions.run_tags import audit_op_tags
from exd_dagster.definitions.store import BinStoreResource, bin_store, place_of
from exd_dagster.errors import StoreError, did_you_mean
from exd_dagster.stats.checks import with_evidence
from exd_dagster.stats.checks.assignment_collision import ASSIGNMENT_COLLISION
from exd_dagster.stats.fleet import discovered
from exd_dagster.stats.words import instant
from exd_dagster.telemetry.records import literal

FDR = 0.05
"""False discovery rate of the fleet's discoveries (e-BH)."""

INLINE = 1000
"""Markdown of this many characters or more is hidden behind a click by Dagster."""


def build_flag_trust(
    flags: Sequence[FlagAudit],
    trust_checks: Mapping[FlagId, dg.AssetCheckKey],
    *,
    fleet: str = DEFAULT_FLEET,
    group_name: str = "experiments",
    base_url: str = "",
    sensor_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
    pool: str = STORE_POOL,
    also: Sequence[dg.AssetCheckKey] = (),
    also_assets: Sequence[dg.AssetKey] = (),
    reports: Mapping[dg.AssetCheckKey, FlagAudit] = MappingProxyType({}),
    news: Callable[[dg.DagsterInstance], str] = lambda _: "",
) -> tuple[dg.AssetsDefinition, Any, dg.SensorDefinition]:
    """Build the asset, its job, and the sensor that refreshes it after each audit.

    The asset has no upstream assets, so that a failing flag cannot block it.

    Args:
        flags: those of the fleet.
        trust_checks: the `trust` check of each flag.
        fleet: name of the fleet.
        group_name: asset group.
        base_url: address of the Dagster UI, for links to runs.
        sensor_status: whether the sensor starts automatically; running by default.
        pool: concurrency pool of every op that writes the store.
        also: further checks that the job runs, because they too are due after each audit.
        also_assets: likewise, further assets.
        reports: the checks `reconcile` of reports, each with the flag that its report is about.
        news: text without blanks that changes when the job is due although no audit ended.
    """
    known, names = {flag.id: flag for flag in flags}, FleetNames(fleet)
    paths = {flag: asset_path(key.asset_key) for flag, key in trust_checks.items()}

    @dg.asset(
        key=names.trust,
        group_name=group_name,
        kinds={"duckdb", "html"},
        metadata=table_metadata("flag_trust", TRUST_SCHEMA),
        description="Which flags may be used, and up to when: one row per flag, environment and iteration.",
        required_resource_keys={names.store},
        check_specs=[
            dg.AssetCheckSpec(COLLISION, asset=names.trust, description=ASSIGNMENT_COLLISION.question)
        ],
        op_tags=audit_op_tags(),
        pool=pool,
    )
    def flag_trust(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        store = bin_store(context, names.store)
        for flag, record, reason in unanswered(context.instance, trust_checks):
            before = read_trust(store.connection, flag)
            entry = not_checked_entry(known[flag], before, reason=reason, run_id=record.run_id, at=record.at)
            write_trust(store.connection, entry)
        entries = [entry for entry in read_trust(store.connection) if entry.row.flag in known]
        rows = [entry.row for entry in entries]
        mark_discoveries(store.connection, rows, discoveries(entries))
        collided = fleet_collisions(store.bins, flags, broken_splits(entries))
        mark_collisions(store.connection, rows, [pair.flags for pair in collided.collisions])
        mark_reports(store.connection, rows, off_reports(context.instance, reports))
        written = read_trust(store.connection)
        shown = [
            replace(
                entry.row,
                run_url=_run_url(base_url, entry.run_id),
                asset_url=f"{base_url.rstrip('/')}{paths[entry.row.flag]}" if base_url else "",
            )
            for entry in written
            if entry.row.flag in known
        ]
        text = trust_page(shown, written_at=utc_now())
        page = write_page(store, names.trust_page, text)
        return dg.MaterializeResult(
            metadata={**_metadata(shown, page, paths), "dagster/row_count": len(written)},
            check_results=[collision_result(collided)],
        )

    job = dg.define_asset_job(
        names.trust_job,
        selection=dg.AssetSelection.assets(flag_trust.key, *also_assets) | dg.AssetSelection.checks(*also),
        executor_def=dg.in_process_executor,
        description="Updates flag_trust and the incident ledger, and checks that alerts are delivered.",
    )

    @dg.sensor(
        name=names.trust_sensor,
        job=job,
        default_status=sensor_status,
        minimum_interval_seconds=30,
        description="Refreshes flag_trust after each audit, and the ledger when an incident or answer came.",
    )
    def refresh(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        records, running = latest_checks(context.instance, [*trust_checks.values(), *reports])
        newest = max((record.at.isoformat() for record in records), default="")
        if running:
            return dg.SkipReason("an audit is running")
        before, _, known = (context.cursor or "").partition(" ")
        new = news(context.instance)
        if newest <= before and new == known:
            return dg.SkipReason("no audit since the last refresh")
        context.update_cursor(f"{newest} {new}".strip())
        return dg.RunRequest(run_key=f"{newest}:{new}" if new else newest)

    return flag_trust, job, refresh


def unanswered(
    instance: dg.DagsterInstance, trust_checks: Mapping[FlagId, dg.AssetCheckKey]
) -> list[tuple[FlagId, CheckRecord, str]]:
    """Return the flags whose last audit ended without a result, its record, and why.

    Their checks crashed, or did not start because the bins could not be built, so no check wrote their row.
    """
    keys = list(trust_checks.values())
    built = {key: dg.AssetCheckKey(key.asset_key, BINS_BUILT) for key in keys}
    records, _ = latest_checks(instance, [*keys, *built.values()])
    known = {record.key: record for record in records}
    found = []
    for flag, key in trust_checks.items():
        record, bins = known.get(key), known.get(built[key])
        if record is not None and record.passed is None:
            why = bins.description if bins is not None and bins.passed is False else ""
            found.append((flag, record, why or _CRASHED.format(run_id=record.run_id)))
    return found


_CRASHED = "Not checked: the last audit did not finish (run {run_id}); see its error and run the audit again."


def off_reports(
    instance: dg.DagsterInstance, reports: Mapping[dg.AssetCheckKey, FlagAudit]
) -> dict[FlagId, list[str]]:
    """Return, by flag, the assets of the reports whose units are not those exposed."""
    if not reports:
        return {}
    found: dict[FlagId, list[str]] = {}
    for record in latest_checks(instance, list(reports))[0]:
        if record.passed is False:
            found.setdefault(reports[record.key].id, []).append(record.key.asset_key.to_user_string())
    return {flag: sorted(set(names)) for flag, names in found.items()}


def broken_splits(entries: Sequence[TrustEntry]) -> set[FlagId]:
    """Return the flags of which a check of the whole split fails."""
    return {entry.row.flag for entry in entries if {*entry.row.failing} & {*with_evidence("split")}}


def discoveries(entries: Sequence[TrustEntry]) -> list[TrustRow]:
    """Return the rows that e-BH discovers at the fleet's false discovery rate, of newest iterations only.

    Args:
        entries: every row of the fleet, by flag and iteration.
    """
    newest = {entry.row.flag: entry for entry in entries}
    evidence = {flag: each.log_e_value for flag, each in newest.items() if each.log_e_value is not None}
    return [newest[flag].row for flag in discovered(evidence, FDR)]


def trust(
    flag: str,
    store: str | Path | DuckDBResource,
    *,
    namespace: str | None = None,
    environment: str | None = None,
) -> TrustRow:
    """Return the newest `flag_trust` row of a flag, for a notebook or a script.

    Args:
        flag: the flag's key.
        store: the DuckDB file of the bins, the address of another store (`ducklake:...`, `md:...`), or what
            the audit has as `store`.
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
    place = place_of(store) if isinstance(store, DuckDBResource) else place_at(store)
    store = place.address
    try:
        with closing(place.connect(read_only=True)) as connection:
            rows = [entry.row for entry in read_trust(connection)]
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{store} cannot be read: {reason}; give the store of the bins, and audit the flags again"
        ) from error
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
    """Return the run's address, or its bare id where the UI's own address is not known."""
    return f"{base_url.rstrip('/')}/runs/{run_id}" if run_id and base_url else run_id


def write_page(store: BinStoreResource, name: str, text: str) -> str:
    """Write a page beside the store, in a folder or on object storage, and return where it is."""
    page = place_of(store.duckdb).page(name)
    if "://" not in page:
        Path(page).write_text(text, encoding="utf-8")
        return str(Path(page).absolute())
    store.connection.execute(f"COPY (SELECT encode({literal(text)})) TO {literal(page)} (FORMAT blob)")
    return page


def asset_path(key: dg.AssetKey) -> str:
    """Return the path of the checks of an asset in Dagster's UI."""
    return f"/assets/{'/'.join(quote(part, safe='') for part in key.path)}?view=checks"


def _metadata(rows: Sequence[TrustRow], page: str, paths: Mapping[FlagId, str]) -> Mapping[str, Any]:
    ordered = by_urgency(rows)
    shown = [_record(row) for row in ordered]
    return {
        "attention": dg.MetadataValue.md(attention(ordered, paths)),
        "flags": table(shown) if shown else dg.MetadataValue.text("no flag is audited yet"),
        "trusted": sum(row.trusted is True for row in rows),
        "not_trusted": sum(row.trusted is False for row in rows),
        "page": dg.MetadataValue.path(page),
    }


def attention(ordered: Sequence[TrustRow], paths: Mapping[FlagId, str] = MappingProxyType({})) -> str:
    """Return the sentences of flags with a problem, as Markdown of under 1,000 characters.

    Dagster shows Markdown of that length in place, longer ones behind a click.

    Args:
        ordered: rows, the most urgent first.
        paths: of each flag's asset in Dagster's UI, which its name links to.
    """
    urgent = [row for row in ordered if row.standing != "trusted"]
    points = [f"- **{_linked(row, paths)}** {escape_markdown(clip(row.sentence, 500))}" for row in urgent]
    more = "\n- and {} more, in the table and on the page"
    shown = len(points)
    while shown and len("\n".join(points[:shown])) + len(more) + 5 > INLINE:
        shown -= 1
    rest = more.format(len(points) - shown) if shown < len(points) else ""
    return ("\n".join(points[:shown]) + rest).strip() or "No flag needs attention."


def _linked(row: TrustRow, paths: Mapping[FlagId, str]) -> str:
    name, path = escape_markdown(clip_name(visible(row.flag))), paths.get(row.flag)
    return f"[{name}]({path})" if path else name


def _record(row: TrustRow) -> dict[str, str]:
    """Three columns only: Dagster cuts off what does not fit next to the asset's definition."""
    by = f" by {row.waived_by}" if row.waived_by else ""
    found = ", discovered" if row.discovery else ""
    return {
        "flag": clip_name(str(row.flag)),
        "standing": STANDINGS[row.standing][1].lower() + by + found,
        "usable_until": instant(row.usable_until) if row.usable_until else "",
    }
