"""Evaluation of one flag: its bins, the verdicts after mode and decisions, and `trust`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from exd_dagster.alerts.policy.decisions import Decision, active_decisions, waiver
from exd_dagster.audit.freshness import fresh_until, stale_verdict
from exd_dagster.audit.trust import AnyVerdict, TrustVerdict, Waiver, apply_mode, trust_verdict, withheld
from exd_dagster.audit.trust_row import trust_row
from exd_dagster.audit.trust_table import TrustEntry
from exd_dagster.bins.model import FlagBins, FlagSegments
from exd_dagster.config import FlagAudit, Phase, Thresholds
from exd_dagster.plots import parts_plot, segments_plot, split_plot, traffic_plot
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.carried import Carried
from exd_dagster.stats.checks import CHECKS, blocks, checks_of, with_evidence
from exd_dagster.stats.segments.traffic import SegmentTrafficVerdict
from exd_dagster.stats.segments.verdict import SegmentSrmVerdict
from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict
from exd_dagster.stats.srm.causes import Cause
from exd_dagster.stats.srm.srm import SrmVerdict
from exd_dagster.stats.unseen import idle_phases, misspelt_variants
from exd_dagster.stats.verdict import Verdict
from exd_dagster.stats.window import phase_hours


@dataclass(frozen=True)
class Audit:
    """Everything known of one flag at one audit.

    Attributes:
        flag: the flag.
        bins: its closed bins.
        verdicts: of every check: first of those that block this flag, then of those that only inform.
        trust: its one answer.
        waivers: the waiver in force, by name of the failing check.
        causes: segments that explain a broken split, the strongest first.
    """

    flag: FlagAudit
    bins: FlagBins
    verdicts: tuple[Verdict, ...]
    trust: TrustVerdict
    waivers: Mapping[str, Waiver | None]
    causes: tuple[Cause, ...] = ()
    _drawn: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def _of_split(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.check in with_evidence("split"))

    @property
    def split_failed(self) -> bool:
        """True when a check of the split fails, of either severity."""
        return any(verdict.failed for verdict in self._of_split)

    @property
    def faulty_phase(self) -> tuple[Phase, datetime, datetime]:
        """The phase in which the failing split broke, and its hours: all units there have one split.

        Arms that get nothing now leave the hours since: before, a segment differs only for when it came.
        """
        failed = [verdict for verdict in self._of_split if verdict.failed]
        through, dead = self.bins.audited_through, dead_since(failed)
        broke = next((at for verdict in failed if (at := verdict.bad_from)), through)
        phase, first, end = phase_hours(self.flag, max([broke, *dead]), through)
        return phase, max([first, *dead]), end

    @property
    def segment_fault(self) -> SegmentSrmVerdict | None:
        """The verdict on the segments, where the split broke in some of them and the others are usable."""
        return segment_fault(self.verdicts)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Configured names that are not in the log, each with the nearest that is.

        Phases without a unit follow.
        """
        names = (*self.bins.unmatched, *misspelt_variants(self.flag, self.bins))
        return (*map(str, names), *idle_phases(self.flag, self.bins))

    def picture(self, check: str) -> str:
        """Draw what a check is about as SVG; "" where there is nothing to draw.

        `trust` shows the first failing check, but the segments where the split broke in one of them only.
        """
        if check == self.trust.check:
            check = next(iter(self.trust.failing), "")
            if check in with_evidence("split") and self.segment_fault is not None:
                check = self.segment_fault.check
        verdict = next((verdict for verdict in self.verdicts if verdict.check == check), None)
        if verdict is None or not CHECKS[check].evidence:
            return ""
        if isinstance(verdict, SegmentSrmVerdict):
            return segments_plot(verdict)
        if isinstance(verdict, SegmentTrafficVerdict):
            return parts_plot(verdict)
        if CHECKS[check].evidence == "segments":
            return ""
        split = CHECKS[check].evidence == "split"
        # Both checks of a healthy split show the same; that of a failing one is shown in flag_trust too.
        shown = f"split {verdict.verdict}" if split and not verdict.failed else check
        if shown not in self._drawn:
            self._drawn[shown] = (
                split_plot(self.bins, self.flag, verdict)
                if split
                else traffic_plot(self.bins, self.flag, verdict)
            )
        return self._drawn[shown]

    def trust_entry(self, run_id: str) -> TrustEntry:
        """Return the flag's row of the table `flag_trust`, with the picture of the first failing check."""
        evidence = next(verdict for verdict in self.verdicts if verdict.check == "sequential_srm")
        log_e_value = getattr(evidence, "log_e_value", None) if evidence.verdict in ("pass", "fail") else None
        return TrustEntry(
            trust_row(self.flag, self.trust, self.picture(self.trust.check)), run_id, log_e_value
        )


