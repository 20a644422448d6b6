"""Blocking across runs.

Dagster's blocking checks stop downstream assets only in the run that evaluates them. Later runs, automation
and manual runs need one of these, all of which read the `trust` check (`protection/` puts them on reports of
others):

    gated_job        a job that evaluates the checks again and builds the reports that are not blocked
    gate_condition   an automation condition that waits until the flag is trusted
    blocked_by       a function for use in a report, which returns what blocks it and why
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import wraps
from typing import Any, TypeVar

import dagster as dg

from exd_dagster.alerts.messages.links import Links, base_url_faults
from exd_dagster.alerts.model import instant
from exd_dagster.audit.freshness import stale_sentence
from exd_dagster.config import floor_hour
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.checks import AnyAsset, asset_key_of, trust_key
from exd_dagster.definitions.internals import CheckRecord, latest_checks, materialized_at
from exd_dagster.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

BLOCKED_BY = "exd_blocked_by"
"""Attribute of a guarded function: the `trust` checks it reads."""
UPDATED_AND_TRUSTED = "updated_and_trusted"
"""Label of the gate's condition in the UI."""
_NEVER = datetime.min.replace(tzinfo=timezone.utc)


def gated_job(name: str, reports: dg.AssetSelection, *, bins: Sequence[AnyAsset], **job_options: Any) -> Any:
    """Define a job that audits the flags again from their bins and builds the reports they do not block.

    Args:
        name: job name.
        reports: the assets to build.
        bins: the bins assets whose checks gate them.
        **job_options: further arguments of `dagster.define_asset_job`.
    """
    keys = [asset_key_of(asset) for asset in bins]
    options = {"executor_def": dg.in_process_executor, **job_options}
    return dg.define_asset_job(
        name, selection=reports | dg.AssetSelection.checks_for_assets(*keys), **options
    )


def gate_condition(*bins: AnyAsset, fresh: bool = False) -> dg.AutomationCondition[Any]:
    """Return the condition "an upstream asset was updated, and every flag upstream is trusted".

    Works for unpartitioned reports over hourly bins, where `AutomationCondition.eager()` never fires. Add it
    to an asset definition, or to existing assets with `Definitions.map_asset_specs`.

    Args:
        *bins: the bins assets upstream, whose `trust` checks are read. Without any, all blocking checks
            upstream are read, and then a warning closes the gate too.
        fresh: require that the freshness policy of each of these bins passes. Bins that fail theirs
            (`max_age` of `build_flag_audit_defs`) always close the gate; bins without a policy, or whose
            policy was not
            evaluated yet, close it only with `fresh`.
    """
    condition = dg.AutomationCondition
    gate: Any = (
        condition.any_deps_updated().since_last_handled()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & trusted_condition(*bins)
    )
    if fresh:
        gate &= _of(bins, condition.all_deps_match(condition.freshness_passed()))
    labelled: dg.AutomationCondition[Any] = gate.with_label(UPDATED_AND_TRUSTED)
    return labelled


def trusted_condition(*bins: AnyAsset) -> dg.AutomationCondition[Any]:
    """Return the condition "every flag upstream is trusted"; it asks for nothing by itself.

    Args:
        *bins: the bins assets upstream; without any, all blocking checks upstream are read.
    """
    condition = dg.AutomationCondition
    passed = _trusted(bins) if bins else condition.all_deps_blocking_checks_passed()
    open_gate: dg.AutomationCondition[Any] = passed & ~_of(
        bins, condition.any_deps_match(condition.freshness_failed())
    )
    return open_gate


def _of(bins: Sequence[AnyAsset], condition: Any) -> Any:
    """Restrict a condition to these bins; without any, apply it to everything upstream."""
    return condition.allow(dg.AssetSelection.assets(*map(asset_key_of, bins))) if bins else condition


def _trusted(bins: Sequence[AnyAsset]) -> Any:
    """A failed WARN check closes `all_deps_blocking_checks_passed`, so only `trust` is read."""
    condition = dg.AutomationCondition
    passed = condition.all_checks_match(condition.check_passed() | condition.will_be_requested())
    keys = [trust_key(asset_key_of(asset)) for asset in bins]
    return condition.all_deps_match(passed.allow(dg.AssetSelection.checks(*keys)))


def blocked_by(*bins: AnyAsset, max_age: timedelta | None = None, base_url: str = "") -> Callable[[F], F]:
    """Decorate a report so that it refuses to run while a flag it builds on is not trusted.

    It refuses when the flag blocks, was never audited, its audit crashed, its bins are newer than that, the
    audit has become too old for the fleet's `max_age`, or a waiver that let reports run has ended.

    Args:
        *bins: the bins assets the report builds on.
        max_age: refuse also when the newest audited hour is older than this; None: the fleet's own limit.
        base_url: address of the Dagster UI, for the link to the check.

    Raises:
        ConfigError: for a `base_url` that is no URL.

    Examples:
        >>> @dg.asset(deps=[["experiments", "checkout_bins"]])
        ... @blocked_by(["experiments", "checkout_bins"])
        ... def checkout_report() -> None: ...
    """
    if faults := base_url_faults(base_url):
        raise ConfigError("blocked_by", faults)
    keys = [trust_key(asset_key_of(asset)) for asset in bins]

    def decorate(report: F) -> F:
        signature = inspect.signature(report)
        takes_context = "context" in signature.parameters

        @wraps(report)
        def guarded(context: dg.AssetExecutionContext, *args: Any, **kwargs: Any) -> Any:
            if blocked := blocked_checks(context.instance, keys, utc_now(), max_age=max_age):
                raise refusal(blocked, base_url)
            return report(context, *args, **kwargs) if takes_context else report(*args, **kwargs)

        if not takes_context:
            context = inspect.Parameter(
                "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=dg.AssetExecutionContext
            )
            signature = signature.replace(parameters=[context, *signature.parameters.values()])
            guarded.__annotations__ = {"context": dg.AssetExecutionContext, **report.__annotations__}
        guarded.__signature__ = signature  # type: ignore[attr-defined]
        setattr(guarded, BLOCKED_BY, keys)
        return guarded  # type: ignore[return-value]

    return decorate


