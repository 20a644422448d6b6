"""`incident_ledger`: what became of incidents and what they were, as asset, table and page."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import dagster as dg

from exd_dagster.alerts.policy.ledger import (
    CheckLearned,
    LedgerRow,
    by_check,
    ledger_rows,
    noisiest,
    precision_words,
)
from exd_dagster.audit.ledger_page import advice, ledger_page
from exd_dagster.audit.ledger_table import read_ledger, write_ledger
from exd_dagster.audit.rejudge import Tried, best_setting
from exd_dagster.bins.model import FlagBins, FlagSegments
from exd_dagster.config import FlagAudit, FlagId, Thresholds
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.assets import STORE_POOL
from exd_dagster.definitions.catalog import LEDGER_SCHEMA, table_metadata
from exd_dagster.definitions.decisions.asset import load_decisions, remembered_incidents
from exd_dagster.definitions.flag_trust import write_page
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.internals import materialized_at
from exd_dagster.definitions.metadata import escape_markdown, table
from exd_dagster.definitions.run_tags import audit_op_tags
from exd_dagster.definitions.store import BinStoreResource, bin_store
from exd_dagster.errors import ExdError


def build_incident_ledger(
    flags: Sequence[FlagAudit],
    thresholds: Thresholds | None = None,
    *,
    fleet: str = DEFAULT_FLEET,
    group_name: str = "experiments",
    pool: str = STORE_POOL,
) -> dg.AssetsDefinition:
    """Build the asset, which the job of `flag_trust` refreshes after each audit.

    Args:
        flags: those of the fleet.
        thresholds: today's settings of the checks.
        fleet: name of the fleet.
        group_name: asset group.
        pool: concurrency pool of every op that writes the store.
    """
    known, names, levels = {flag.id: flag for flag in flags}, FleetNames(fleet), thresholds or Thresholds()

    @dg.asset(
        key=names.ledger,
        group_name=group_name,
        kinds={"duckdb", "html"},
        metadata=table_metadata("incident_ledger", LEDGER_SCHEMA),
        description="What became of incidents: how fast they were found, answered and ended, what they were, "
        "and how precise each check is.",
        required_resource_keys={names.store},
        op_tags=audit_op_tags(),
        pool=pool,
    )
    def incident_ledger(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        store = bin_store(context, names.store)
        remembered = remembered_incidents(context.instance, names.alert_sensor)
        incidents = [i for i in remembered if known.keys() >= {*(i.flag.members or (i.flag,))}]
        write_ledger(store.connection, ledger_rows(incidents, load_decisions(context.instance, fleet)))
        written = read_ledger(store.connection)
        rows = [row for row in written if known.keys() >= {*(row.flag.members or (row.flag,))}]
        tried = _tried(context, store, rows, known, levels)
        text = ledger_page(rows, tried, written_at=utc_now())
        shown = _metadata(rows, tried, write_page(store, names.ledger_page, text))
        return dg.MaterializeResult(metadata={**shown, "dagster/row_count": len(written)})

    return incident_ledger


def ledger_news(instance: dg.DagsterInstance, fleet: str = DEFAULT_FLEET) -> str:
    """Return a text that changes when an incident begins or ends, or a person decides something."""
    names = FleetNames(fleet)
    incidents = remembered_incidents(instance, names.alert_sensor)
    decided = materialized_at(instance, names.decisions)
    if not incidents and decided is None:
        return ""
    known = sorted((i.id, str(i.resolved_at), len(i.alerts)) for i in incidents)
    return sha256(repr((known, decided)).encode()).hexdigest()[:16]


def _tried(
    context: dg.AssetExecutionContext,
    store: BinStoreResource,
    rows: Sequence[LedgerRow],
    flags: Mapping[FlagId, FlagAudit],
    thresholds: Thresholds,
) -> dict[str, Tried | None]:
    """Try other settings of each poor check; what cannot be tried stops nothing else."""

    def read(flag: FlagAudit) -> tuple[FlagBins, FlagSegments]:
        bins = store.bins.read(flag)
        return bins, store.bins.segments(flag, bins)

    found: dict[str, Tried | None] = {}
    for check in by_check(rows):
        if not check.poor:
            continue
        try:
            found[check.check] = best_setting(check.check, rows, flags, thresholds, read)
        except ExdError as error:
            context.log.warning("No other setting of %s was tried: %s", check.check, error)
    return found


def _metadata(rows: Sequence[LedgerRow], tried: Mapping[str, Tried | None], page: str) -> dict[str, Any]:
    learned = by_check(rows)
    incidents = {row.incident: row for row in rows}.values()
    poor = [f"- {escape_markdown(advice(check, tried.get(check.check)))}" for check in learned if check.poor]
    return {
        "advice": dg.MetadataValue.md("\n".join(poor) or "No check fails for nothing too often."),
        "checks": table([_record(check) for check in learned])
        if learned
        else dg.MetadataValue.text("no incident yet"),
        "flags": dg.MetadataValue.json(
            {str(flag): {"incidents": n, "false": false} for flag, n, false in noisiest(rows)[:20]}
        ),
        "incidents": len(incidents),
        "open": sum(row.resolved_at is None for row in incidents),
        "unanswered": sum(not row.verdict for row in incidents),
        "page": dg.MetadataValue.path(page),
    }


def _record(check: CheckLearned) -> dict[str, str]:
    """Three columns only: Dagster cuts off what does not fit next to the asset's definition."""
    counts = f"{check.real} real, {check.false} false, {check.expected} expected of {check.incidents}"
    precision = precision_words(check) or "not known yet"
    return {"check": check.check, "incidents": counts, "precision": precision}
