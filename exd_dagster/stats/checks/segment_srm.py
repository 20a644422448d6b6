"""The check `segment_srm`: the split of every value of every dimension, at one error rate for all of them."""

from dataclasses import replace

from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.segments.segment_srm import segment_srm
from exd_dagster.stats.segments.verdict import SegmentSrmVerdict


def _judge(case: Case) -> SegmentSrmVerdict:
    verdict = segment_srm(
        case.flag, case.bins, case.segments, case.thresholds.segment_srm.alpha, case.carried
    )
    blocks = verdict.failed and SEGMENT_SRM.name in case.flag.block_on
    return replace(verdict, severity="ERROR") if blocks else verdict


SEGMENT_SRM = Check(
    name="segment_srm",
    question="Did the split break in one segment: one SDK version, browser, country? Anytime-valid over all "
    "segments together.",
    judge=_judge,
    alert_type="SEGMENT_SRM_TRIGGERED",
    wording=Wording(
        title="Segment SRM",
        heading="Split by segment",
        meaning="One segment of this flag is not split as declared; results that hold its units are biased.",
        step="Check what changed for this segment{since}: a release, a redirect, a blocked script.",
    ),
    verdict=SegmentSrmVerdict,
    warns=True,
    evidence="segments",
)