def blocked_checks(
    instance: dg.DagsterInstance,
    keys: Sequence[dg.AssetCheckKey],
    now: datetime,
    *,
    max_age: timedelta | None = None,
    through: datetime | None = None,
) -> dict[dg.AssetCheckKey, str]:
    """Return why each `trust` check that does not let a report run does not.

    Args:
        instance: the Dagster instance.
        keys: the `trust` checks of the flags the report builds on.
        now: the time (UTC).
        max_age: the newest audited hour may be this old; None: the fleet's own limit.
        through: end of the hours that the run builds (UTC), where hours before a fault may be built although
            later ones are blocked; None: a flag that is not trusted blocks every hour.
    """
    records, _ = latest_checks(instance, keys)
    known = {record.key: record for record in records}
    reasons = {key: why_not_trusted(instance, key, known.get(key), now, max_age) for key in keys}
    return {
        key: reason
        for key, reason in reasons.items()
        if reason
        and not (through is not None and through <= (buildable_until(instance, known.get(key)) or _NEVER))
    }


def buildable_until(instance: dg.DagsterInstance, record: CheckRecord | None) -> datetime | None:
    """Return the end (UTC) of the hours that may be built although the flag is not trusted; None: no hour.

    This is `usable_until` of the failing checks. Where none fails (stale, or a waiver that ended), it is
    `audited_through`. An audit that crashed, or is older than the bins, makes no hour buildable.
    """
    if record is None or record.passed is None or _built_since(instance, record.key, record):
        return None
    fault = instant(record.metadata.get("usable_until"))
    return fault if record.metadata.get("failing") else instant(record.metadata.get("audited_through"))


def refusal(blocked: Mapping[dg.AssetCheckKey, str], base_url: str = "", more: str = "") -> dg.Failure:
    """Return the failure of a report, not to be retried, with the reasons and a link to each check.

    Args:
        blocked: from `blocked_checks`.
        base_url: address of the Dagster UI.
        more: a further sentence.
    """
    lines = [f"{key.asset_key.to_user_string()}: {reason}" for key, reason in blocked.items()]
    return dg.Failure(
        " ".join(["Blocked by the flag audit.", *lines, *([more] if more else [])]),
        metadata=check_links(blocked, base_url),
        allow_retries=False,
    )


def check_links(keys: Iterable[dg.AssetCheckKey], base_url: str = "") -> dict[str, dg.UrlMetadataValue]:
    """Return the address of each check's page, by the name of its asset."""
    links = Links(base_url)
    return {
        key.asset_key.to_user_string(): dg.MetadataValue.url(links.check(key.asset_key.path, key.name))
        for key in keys
    }


def why_not_trusted(
    instance: dg.DagsterInstance,
    key: dg.AssetCheckKey,
    record: CheckRecord | None,
    now: datetime,
    max_age: timedelta | None,
) -> str:
    """Return why the flag may not be used now, "" when it may."""
    if record is None:
        return "its audit never ran; run the audit job, or correct the key of the bins."
    if record.passed is None:
        return (
            f"its audit did not finish (run {record.run_id}); see that run's error and run the audit again."
        )
    if not record.passed:
        return str(record.metadata.get("sentence") or record.description.partition("\n")[0])
    waived_until = instant(record.metadata.get("waived_until"))
    if waived_until is not None and waived_until <= now:
        return f"it was waived until {waived_until:%Y-%m-%d %H:%M} UTC; run the checks again."
    if _built_since(instance, key, record):
        return "its bins are newer than its audit; run the checks again."
    return _too_old(record, now, max_age)


def _built_since(instance: dg.DagsterInstance, key: dg.AssetCheckKey, record: CheckRecord) -> bool:
    built = materialized_at(instance, key.asset_key)
    return built is not None and record.target_at is not None and record.target_at < built


def _too_old(record: CheckRecord, now: datetime, max_age: timedelta | None) -> str:
    """The age of the data counts, not that of the check: a check repeated on old bins learns nothing new."""
    through = instant(record.metadata.get("audited_through")) or record.at
    until, end = (instant(record.metadata.get(name)) for name in ("fresh_until", "flag_end"))
    blocks = record.metadata.get("mode", "block") == "block"
    if blocks and until is not None and until <= now:
        return stale_sentence(through, until)
    over = end is not None and through >= floor_hour(end)
    if max_age is None or over or now - through <= max_age:
        return ""
    return stale_sentence(through, through + max_age)
