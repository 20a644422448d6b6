"""The check `segment_traffic`: the traffic of each arm and of the largest segments against the rest."""

from dataclasses import replace

from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.segments.traffic import SegmentTrafficVerdict, segment_traffic


def _judge(case: Case) -> SegmentTrafficVerdict:
    verdict = segment_traffic(
        case.flag,
        case.closed,
        case.segments,
        case.thresholds.traffic_drop,
        judged=case.judged,
        carried=case.carried,
    )
    blocks = verdict.failed and SEGMENT_TRAFFIC.name in case.flag.block_on
    return replace(verdict, severity="ERROR") if blocks else verdict


SEGMENT_TRAFFIC = Check(
    name="segment_traffic",
    question="Is the traffic of one arm or one segment gone, while the rest of the flag holds?",
    judge=_judge,
    alert_type="SEGMENT_TRAFFIC_DROP",
    wording=Wording(
        title="Segment traffic",
        heading="Traffic by segment",
        meaning="One arm or segment of this flag is missing; recent results rest on the others alone.",
        step="Check whether this part still evaluates the flag{since}, and whether its records arrive.",
    ),
    verdict=SegmentTrafficVerdict,
    warns=True,
    evidence="segments",
)
