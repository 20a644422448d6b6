"""The check `reconcile` on a report's asset: its units per arm against those that were exposed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

import dagster as dg
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from exd_dagster.alerts.messages.answers import Launchpad
from exd_dagster.alerts.policy.decisions import Decision, active_decisions, waiver
from exd_dagster.audit.flag import ended_verdict
from exd_dagster.audit.trust import Waiver, apply_mode
from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.config import ConfigModel, FlagAudit, Instant, floor_hour
from exd_dagster.config.instants import instant_of, utc_now
from exd_dagster.definitions.assets import STORE_POOL, bins_asset_keys
from exd_dagster.definitions.catalog import flag_names
from exd_dagster.definitions.checks import AnyAsset, answer_link, asset_key_of, judged_window
from exd_dagster.definitions.decisions.asset import decision_launchpad, load_decisions
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.internals import location_of, partitions_of
from exd_dagster.definitions.metadata import check_metadata, escape_markdown, reconcile_table
from exd_dagster.definitions.reports.units import UnitsByArm, asks_for, resources_of, units_of
from exd_dagster.definitions.store import BinStoreResource, bin_store
from exd_dagster.errors import ConfigError, ExdError, InputError, did_you_mean
from exd_dagster.stats import words
from exd_dagster.stats.checks.reconcile import RECONCILE
from exd_dagster.stats.reports.reconcile import Expects, Exposed, ReconcileVerdict, reconcile
from exd_dagster.stats.srm.looks import look_levels
from exd_dagster.stats.verdict import plain
from exd_dagster.stats.window import iteration_begun, phase_hours


class Reconcile(ConfigModel):
    """One report whose units per arm are compared with those exposed to a flag."""

    asset: str = Field(min_length=1, description="Key of the report's asset, for example reports/revenue.")
    flag: str = Field(min_length=1, description="Key of the flag, or namespace/environment/key.")
    units_by_arm: str | SkipJsonSchema[Callable[..., Any]] = Field(
        description="Query of two columns, arm and units; {since} and {until} are replaced by the window. In "
        "Python also a function of since, until, context or resources that returns {arm: units}."
    )
    connection: str | None = Field(
        default=None,
        description="Resource key of the database the query is run on: a DuckDBResource, an Ibis backend, or "
        "whatever has a DB-API connection; None: the DuckDB file of the bins.",
    )
    expects: Expects = Field(
        default="sample",
        description="all: the report holds every exposed unit, so that a single one of difference fails; "
        "sample: it holds those of them that activated, were triggered, bought, of every arm alike.",
    )
    window: Literal["iteration", "partition"] = Field(
        default="iteration",
        description="Units of the report: first exposed since the iteration began, or in its partition.",
    )
    until: Instant | None = Field(
        default=None,
        description="First instant the report no longer counts (UTC, a full hour); None: the end of its "
        "partition, or else {until}, which is where the audited hours end.",
    )
    blocking: bool = Field(
        default=False, description="True: a failure blocks what is downstream, if the flag is in mode block."
    )
    alpha: float = Field(
        default=0.001, gt=0, lt=1, description="Level of `sample` over all days of an iteration together."
    )
    name: str | None = Field(
        default=None,
        pattern=r"^reconcile_[A-Za-z0-9_]+$",
        description="Name of the check, reconcile_...; None: reconcile_<flag>.",
    )


def build_reconcile_check(
    *,
    asset: AnyAsset,
    flag: FlagAudit,
    units_by_arm: UnitsByArm,
    connection: str | None = None,
    expects: Expects = "sample",
    window: Literal["iteration", "partition"] = "iteration",
    until: datetime | str | None = None,
    blocking: bool = False,
    alpha: float = 0.001,
    name: str | None = None,
    fleet: str = DEFAULT_FLEET,
    automation_condition: dg.AutomationCondition[Any] | None = None,
    pool: str = STORE_POOL,
    op_tags: Mapping[str, Any] | None = None,
) -> dg.AssetChecksDefinition:
    """Compare a report's own units per arm with the units that were exposed to a flag.

    Finds joins that drop or repeat units of one arm, a filter, a wrong date: a sample-ratio mismatch that is
    in the report and not in the assignment. Both sides count units once, in the arm of their first
    exposure, from the start of the iteration (`window`) up to the same instant: `until`, else the end of the
    run's partition, else the end of the audited hours, which the report's query takes as `{until}`.

    With `expects="all"` one unit of difference fails. With "sample" the report may hold fewer: the check
    fails where it holds more than were exposed, or where chance does not explain that it keeps the arms
    unequally (`exd_dagster.stats.reports.kept`). While several splits lie in the window, a sample is compared
    from the last phase on, which the query must then take as `{since}`.

    Args:
        asset: the report's asset.
        flag: the flag that the report is about; its bins are read from the fleet's store.
        units_by_arm: a query of two columns, arm and units, in which `{since}` and `{until}` are replaced by
            quoted UTC instants; or a function of any of `since`, `until`, `context` and, by name, resources,
            which returns {arm: units}.
        connection: resource key of what the query is run on: a `DuckDBResource`, an Ibis backend, or what
            has a DB-API connection; None: the DuckDB file of the bins.
        expects: "all", or "sample".
        window: "iteration", or "partition" where each partition holds only the units first exposed in it.
        until: first instant the report no longer counts (UTC), on a full hour.
        blocking: a failure blocks what is downstream of the report in its run, if the flag is in mode block.
        alpha: level of "sample" over all looks of an iteration, divided among them as by `srm`.
        name: of the check, `reconcile_...`; None: `reconcile_<flag>`. A flag with several reports needs it.
        fleet: whose store is read.
        automation_condition: when Dagster runs the check by itself.
        pool: concurrency pool of the op; one for all ops that open the same DuckDB file.
        op_tags: tags of the op.

    Raises:
        ConfigError: for an argument that cannot be used, all faults at once.

    Examples:
        >>> build_reconcile_check(
        ...     asset="revenue_report",
        ...     flag=FlagAudit(key="checkout", split={"on": 0.5, "off": 0.5}, start="2026-03-01"),
        ...     units_by_arm="SELECT arm, count(*) FROM revenue WHERE exposed_at < {until} GROUP BY arm",
        ... ).check_key.to_user_string()
        'revenue_report:reconcile_checkout'
    """
    key, partitions = asset_key_of(asset), getattr(asset, "partitions_def", None)
    asked = Reconcile(
        asset=key.to_user_string(),
        flag=flag.key,
        units_by_arm=units_by_arm,
        connection=connection,
        expects=expects,
        window=window,
        until=None if until is None else instant_of(until, "reconcile", "until"),
        blocking=blocking,
        alpha=alpha,
        name=name,
    )
    if asked.until is not None and floor_hour(asked.until) != asked.until:
        raise ConfigError(
            f"reconcile of {asked.asset}", [f"until: {until} is within an hour; bins are hours"]
        )
    store_key, check_name = FleetNames(fleet).store, reconcile_name(flag, name)

    @dg.asset_check(
        asset=key,
        name=check_name,
        description=RECONCILE.question,
        blocking=blocking and flag.mode == "block",
        required_resource_keys={store_key, *resources_of(units_by_arm, connection)},
        automation_condition=automation_condition,
        pool=pool,
        op_tags=dict(op_tags or {}),
    )
    def reconcile_check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        store = bin_store(context, store_key)
        judged = judged_window(context.run.tags, partitions or partitions_of(context, key))
        verdict = _verdict(asked, flag, store, judged, context)
        if verdict.failed and blocking:
            verdict = replace(verdict, severity="ERROR")
        launchpad = decision_launchpad(fleet, location_of(context.run))
        return _decided(verdict, flag, check_name, load_decisions(context.instance, fleet), launchpad)

    return reconcile_check


def reconcile_name(flag: FlagAudit, name: str | None = None) -> str:
    """Return the name of the check of one flag."""
    (asset,) = bins_asset_keys([flag], ()).values()
    return name or f"{RECONCILE.name}_{'_'.join(asset.path).removesuffix('_bins')}"


def reconcile_checks(
    asked: Sequence[Reconcile | Mapping[str, Any]], flags: Sequence[FlagAudit], **options: Any
) -> tuple[dict[dg.AssetCheckKey, FlagAudit], list[dg.AssetChecksDefinition]]:
    """Build the checks of a fleet's reports, and say which flag each is about.

    Args:
        asked: the reports.
        flags: the fleet's flags.
        **options: further arguments of `build_reconcile_check`.

    Raises:
        ConfigError: for a flag that there is not, and two reports of a flag under one name.
    """
    about: dict[dg.AssetCheckKey, FlagAudit] = {}
    checks: list[dg.AssetChecksDefinition] = []
    faults: list[str] = []
    for number, given in enumerate(asked):
        one = given if isinstance(given, Reconcile) else Reconcile(**given)
        named = [flag for flag in flags if one.flag in (flag.key, str(flag.id))]
        if len(named) != 1:
            said = f"names {len(named)} flags; write namespace/environment/key" if named else "is not audited"
            near = "" if named else did_you_mean(one.flag, [str(flag.id) for flag in flags])
            faults.append(f"reconcile[{number}].flag: '{one.flag}' {said}.{near}")
            continue
        (flag,) = named
        given_by_name = {name: getattr(one, name) for name in Reconcile.model_fields}
        key = dg.AssetKey.from_user_string(one.asset)
        check = build_reconcile_check(**{**given_by_name, "asset": key, "flag": flag}, **options)
        name = check.check_key.name
        if any(other is flag and name == key.name for key, other in about.items()):
            faults.append(
                f"reconcile[{number}]: a second report of flag '{one.flag}'; give it a name of its own, for "
                f"example name: {name}_2"
            )
        about[check.check_key] = flag
        checks.append(check)
    if faults:
        raise ConfigError("reconcile", faults)
    return about, checks


def _verdict(
    asked: Reconcile,
    flag: FlagAudit,
    store: BinStoreResource,
    judged: tuple[datetime, datetime] | None,
    context: dg.AssetCheckExecutionContext,
) -> ReconcileVerdict:
    try:
        bins = store.bins.read(flag)
        since, until = _window(asked, flag, bins, judged)
        if until > bins.audited_through:
            through = words.instant(bins.audited_through)
            said = f"Not compared yet: the report counts until {words.instant(until)}, bins until {through}."
            return _unanswered("insufficient", "bins_behind", said)
        exposed = exposed_units(bins, since, until)
        connection = (
            store.connection if asked.connection is None else getattr(context.resources, asked.connection)
        )
        try:
            reported = units_of(asked.units_by_arm, context, connection, since, until)
        except ExdError:
            raise
        except Exception as error:  # of any database or function
            first = (str(error).splitlines() or [""])[0]
            said = f"the report's units could not be counted ({type(error).__name__}: {first})"
            raise InputError(said) from error
    except ExdError as error:
        return _unanswered("not_checked", "not_computable", f"Not checked: {error}.")
    level = look_levels(int((until - iteration_start(flag, until)) / HOUR), asked.alpha)[-1]
    reported = {arm: units for arm, units in reported.items() if arm not in flag.ignore_variants}
    return reconcile(_compared(exposed, flag, reported), reported, expects=asked.expects, level=float(level))


def _unanswered(verdict: Literal["insufficient", "not_checked"], reason: str, said: str) -> ReconcileVerdict:
    return ReconcileVerdict(check=RECONCILE.name, verdict=verdict, reason=reason, sentence=said)


def iteration_start(flag: FlagAudit, until: datetime) -> datetime:
    """Return the first hour of the iteration whose units are counted until then (UTC)."""
    return floor_hour(iteration_begun(flag, until - timedelta(microseconds=1)))


def _window(
    asked: Reconcile, flag: FlagAudit, bins: FlagBins, judged: tuple[datetime, datetime] | None
) -> tuple[datetime, datetime]:
    """Return the hours `[since, until)` whose units report and bins both count."""
    until = asked.until or (judged[1] if judged else None)
    if until is None:
        if not asks_for(asked.units_by_arm, "until"):
            raise InputError(
                "nothing says up to when the report counts; write {until} in its query (WHERE exposed_at < "
                "{until}), take `until` in its function, partition the report, or give until="
            )
        until = bins.audited_through
    since = iteration_start(flag, until)
    if asked.window == "partition":
        if judged is None:
            raise InputError('window "partition" needs a run of a partition of the report')
        since = max(since, judged[0])
    if until <= since:
        raise InputError(f"no hour lies between {words.instant(since)} and {words.instant(until)}")
    if floor_hour(until) != until or floor_hour(since) != since:
        raise InputError(f"{words.instant(since)} to {words.instant(until)} are no full hours, as bins are")
    return (_one_split(asked, flag, since, until) if asked.expects == "sample" else since), until


def _one_split(asked: Reconcile, flag: FlagAudit, since: datetime, until: datetime) -> datetime:
    """Return since when one split alone is served: with several, arms differ in age, and so in activation."""
    phases = flag.schedule
    begun = [phase for phase in phases if phase.start <= since][-1:]
    later = [phase for phase in phases if since < phase.start < until]
    splits = [phase.split for phase in (*begun, *later)]
    if all(split == splits[0] for split in splits[1:]):
        return since
    _, first, _ = phase_hours(flag, until - HOUR, until)
    if not asks_for(asked.units_by_arm, "since"):
        raise InputError(
            f"several splits lie between {words.instant(since)} and {words.instant(until)}; count units "
            "first exposed since the last: write {since} in the query (WHERE exposed_at >= {since})"
        )
    return max(since, first)


def exposed_units(bins: FlagBins, since: datetime, until: datetime) -> Exposed:
    """Return the units by arm that were first exposed in `[since, until)`."""
    hours = bins.between(since, until)
    units = dict(zip(hours.variants, hours.new_units.sum(axis=0).tolist(), strict=True))
    return Exposed(units=units, since=since, until=until, several=hours.fact_total("multi_variant_units"))


def _compared(exposed: Exposed, flag: FlagAudit, reported: Mapping[str, int]) -> Exposed:
    """Leave out undeclared arms that the report does not hold either: `srm` is about them."""
    declared = set(flag.variants) or set(exposed.units)
    units = {arm: count for arm, count in exposed.units.items() if arm in declared or arm in reported}
    return replace(exposed, units=units)


def _decided(
    verdict: ReconcileVerdict,
    flag: FlagAudit,
    check: str,
    decisions: Sequence[Decision],
    launchpad: Launchpad,
) -> dg.AssetCheckResult:
    """Apply the flag's mode and what people decided about this report, as for the checks of the flag."""
    active = active_decisions(decisions, flag.id, utc_now())
    if ended := next((decision for decision in active if decision.kind == "end"), None):
        return _result(ended_verdict(verdict, ended), flag, {}, {})
    found = waiver(active, flag.id, check, verdict.as_metadata()) if verdict.failed else None
    waived = Waiver(found.by, found.until, found.reason) if found else None
    about: dict[str, Any] = {}
    link: dict[str, Any] = {}
    if waived:
        about = {"waived_by": waived.by, "waived_until": plain(waived.until)}
    elif verdict.severity == "ERROR" and flag.mode == "block":
        link = answer_link(launchpad, flag.id, check)
    elif verdict.severity == "ERROR":
        about = {"would_block": True}
    return _result(apply_mode(verdict, flag.mode, waived), flag, about, link)


def _result(
    verdict: ReconcileVerdict, flag: FlagAudit, decided: Mapping[str, Any], link: Mapping[str, Any]
) -> dg.AssetCheckResult:
    said = escape_markdown(verdict.sentence)
    if "waived_by" in decided:
        said = f"Waived by {escape_markdown(decided['waived_by'])} until {decided['waived_until']}. {said}"
    if verdict.causes:
        said += f"\n\nLikely cause: {escape_markdown(verdict.causes[0])}"
    split = {"split": reconcile_table(verdict.exposed, verdict.reported)} if verdict.reported else {}
    return dg.AssetCheckResult(
        passed=not verdict.failed,
        severity=dg.AssetCheckSeverity(verdict.severity or "WARN"),
        description=said,
        metadata=check_metadata(
            {**decided, **flag_names(flag.id), "mode": flag.mode, **verdict.as_metadata()}, {**split, **link}
        ),
    )
