"""The check `traffic_drop`: recent traffic against the same hours of earlier weeks."""

from dataclasses import replace

from exd_dagster.bins.model import HOUR
from exd_dagster.config import floor_hour
from exd_dagster.stats import words
from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.traffic.declared import declared_hours, whole_hours
from exd_dagster.stats.traffic.traffic import TrafficVerdict, traffic_drop_test


def _judge(case: Case) -> TrafficVerdict:
    flag, judged = case.flag, case.judged
    whole = whole_hours(flag, case.closed)
    if judged is not None and flag.end is not None and judged[0] >= floor_hour(flag.end):
        judged = None  # the flag has ended: its last day is evaluated
    limits = case.thresholds.traffic_drop
    volumes = whole.units.sum(axis=1)
    declared, left_out = declared_hours(flag, whole, whole.delivered, volumes.astype(float), limits.baseline)
    verdict = traffic_drop_test(
        volumes,
        declared=declared,
        left_out=left_out,
        method=limits.method,
        alarm_level=limits.alarm_level,
        drop_fraction=case.thresholds.evaluation_rate_anomaly.drop_fraction,
        window=limits.window,
        z_threshold=limits.z_threshold,
        delivered=whole.delivered,
        judged=None if judged is None else (whole.index(judged[0]), whole.index(judged[1])),
        carried=case.carried and case.carried.of("traffic_drop"),
    )
    if verdict.tests_from is not None:
        head = verdict.sentence.split(";", maxsplit=1)[0]
        start = words.instant(whole.start + HOUR * verdict.tests_from)
        return replace(verdict, sentence=f"{head}; tests from {start}.")
    if verdict.first_bad is None or verdict.last_bad is None:
        return verdict
    bad_from = whole.start + HOUR * verdict.first_bad
    bad_until = None if verdict.state == "ongoing" else whole.start + HOUR * (verdict.last_bad + 1)
    return replace(
        verdict,
        bad_from=bad_from,
        bad_until=bad_until,
        usable_until=bad_from,
        sentence=f"{verdict.sentence[:-1]} {words.hours(bad_from, bad_until)}.",
    )


TRAFFIC_DROP = Check(
    name="traffic_drop",
    question="Is recent traffic what these hours of the week normally bring?",
    judge=_judge,
    alert_type="TRAFFIC_DROP_ANOMALY",
    wording=Wording(
        title="Traffic drop",
        heading="Traffic",
    ),
    verdict=TrafficVerdict,
    blocks="by default",
    evidence="traffic",
)