def segment_fault(verdicts: Iterable[Verdict]) -> SegmentSrmVerdict | None:
    """Return the verdict that names segments without which the flag is usable, None without one."""
    found = (v for v in verdicts if isinstance(v, SegmentSrmVerdict) and v.failed and v.usable_without)
    return next(found, None)


def dead_since(verdicts: Iterable[Verdict]) -> list[datetime]:
    """Return since when (UTC) each arm that gets nothing now gets nothing."""
    split = (verdict for verdict in verdicts if isinstance(verdict, (SrmVerdict, SequentialSrmVerdict)))
    return [since for verdict in split for since in verdict.dead_arms.values()]


def audit(
    flag: FlagAudit,
    bins: FlagBins,
    thresholds: Thresholds,
    *,
    now: datetime,
    decisions: Iterable[Decision] = (),
    judged: tuple[datetime, datetime] | None = None,
    max_age: timedelta | None = None,
    segments: FlagSegments | None = None,
    stages: Mapping[str, FlagBins] | None = None,
    look_within: Callable[[SegmentSrmVerdict], SegmentSrmVerdict] | None = None,
    carried: Carried | None = None,
) -> Audit:
    """Evaluate one flag.

    Args:
        flag: the flag.
        bins: its closed bins.
        thresholds: the levels of the tests.
        now: which decisions are in force, and how old the bins are (UTC).
        decisions: every decision recorded.
        judged: the hours of the run, None: the last 24 closed ones.
        max_age: the flag is not trusted when its newest bin is older than this; None: of any age.
        segments: the newly exposed units of the bins by segment; None: they are not divided.
        stages: the bins of the flag's other stages, by name.
        look_within: adds to the verdict on a failing segment what a second dimension says of it.
        carried: states of earlier evaluations; see `audit_flag`.
    """
    active = active_decisions(decisions, flag.id, now)
    ended = next((decision for decision in active if decision.kind == "end"), None)
    checks = checks_of(flag)
    judgement = audit_flag(
        flag,
        bins,
        thresholds,
        judged=judged,
        checks=checks,
        segments=segments,
        stages=stages,
        carried=carried,
    )
    found = [
        look_within(v) if look_within and v.failed and isinstance(v, SegmentSrmVerdict) else v
        for v in judgement
    ]
    verdicts = [ended_verdict(v, ended) if ended else v for v in found if blocks(v.check, flag.block_on)]
    beside = [v for v in found if not blocks(v.check, flag.block_on)]
    warnings = [v for v in beside if v.failed and CHECKS[v.check].warns and not ended]
    waivers = {v.check: _waiver_of(v, flag, active) for v in verdicts if v.failed}
    steady = [apply_mode(verdict, flag.mode, waivers.get(verdict.check)) for verdict in verdicts]
    until = None if ended else fresh_until(flag, bins.audited_through, max_age)
    stale = stale_verdict(bins.audited_through, until, now)
    held = withheld([*verdicts, *([stale] if stale else [])], flag.mode, waivers)
    trust = trust_verdict(
        steady,
        flag.mode,
        waivers,
        held,
        apply_mode(stale, flag.mode) if stale else None,
        warnings,
        segment_fault(found),
    )
    return Audit(flag, bins, (*steady, *beside), replace(trust, fresh_until=until), waivers)


def _waiver_of(verdict: Verdict, flag: FlagAudit, active: Sequence[Decision]) -> Waiver | None:
    begun = [phase.start for phase in flag.schedule if phase.start <= (verdict.audited_through or flag.start)]
    facts = verdict.as_metadata()
    decision = waiver(active, flag.id, verdict.check, facts, begun[-1] if begun else None)
    return Waiver(decision.by, decision.until, decision.reason) if decision else None


def ended_verdict(verdict: AnyVerdict, decision: Decision) -> AnyVerdict:
    """Return the verdict of an audit that a person ended."""
    sentence = f"Skipped: {decision.by} ended this audit ({decision.reason})."
    return replace(verdict, verdict="skipped", severity=None, reason="ended", state=None, sentence=sentence)
