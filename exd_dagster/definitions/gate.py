"""Blocking across runs.

Dagster's blocking checks stop downstream assets only in the run that evaluates them. Later runs, automation
and manual runs need one of these three, all of which read the `trust` check:

    gated_job        a job that evaluates the checks again and builds the reports that are not blocked
    gate_condition   an automation condition that waits until the flag is trusted
    blocked_by       a function for use in a report, which returns what blocks it and why
"""

import inspect
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from functools import wraps
from typing import Any, TypeVar

import dagster as dg

from exd_dagster.alerts.model import instant
from exd_dagster.audit.freshness import stale_sentence
from exd_dagster.config import floor_hour
from exd_dagster.definitions.checks import AnyAsset, asset_key_of, trust_key
from exd_dagster.definitions.internals import CheckRecord, latest_checks, materialized_at

F = TypeVar("F", bound=Callable[..., Any])


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
        & (_trusted(bins) if bins else condition.all_deps_blocking_checks_passed())
        & ~_of(bins, condition.any_deps_match(condition.freshness_failed()))
    )
    if fresh:
        gate &= _of(bins, condition.all_deps_match(condition.freshness_passed()))
    labelled: dg.AutomationCondition[Any] = gate.with_label("updated_and_trusted")
    return labelled


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

    Examples:
        >>> @dg.asset(deps=[["experiments", "checkout_bins"]])
        ... @blocked_by(["experiments", "checkout_bins"])
        ... def checkout_report() -> None: ...
    """
    keys = [trust_key(asset_key_of(asset)) for asset in bins]

    def decorate(report: F) -> F:
        signature = inspect.signature(report)
        takes_context = "context" in signature.parameters

        @wraps(report)
        def guarded(context: dg.AssetExecutionContext, *args: Any, **kwargs: Any) -> Any:
            refuse_unless_trusted(context.instance, keys, _now(), max_age=max_age, base_url=base_url)
            return report(context, *args, **kwargs) if takes_context else report(*args, **kwargs)

        if not takes_context:
            context = inspect.Parameter(
                "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=dg.AssetExecutionContext
            )
            signature = signature.replace(parameters=[context, *signature.parameters.values()])
            guarded.__annotations__ = {"context": dg.AssetExecutionContext, **report.__annotations__}
        guarded.__signature__ = signature  # type: ignore[attr-defined]
        return guarded  # type: ignore[return-value]

    return decorate


def refuse_unless_trusted(
    instance: dg.DagsterInstance,
    keys: Sequence[dg.AssetCheckKey],
    now: datetime,
    *,
    max_age: timedelta | None = None,
    base_url: str = "",
) -> None:
    """Raise a failure that names every `trust` check which does not let a report run.

    Raises:
        dagster.Failure: not to be retried, with a link to each check.
    """
    records, _ = latest_checks(instance, keys)
    known = {record.key: record for record in records}
    reasons = {key: why_not_trusted(instance, key, known.get(key), now, max_age) for key in keys}
    blocked = {key: reason for key, reason in reasons.items() if reason}
    if not blocked:
        return
    lines = [f"{key.asset_key.to_user_string()}: {reason}" for key, reason in blocked.items()]
    links = {
        key: f"/assets/{'/'.join(key.asset_key.path)}?view=checks&checkDetail={key.name}" for key in blocked
    }
    raise dg.Failure(
        "Blocked by the flag audit. " + " ".join(lines),
        metadata={
            key.asset_key.to_user_string(): dg.MetadataValue.url(base_url.rstrip("/") + link)
            for key, link in links.items()
        },
        allow_retries=False,
    )


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
    built = materialized_at(instance, key.asset_key)
    if built is not None and record.target_at is not None and record.target_at < built:
        return "its bins are newer than its audit; run the checks again."
    return _too_old(record, now, max_age)


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


def _now() -> datetime:
    return datetime.now(timezone.utc)
