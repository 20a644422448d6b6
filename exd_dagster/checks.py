"""The audit of one flag as Dagster asset checks: srm, sequential_srm, traffic_drop and trust."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, TypeAlias

import dagster as dg

from exd_dagster.alerts.decision import Decision, active_decisions, waiver
from exd_dagster.assets import STORE_POOL
from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.decisions import load_decisions
from exd_dagster.flag_trust import iteration_start, trust_row
from exd_dagster.overview import verdict_metadata
from exd_dagster.plots import as_markdown_image, split_plot, traffic_plot
from exd_dagster.resources import BinStoreResource
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.trust import TrustVerdict, Waiver, settle, trust_verdict
from exd_dagster.stats.verdict import Verdict, plain
from exd_dagster.trust_table import TrustEntry, write_trust

AnyAsset: TypeAlias = dg.AssetKey | str | Sequence[str] | dg.AssetsDefinition | dg.AssetSpec

CHECKS: Mapping[str, str] = {
    "srm": "Do the counts of units agree with the declared split? Chi-square, exact where counts are small; "
    "repeated looks are paid for.",
    "sequential_srm": "Did the split break at any hour? Anytime-valid, so it may be asked every hour.",
    "traffic_drop": "Is the traffic of the newest hours what their hour of the week expects?",
    "trust": "May what builds on this flag be used? The one answer that gates and guards read.",
}
"""Name and question of each check of a flag."""


def check_keys(asset: dg.AssetKey) -> dict[str, dg.AssetCheckKey]:
    """Return the key of each check of the flag whose bins are `asset`, by name."""
    return {name: dg.AssetCheckKey(asset, name) for name in CHECKS}


def trust_key(asset: dg.AssetKey) -> dg.AssetCheckKey:
    """Return the key of the one check that gates and guards read."""
    return dg.AssetCheckKey(asset, "trust")


def build_flag_audit_checks(
    flag: FlagAudit,
    *,
    asset: AnyAsset,
    partitions: dg.PartitionsDefinition[str] | None = None,
    thresholds: Thresholds | None = None,
) -> dg.AssetChecksDefinition:
    """Build the checks of one flag: one op, so that its failure blocks nobody else's report.

    Args:
        flag: the flag to judge.
        asset: the asset that carries the checks; what is downstream of it is blocked by a failure.
        partitions: the partitions of that asset, where `asset` is only a key.
        thresholds: the levels of the tests.

    Returns:
        Subsettable, unpartitioned checks, blocking in mode "block". They need a `BinStoreResource` under the
        key `exd_store`.
    """
    key = asset_key_of(asset)
    levels = thresholds or Thresholds()
    if isinstance(asset, (dg.AssetsDefinition, dg.AssetSpec)):
        partitions = asset.partitions_def

    @dg.multi_asset_check(
        name="_".join([*key.path, "checks"]),
        specs=[
            dg.AssetCheckSpec(name, asset=key, blocking=flag.mode == "block", description=question)
            for name, question in CHECKS.items()
        ],
        can_subset=True,
        pool=STORE_POOL,
    )
    def flag_audit(
        context: dg.AssetCheckExecutionContext, exd_store: BinStoreResource
    ) -> Iterator[dg.AssetCheckResult]:
        done = audit(
            flag,
            exd_store.bins.read(flag),
            levels,
            decisions=load_decisions(context.instance),
            now=datetime.now(timezone.utc),
            judged=judged_window(context.run.tags, partitions),
        )
        write_trust(exd_store.connection, trust_entry(done, context.run.run_id))
        for verdict in (*done.verdicts, done.trust):
            if dg.AssetCheckKey(key, verdict.check) in context.selected_asset_check_keys:
                yield check_result(done, key, verdict)

    return flag_audit


@dataclass(frozen=True, slots=True)
class Audit:
    """One flag's bins, the verdicts on them, its one answer, and the waivers in force by check."""

    flag: FlagAudit
    bins: FlagBins
    verdicts: tuple[Verdict, ...]
    trust: TrustVerdict
    waivers: Mapping[str, Waiver | None]


