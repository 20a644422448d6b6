"""The asset `flag_tables`: publishes after each audit; a warehouse that cannot be written fails it alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg

from exd_dagster.audit.trust_table import read_trust
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.definitions.catalog import declared_at
from exd_dagster.definitions.fleet.names import FleetNames
from exd_dagster.definitions.internals import latest_checks
from exd_dagster.definitions.publish.tables import (
    BINS,
    DAYS,
    OWNER,
    TRUST,
    VERDICTS,
    Row,
    bins_rows,
    day_digests,
    trust_rows,
    verdict_rows,
)
from exd_dagster.definitions.publish.warehouse import Replaced, Warehouse, between, condition
from exd_dagster.definitions.run_tags import audit_op_tags
from exd_dagster.definitions.store import BinStoreResource, bin_store

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NOT_WRITTEN = (
    "Not published: {error}. The warehouse has what it had, whole; the audit itself is done. Correct the "
    "connection or the role's rights and materialize this asset again; the next audit does so too."
)


def build_publication(
    warehouse: Warehouse,
    checks: Mapping[dg.AssetCheckKey, FlagAudit],
    *,
    fleet: str,
    group_name: str,
    pool: str,
) -> dg.AssetsDefinition:
    """Build the asset that publishes the bins, trust and verdicts of a fleet.

    Args:
        warehouse: where.
        checks: every check of the fleet.
        fleet: its name.
        group_name: asset group.
        pool: concurrency pool of ops that open the store.
    """
    names = FleetNames(fleet)

    @dg.asset(
        key=names.own("flag_tables"),
        deps=[names.trust],
        group_name=group_name,
        kinds={"table"},
        metadata=declared_at(),
        description=f"flag_bins, flag_trust and flag_verdicts in the schema {warehouse.schema_name} of the "
        "warehouse, replaced in one transaction after each audit.",
        required_resource_keys={names.store},
        op_tags=audit_op_tags(),
        pool=pool,
    )
    def flag_tables(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        store = bin_store(context, names.store)
        try:
            written = publish(warehouse, store, context.instance, checks)
        except Exception as error:  # every driver has its own
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise dg.Failure(_NOT_WRITTEN.format(error=said)) from error
        return dg.MaterializeResult(metadata=written)

    return flag_tables


def publish(
    warehouse: Warehouse,
    store: BinStoreResource,
    instance: dg.DagsterInstance,
    checks: Mapping[dg.AssetCheckKey, FlagAudit],
) -> dict[str, int]:
    """Bring the tables of a fleet's flags up to date, all or nothing; return the rows written by table.

    Of the bins only days that changed are written.
    """
    flags = sorted({flag.id for flag in checks.values()})
    records, _ = latest_checks(instance, list(checks))
    entries = [entry for entry in read_trust(store.connection) if entry.row.flag in flags]
    with warehouse.connected() as backend:
        warehouse.make_tables(backend)
        owned = [condition(backend, **flag.columns) for flag in flags]
        parts: list[Replaced] = [
            (TRUST, owned, trust_rows(entries)),
            (VERDICTS, owned, verdict_rows(records, checks)),
        ]
        now = day_digests(store.connection, flags)
        before = _published(warehouse, backend, flags)
        for flag in flags:
            parts += _changed_bins(backend, store, flag, now, before)
        warehouse.replace(backend, parts)
    rows = Counter[str]()
    for table, _, written in parts:
        rows[table.name] += len(written)
    return rows


def _changed_bins(
    backend: Any, store: BinStoreResource, flag: FlagId, now: Mapping[Row, str], before: Mapping[Row, str]
) -> list[Replaced]:
    """Return what replaces the bins of a flag, from the first day that differs to the last."""
    own = tuple(flag.columns.values())
    days = sorted({key[-1] for key in {*now, *before} if key[:-1] == own and now.get(key) != before.get(key)})
    if not days:
        return []
    first, end = days[0], days[-1] + 1
    of_flag = condition(backend, **flag.columns)
    hours = between(backend, "hour", "timestamptz", *(_EPOCH + timedelta(days=day) for day in (first, end)))
    numbers = between(backend, "day", "bigint", first, end)
    digests = [(*key, digest) for key, digest in now.items() if key[:-1] == own and first <= key[-1] < end]
    return [
        (BINS, [f"{of_flag} AND {hours}"], bins_rows(store.connection, flag, first, end - 1)),
        (DAYS, [f"{of_flag} AND {numbers}"], digests),
    ]


def _published(warehouse: Warehouse, backend: Any, flags: Sequence[FlagId]) -> dict[Row, str]:
    known = {tuple(flag.columns.values()) for flag in flags}
    rows = warehouse.rows(backend, DAYS)
    return {tuple(row[:-1]): row[-1] for row in rows if tuple(row[: len(OWNER)]) in known}
