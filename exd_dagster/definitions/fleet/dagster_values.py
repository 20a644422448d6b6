"""What a project hands on to Dagster, tried before anything is built: all faults at once, with the fix."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.config import FlagAudit
from exd_dagster.errors import ConfigError

TRIED = ("group_name", "key_prefix", "pool", "cron", "cron_timezone")
"""Arguments whose values `check_dagster_values` tries."""


def key_of(asset: dg.AssetKey | str | None) -> dg.AssetKey | None:
    """Return the key of an asset that may be written as text, `raw/log`."""
    return dg.AssetKey.from_user_string(asset) if isinstance(asset, str) else asset


def check_types(flags: object, store: object, alerts: object) -> None:
    """Refuse arguments of a wrong type.

    Raises:
        ConfigError: with every fault.
    """
    faults = [
        f"{name}: {type(value).__name__!s} is no list; write {name}=[...]"
        for name, value in (("flags", flags), ("alerts", alerts))
        if not isinstance(value, (list, tuple))
    ]
    if isinstance(flags, (list, tuple)):
        faults += [
            f"flags: {repr(flag)[:80]} is no FlagAudit; write exd.FlagAudit(key=...)"
            for flag in flags
            if not isinstance(flag, FlagAudit)
        ]
    if isinstance(alerts, (list, tuple)):
        faults += [
            f"alerts: {type(each).__name__} is no destination; write for example exd.SlackAlerts(...)"
            for each in alerts
            if not hasattr(each, "name")
        ]
    if not isinstance(store, DuckDBResource):
        faults.append(
            'store: write DuckDBResource(database="exd.duckdb"), from dagster_duckdb, '
            "or exd.DuckLakeResource(catalog=...)"
        )
    if faults:
        raise ConfigError("build_flag_audit_defs", faults)


def check_dagster_values(
    group_name: str,
    key_prefix: Sequence[str],
    pool: str | None,
    cron: str | None,
    cron_timezone: str,
    max_age: timedelta | None,
) -> None:
    """Refuse values that Dagster would refuse when the project is loaded.

    Raises:
        ConfigError: with every fault.
    """
    letters = "write letters, digits and _"
    tried: list[tuple[str, object, str, Callable[[], object]]] = [
        ("group_name", group_name, letters, lambda: dg.AssetSpec("exd", group_name=group_name)),
        ("key_prefix", key_prefix, f"{letters}, as a list", lambda: _assets(key_prefix)),
        ("pool", pool, "write letters, digits, _, - and /", lambda: _assets(["exd"], pool=pool)),
        ("cron", cron, "write five fields, such as 30 3 * * *", lambda: _schedule(cron, "UTC")),
        ("max_age", max_age, "write a minute or more", lambda: _policy(max_age)),
        ("cron_timezone", cron_timezone, "write a name such as Europe/Berlin", lambda: _zone(cron_timezone)),
    ]
    faults = [fault for value in tried for fault in _fault(*value)]
    if faults:
        raise ConfigError("build_flag_audit_defs", faults)


def _fault(name: str, value: object, fix: str, make: Callable[[], object]) -> list[str]:
    try:
        make()
    except Exception:  # noqa: BLE001 - Dagster and what it calls raise many kinds
        return [f"{name}: {value!r} is not accepted by Dagster; {fix}"]
    return []


def _assets(prefix: Sequence[str], **values: Any) -> dg.AssetsDefinition:
    if isinstance(prefix, str):
        raise TypeError("a list of names, not one name")

    @dg.multi_asset(name="exd", specs=[dg.AssetSpec(dg.AssetKey([*prefix, "exd"]))], **values)
    def assets() -> None: ...

    # the op of the checks is called after the key
    dg.OpDefinition(compute_fn=lambda: None, name="_".join([*prefix, "exd"]))
    return assets


def _schedule(cron: str | None, zone: str) -> None:
    if cron:
        dg.ScheduleDefinition(name="exd", job_name="exd", cron_schedule=cron, execution_timezone=zone)


def _policy(max_age: timedelta | None) -> None:
    if max_age is not None:
        dg.FreshnessPolicy.time_window(fail_window=max_age)


def _zone(zone: str) -> None:
    if not zone.strip():
        raise ValueError("empty")
    _schedule("0 0 * * *", zone)