def audit(
    flag: FlagAudit,
    bins: FlagBins,
    thresholds: Thresholds,
    *,
    decisions: Iterable[Decision] = (),
    now: datetime,
    judged: tuple[datetime, datetime] | None = None,
) -> Audit:
    """Judge one flag: its three verdicts after mode and decisions, then its one answer.

    Args:
        flag: the flag.
        bins: its closed bins.
        thresholds: the levels of the tests.
        decisions: every decision recorded.
        now: which decisions are in force (UTC).
        judged: the hours of the run, None: the last 24 closed ones.
    """
    active = active_decisions(decisions, flag.id, now)
    ended = next((decision for decision in active if decision.kind == "end"), None)
    verdicts = [_ended(v, ended) if ended else v for v in audit_flag(flag, bins, thresholds, judged=judged)]
    waivers = {v.check: _waiver_of(v, flag, active) for v in verdicts if v.failed}
    settled = [settle(verdict, flag.mode, waivers.get(verdict.check)) for verdict in verdicts]
    return Audit(flag, bins, tuple(settled), trust_verdict(settled, flag.mode, waivers), waivers)


def _waiver_of(verdict: Verdict, flag: FlagAudit, active: Sequence[Decision]) -> Waiver | None:
    begun = [phase.start for phase in flag.schedule if phase.start <= (verdict.audited_through or flag.start)]
    facts = verdict.as_metadata()
    decision = waiver(active, flag.id, verdict.check, facts, begun[-1] if begun else None)
    return Waiver(decision.by, decision.until, decision.reason) if decision else None


def _ended(verdict: Verdict, decision: Decision) -> Verdict:
    sentence = f"Skipped: {decision.by} ended this audit ({decision.reason})."
    return replace(verdict, verdict="skipped", severity=None, reason="ended", state=None, sentence=sentence)


def judged_window(
    tags: Mapping[str, str], partitions: dg.PartitionsDefinition[str] | None
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


def trust_entry(done: Audit, run_id: str) -> TrustEntry:
    """Return the flag's row of the table `flag_trust`, with the picture of the first failing check."""
    failing = [verdict for verdict in done.verdicts if verdict.failed]
    evidence = next(v for v in done.verdicts if v.check == "sequential_srm")
    log_e_value = getattr(evidence, "log_e_value", None) if evidence.verdict in ("pass", "fail") else None
    row = trust_row(done.flag, done.trust, picture(done, failing[0]) if failing else "")
    return TrustEntry(row, run_id, log_e_value)


def check_result(done: Audit, key: dg.AssetKey, verdict: Verdict) -> dg.AssetCheckResult:
    """Translate a verdict: only a failure fails; insufficient, skipped and not_checked say so in metadata."""
    waived = done.waivers.get(verdict.check)
    passed = verdict.trusted if isinstance(verdict, TrustVerdict) else not verdict.failed
    severity = dg.AssetCheckSeverity.ERROR if verdict.severity == "ERROR" else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=verdict.check,
        passed=passed,
        severity=severity,
        description=description(done, verdict),
        metadata={
            "flag": done.flag.key,
            "namespace": done.flag.namespace or "",
            "environment": done.flag.environment or "",
            "mode": done.flag.mode,
            "iteration_start": str(plain(iteration_start(done.flag, verdict.audited_through))),
            **verdict_metadata(verdict),
            **as_dagster_metadata(verdict.as_metadata()),
            **({"waived_by": waived.by, "waived_until": str(plain(waived.until))} if waived else {}),
        },
    )


def description(done: Audit, verdict: Verdict) -> str:
    """Return what the UI shows without a click: the sentence on the first line, then the picture."""
    sentence = escape_markdown(verdict.sentence)
    svg = picture(done, verdict)
    if not svg:
        return sentence
    return f"{sentence}\n\n{as_markdown_image(svg, f'{verdict.check} of {done.flag.key}')}"


def picture(done: Audit, verdict: Verdict) -> str:
    """Draw what the verdict is about as SVG; "" where there is nothing to draw."""
    if verdict.check in ("srm", "sequential_srm"):
        return split_plot(done.bins, done.flag, verdict)
    return traffic_plot(done.bins, verdict) if verdict.check == "traffic_drop" else ""


def as_dagster_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is absent and wrap lists and mappings as JSON metadata."""
    return {
        name: dg.MetadataValue.json(value) if isinstance(value, (list, dict)) else value
        for name, value in values.items()
        if value is not None
    }


def escape_markdown(text: str) -> str:
    """Return `text` so that Dagster's markdown renderer shows it literally."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", text)


def asset_key_of(asset: AnyAsset) -> dg.AssetKey:
    """Return the one key of whatever stands for an asset."""
    if isinstance(asset, (dg.AssetsDefinition, dg.AssetSpec)):
        return asset.key
    return dg.AssetKey.from_coercible(asset)
