"""The check `stage_srm`: at which stage does the split break first: assigned, exposed, activated?

Every stage has the e-process of `sequential_srm` at alpha / (number of stages), so that with probability
1 - alpha no stage of a healthy flag ever fails (Bonferroni over the stages, anytime-valid in each). In an
iteration of several splits only exposure is tested: who activates now was exposed under an earlier split.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from exd_dagster.bins.model import FlagBins
from exd_dagster.config import EXPOSED
from exd_dagster.stats import words
from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.checks.sequential_srm import SEQUENTIAL_SRM
from exd_dagster.stats.sequential.sequential import DEFAULT_ALPHA, SequentialSrmVerdict
from exd_dagster.stats.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSrmVerdict(Verdict):
    """The first stage at which the split breaks.

    Attributes:
        headline: the key fact in a few words.
        stage: the first stage that fails; "" for none.
        stages: by stage, in their order: verdict, units by arm (observed) and anytime p-value.
        expected: declared shares.
        observed: units by arm at the failing stage.
        n: units at the failing stage.
        causes: where to look, as the stage before it is as declared.
    """

    headline: str = ""
    stage: str = ""
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)
    observed: Mapping[str, int] = field(default_factory=dict)
    n: int | None = None
    causes: tuple[str, ...] = ()


def _judge(case: Case) -> StageSrmVerdict:
    if not case.flag.stages:
        said = (
            'Skipped: no stages are declared; add stages={"assigned": [...], "exposed": [...]} to test them.'
        )
        return _plain("skipped", "no_stages", said)
    found = {stage: _tested(case, stage) for stage in case.flag.stages}
    stages = {
        stage: {
            "verdict": verdict.verdict,
            "observed": verdict.observed,
            "anytime_p_value": verdict.anytime_p_value,
        }
        for stage, verdict in found.items()
    }
    broken = next((stage for stage, verdict in found.items() if verdict.failed), None)
    if broken is None:
        return replace(_plain("pass", "", _healthy(found)), stages=stages)
    verdict, before = found[broken], list(found)[: list(found).index(broken)]
    sound = [stage for stage in before if found[stage].verdict == "pass" and found[stage].n]
    return StageSrmVerdict(
        check="stage_srm",
        verdict="fail",
        severity="ERROR" if "stage_srm" in case.flag.block_on else "WARN",
        reason="stage_split",
        state=verdict.state,
        bad_from=verdict.bad_from,
        bad_until=verdict.bad_until,
        usable_until=verdict.usable_until,
        headline=f"the split breaks at stage {broken}",
        stage=broken,
        stages=stages,
        expected=verdict.expected,
        observed=verdict.observed,
        n=verdict.n,
        causes=(_cause(broken, sound),),
        sentence=_broken(broken, sound, verdict),
    )


def _plain(verdict: Any, reason: str, said: str) -> StageSrmVerdict:
    return StageSrmVerdict(check="stage_srm", verdict=verdict, reason=reason, sentence=said)


def _tested(case: Case, stage: str) -> SequentialSrmVerdict:
    limits = case.thresholds.sequential_srm
    alpha = (DEFAULT_ALPHA[limits.method] if limits.alpha is None else limits.alpha) / len(case.flag.stages)
    shared = limits.model_copy(update={"alpha": alpha})
    bins: FlagBins | None = case.bins if stage == EXPOSED else case.stages.get(stage)
    if bins is None or not len(bins):
        return SequentialSrmVerdict(check=stage, verdict="insufficient", sentence="no unit yet")
    of_stage = replace(
        case,
        bins=bins,
        thresholds=case.thresholds.model_copy(update={"sequential_srm": shared}),
        carried=case.carried and case.carried.of(f"stage_srm {stage}"),
    )
    splits = [tuple(period.shares) for period in of_stage.window.periods]
    if stage != EXPOSED and len(set(splits)) > 1:
        return SequentialSrmVerdict(check=stage, verdict="skipped", sentence="not tested: the split changed")
    verdict: Any = SEQUENTIAL_SRM.judge(of_stage)
    return verdict  # type: ignore[no-any-return]


def _healthy(found: Mapping[str, SequentialSrmVerdict]) -> str:
    parts = []
    for stage, verdict in found.items():
        units = f"{words.number(verdict.n)} units" if verdict.n else "no unit yet"
        parts.append(f"{stage} {units}" if verdict.verdict != "skipped" else f"{stage} {verdict.sentence}")
    return f"The split breaks at no stage: {', '.join(parts)}."


def _broken(stage: str, sound: list[str], verdict: SequentialSrmVerdict) -> str:
    total = sum(verdict.expected.values()) or 1.0
    gaps = {
        arm: verdict.observed.get(arm, 0) / max(verdict.n, 1) - share / total
        for arm, share in verdict.expected.items()
    }
    arm = max(gaps, key=lambda name: abs(gaps[name]))
    declared = verdict.expected[arm] / total
    seen, wanted = words.against(declared + gaps[arm], declared)
    since = f" since {words.instant(verdict.bad_from)}" if verdict.bad_from else ""
    still = f"; as declared at {' and '.join(sound)}" if sound else ""
    units = words.number(verdict.n)
    return (
        f"The split breaks at stage {stage}{since}: {arm} {seen} of {units} units, {wanted} declared{still}."
    )


def _cause(stage: str, sound: list[str]) -> str:
    if stage == EXPOSED and sound:
        return (
            f"Between {sound[-1]} and exposed: one arm's code fails, redirects or is left before its "
            "exposure is logged, or its exposures are lost on the way."
        )
    if sound:
        return (
            f"Between {sound[-1]} and {stage}: what makes a unit {stage} depends on its arm; compare the "
            "arms among all exposed units."
        )
    return "The assignment itself: the share that is served, the hash, or records of one arm that are lost."


STAGE_SRM = Check(
    name="stage_srm",
    question="At which stage does the split break first: assigned, exposed, activated? Anytime-valid.",
    judge=_judge,
    alert_type="STAGE_SRM_TRIGGERED",
    wording=Wording(
        title="Stage SRM",
        heading="Split by stage",
        meaning="Units are lost unequally at one stage; results among the units of that stage are biased.",
        step="Compare the units of the stage with those of the stage before it{since}.",
    ),
    verdict=StageSrmVerdict,
    warns=True,
    needs="stages",
)
