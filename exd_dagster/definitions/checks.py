"""The audit of one flag as Dagster asset checks: those of `CHECKS`, and `trust`, their one answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, TypeAlias

import dagster as dg

from exd_dagster.alerts.messages.answers import Launchpad
from exd_dagster.audit.carried_table import read_carried
from exd_dagster.audit.flag import Audit, audit
from exd_dagster.audit.trust import TrustVerdict
from exd_dagster.audit.trust_row import iteration_start
from exd_dagster.audit.trust_table import write_trust
from exd_dagster.bins.model import FlagSegments, Segment
from exd_dagster.config import FlagAudit, FlagId, Thresholds, Timing
from exd_dagster.config.instants import utc_now
from exd_dagster.config.stages import other_stages
from exd_dagster.definitions.assets import STORE_POOL
from exd_dagster.definitions.catalog import flag_names
from exd_dagster.definitions.decisions.asset import decision_launchpad, load_decisions
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.internals import location_of
from exd_dagster.definitions.metadata import check_metadata, escape_markdown, verdict_metadata
from exd_dagster.definitions.run_tags import audit_op_tags, tag_audit, tag_failing
from exd_dagster.definitions.store import BinStoreResource, bin_store
from exd_dagster.errors import ConfigError, ExdError
from exd_dagster.plots import as_markdown_image
from exd_dagster.stats.checks import blocks, checks_of, ensure_block_on, with_evidence
from exd_dagster.stats.segments.narrow import hours_within, look_within
from exd_dagster.stats.segments.verdict import SegmentSrmVerdict, Within
from exd_dagster.stats.srm.causes import Cause, likely_causes
from exd_dagster.stats.verdict import NEVER_COUNTED, Verdict, plain
from exd_dagster.telemetry.sources.duckdb import Records, as_records

AnyAsset: TypeAlias = dg.AssetKey | str | Sequence[str] | dg.AssetsDefinition | dg.AssetSpec

TRUST = "trust"
TRUST_QUESTION = "May what builds on this flag be used? The one answer that gates and guards read."


def check_keys(asset: dg.AssetKey, flag: FlagAudit | None = None) -> dict[str, dg.AssetCheckKey]:
    """Return the key of each check of the flag whose bins are `asset`, by name; None: those of every flag."""
    names = [check.name for check in checks_of(flag)]
    return {name: dg.AssetCheckKey(asset, name) for name in (*names, TRUST)}


def trust_key(asset: dg.AssetKey) -> dg.AssetCheckKey:
    """Return the key of the one check that gates and guards read."""
    return dg.AssetCheckKey(asset, TRUST)


def build_flag_audit_checks(
    flag: FlagAudit,
    *,
    asset: AnyAsset,
    records: Records | str | Any,
    thresholds: Thresholds | None = None,
    timing: Timing | None = None,
    max_age: timedelta | None = None,
    fleet: str = DEFAULT_FLEET,
    automation_condition: dg.AutomationCondition[Any] | None = None,
    pool: str = STORE_POOL,
    op_tags: Mapping[str, Any] | None = None,
) -> dg.AssetChecksDefinition:
    """Attach the audit of one flag to any asset: a dbt model, a sling table, a hand-written one.

    The checks count the records themselves, so they need no bins asset. Each flag has its own op, so that its
    failure does not block reports of other flags.

    Args:
        flag: the flag to audit.
        asset: the asset of the checks; a failure blocks its downstream assets.
        records: where the evaluation records are.
        thresholds: the levels of the tests.
        timing: when an hour is closed and how far back each run looks for late data.
        max_age: the flag is not trusted when its newest audited hour is older than this.
        fleet: whose store and whose decisions are used.
        automation_condition: when Dagster runs the checks automatically, for example
            `AutomationCondition.eager()`: after each materialization of the asset.
        pool: concurrency pool of the op; use one pool for all ops that write the same DuckDB file.
        op_tags: tags of the op, for an executor or a launcher.

    Returns:
        Subsettable, unpartitioned checks. They need a `BinStoreResource` under the key `exd_store`, of
        another fleet `<fleet>_store`.
    """
    partitions = asset.partitions_def if isinstance(asset, (dg.AssetsDefinition, dg.AssetSpec)) else None
    source, when = as_records(records), timing or Timing()

    def count(store: BinStoreResource) -> None:
        now = utc_now()
        start = max(store.bins.read(flag).audited_through, flag.start)
        counted = [flag, *other_stages(flag).values()]
        build = store.bins.update(source, counted, start, max(now, start), timing=when, now=now)
        if error := build.flags[flag.id].error:
            raise dg.Failure(f"Not checked: {error}", allow_retries=False)

    return flag_checks(
        flag,
        asset_key_of(asset),
        partitions=partitions,
        thresholds=thresholds,
        before=count,
        records=source,
        timing=timing,
        max_age=max_age,
        fleet=fleet,
        automation_condition=automation_condition,
        pool=pool,
        op_tags=op_tags,
    )


def flag_checks(
    flag: FlagAudit,
    key: dg.AssetKey,
    *,
    partitions: dg.PartitionsDefinition[Any] | None = None,
    thresholds: Thresholds | None = None,
    before: Any = None,
    records: Records | None = None,
    timing: Timing | None = None,
    max_age: timedelta | None = None,
    fleet: str = DEFAULT_FLEET,
    automation_condition: dg.AutomationCondition[Any] | None = None,
    pool: str = STORE_POOL,
    op_tags: Mapping[str, Any] | None = None,
) -> dg.AssetChecksDefinition:
    """Build the checks of one flag on bins that are there, or that `before` (a store's function) makes.

    Of `records`, a failing segment is read again to see whether a second dimension explains it.
    """
    ensure_block_on(flag)
    levels, names = thresholds or Thresholds(), FleetNames(fleet)
    questions = {**{check.name: check.question for check in checks_of(flag)}, TRUST: TRUST_QUESTION}

    @dg.multi_asset_check(
        name=_op_name(key),
        specs=[
            dg.AssetCheckSpec(
                name,
                asset=key,
                blocking=flag.mode == "block" and (name == TRUST or blocks(name, flag.block_on)),
                description=question,
                metadata=flag_names(flag.id),
                automation_condition=automation_condition,
            )
            for name, question in questions.items()
        ],
        can_subset=True,
        required_resource_keys={names.store},
        pool=pool,
        op_tags=audit_op_tags(op_tags),
    )
    def flag_audit(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        tag_audit(context)
        store = bin_store(context, names.store)
        if before is not None:
            before(store)
        bins = store.bins.read(flag)
        segments = store.bins.segments(flag, bins)
        carried = read_carried(store.connection, flag.id)
        done = audit(
            flag,
            bins,
            levels,
            now=utc_now(),
            decisions=load_decisions(context.instance, fleet),
            judged=judged_window(context.run.tags, partitions),
            max_age=max_age,
            segments=segments,
            stages={name: store.bins.read(stage) for name, stage in other_stages(flag).items()},
            look_within=partial(_look_within, flag, store, records, timing, context),
            carried=carried,
        )
        done = with_causes(done, segments, context)
        if not done.trust.trusted:
            tag_failing(context, flag.id)
        write_trust(store.connection, done.trust_entry(context.run.run_id), carried)
        for verdict in (*done.verdicts, done.trust):
            if dg.AssetCheckKey(key, verdict.check) in context.selected_asset_check_keys:
                yield check_result(done, key, verdict, decision_launchpad(fleet, location_of(context.run)))

    return flag_audit


def _op_name(asset: dg.AssetKey) -> str:
    """Longer keys are joined as Dagster joins its own: flag a_b is not flag b of namespace a."""
    # Logs of a step are files that bear its name, which leaves room for some 200 letters.
    name = ("_" if len(asset.path) <= 2 else "__").join([*asset.path, "checks"])
    return name if len(name) <= 200 else f"{name[:180]}_{sha256(name.encode()).hexdigest()[:8]}_checks"


def with_causes(done: Audit, segments: FlagSegments, context: dg.AssetCheckExecutionContext) -> Audit:
    """Find likely causes of a broken split. Errors here never fail the check."""
    if not done.split_failed:
        return done
    try:
        phase, since, end = done.faulty_phase
        counts = segments.between(since, end).totals()
        return replace(done, causes=tuple(likely_causes(counts, phase.split)))
    except ExdError as error:
        context.log.warning("No causes were looked for: %s", error)
        return done


def _look_within(
    flag: FlagAudit,
    store: BinStoreResource,
    records: Records | None,
    timing: Timing | None,
    context: dg.AssetCheckExecutionContext,
    verdict: SegmentSrmVerdict,
) -> SegmentSrmVerdict:
    """Read a failing segment from the log by every other dimension. Errors here never fail the check."""
    hours = hours_within(flag, verdict)
    if records is None or hours is None:
        return verdict
    phase, since, until = hours
    segment = Segment(str(verdict.dimension), str(verdict.value), 0)
    try:
        units = store.bins.within(records, flag, segment, since, until, timing=timing, now=utc_now())
        return look_within(verdict, units, phase.split, since, until)
    except ExdError as error:
        context.log.warning("The segment at fault was not looked into: %s", error)
        return replace(verdict, within=Within(sentence=f"Not looked into further: {error}."))


def judged_window(
    tags: Mapping[str, str], partitions: dg.PartitionsDefinition[Any] | None
) -> tuple[datetime, datetime] | None:
    """Return the hours of the run's partitions `[start, end)`, None for a run without partitions."""
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end") or tags.get("dagster/partition")
    if not (first and last and isinstance(partitions, dg.TimeWindowPartitionsDefinition)):
        return None
    return (
        partitions.time_window_for_partition_key(first).start,
        partitions.time_window_for_partition_key(last).end,
    )


def check_result(
    done: Audit,
    key: dg.AssetKey,
    verdict: Verdict,
    launchpad: Launchpad = Launchpad(),  # noqa: B008 - frozen
) -> dg.AssetCheckResult:
    """Translate a verdict: only a failure fails; insufficient, skipped and not_checked say so in metadata.

    `trust` does not pass either for a blocking flag of which no unit was ever counted.
    """
    passed = verdict.trusted if isinstance(verdict, TrustVerdict) else not verdict.failed
    answer = answer_link(launchpad, done.flag.id, "*") if verdict.severity == "ERROR" else {}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=verdict.check,
        passed=passed,
        severity=dg.AssetCheckSeverity(verdict.severity or "WARN"),
        description=description(done, verdict),
        metadata=check_metadata(
            {**_about(done, verdict), **verdict.as_metadata()},
            {**answer, **verdict_metadata(verdict)},
        ),
    )


def answer_link(launchpad: Launchpad, flag: FlagId, check: str) -> dict[str, Any]:
    """Return the link to a decision about a failure that blocks, filled in."""
    offered = launchpad.answers([flag], check, utc_now())
    links = [answer.address for answer in offered if answer.kind == "acknowledge"]
    return {"answer": dg.MetadataValue.url(links[0])} if links else {}


def description(done: Audit, verdict: Verdict) -> str:
    """Return the description shown in the UI: the sentence on the first line, then chart and likely cause."""
    parts = [escape_markdown(verdict.sentence)]
    if svg := done.picture(verdict.check):
        parts.append(as_markdown_image(svg, f"{verdict.check} of {done.flag.key}"))
    if done.notes and verdict.check in ("srm", TRUST) and verdict.reason != NEVER_COUNTED:
        parts.append(f"Note: {escape_markdown('; '.join(done.notes))}.")
    if causes := causes_of(done, verdict):  # one picture: Dagster hides anything taller behind "Show more"
        more = f" {len(causes) - 1} more under `causes`." if len(causes) > 1 else ""
        parts.append(f"Likely cause, from the data: {escape_markdown(causes[0].sentence)}{more}")
    return "\n\n".join(parts)


def causes_of(done: Audit, verdict: Verdict) -> tuple[Cause, ...]:
    """Return the likely causes of a verdict; only a broken split has any."""
    return done.causes if verdict.failed and verdict.check in with_evidence("split") else ()


def _about(done: Audit, verdict: Verdict) -> dict[str, Any]:
    """Metadata that identifies the flag, the same in every check."""
    about: dict[str, Any] = {
        **flag_names(done.flag.id),
        "mode": done.flag.mode,
        "iteration_start": plain(iteration_start(done.flag, verdict.audited_through)),
    }
    if done.flag.end is not None:
        about["flag_end"] = plain(done.flag.end)
    if verdict.check in done.trust.would_block:
        about["would_block"] = True
    if waived := done.waivers.get(verdict.check):
        about |= {"waived_by": waived.by, "waived_until": plain(waived.until)}
    if done.notes:
        about["unmatched"] = list(done.notes)
    if verdict.failed and verdict.check in with_evidence("split") and done.segment_fault is not None:
        about["segment_fault"] = done.segment_fault.key_facts()
    if causes := causes_of(done, verdict):
        about["causes"] = [cause.as_metadata() for cause in causes]
    return about


def asset_key_of(asset: AnyAsset) -> dg.AssetKey:
    """Return the one key of whatever stands for an asset.

    Raises:
        ConfigError: for a multi-asset as a whole.
    """
    if isinstance(asset, dg.AssetsDefinition) and len(asset.keys) > 1:
        keys = ", ".join(sorted(key.to_user_string() for key in asset.keys))
        raise ConfigError("asset", [f"it has several assets: {keys}; give the key of one"])
    if isinstance(asset, (dg.AssetsDefinition, dg.AssetSpec)):
        return asset.key
    return dg.AssetKey.from_coercible(asset)
