"""What is measured of audits and deliveries. Pure: from what a tick read to samples."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args

from exd_dagster.alerts.messages.words import duration
from exd_dagster.alerts.model import AlertState, instant
from exd_dagster.alerts.policy.retry import begun
from exd_dagster.monitoring.totals import Totals

Standing: TypeAlias = Literal["trusted", "warned", "waived", "blocked", "not_checked"]
STANDINGS: tuple[Standing, ...] = get_args(Standing)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric by its OpenTelemetry name; Prometheus has `_` for `.`, the unit and `_total` behind it.

    Attributes:
        name: dotted.
        description: one sentence.
        unit: by UCUM: "s", "1", or "{thing}" for a count.
        counter: True for one that only grows.
    """

    name: str
    description: str
    unit: str = "1"
    counter: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("exd.flags", "Flags by the standing of their last audit.", "{flag}"),
        Metric("exd.flags.judged", "Flags whose last audit has an answer.", "{flag}"),
        Metric("exd.audit.age", "Time since an audit last ended with an answer.", "s"),
        Metric("exd.audit.overdue", "1 when no audit ended within the time set."),
        Metric("exd.audit.duration", "Duration of the last run of the audit job.", "s"),
        Metric("exd.newest_hour.age", "Time since the end of the newest audited hour.", "s"),
        Metric("exd.incidents", "Open incidents.", "{incident}"),
        Metric("exd.outbox", "Messages that wait, by destination: due, or held by quiet hours.", "{message}"),
        Metric("exd.outbox.age", "Time the oldest due message has waited.", "s"),
        Metric(
            "exd.deliveries", "Messages delivered or given up, by destination.", "{message}", counter=True
        ),
        Metric("exd.delivery.failures", "Attempts that failed, by destination.", "{attempt}", counter=True),
        Metric(
            "exd.delivery.wait", "Time from decision to delivery, summed by destination.", "s", counter=True
        ),
        Metric("exd.alerting.healthy", "1 when messages are delivered and audits end in time."),
        Metric("exd.monitoring.duration", "Time this measurement took.", "s"),
    )
}
"""Every metric there is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; of a counter its total."""

    metric: str
    value: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagState:
    """A flag's last audit.

    Attributes:
        standing: what may be done with the flag.
        ended_at: when its bins were built by an audit whose checks answered (UTC); None: it has not.
        audited_through: end of its newest audited hour (UTC).
    """

    standing: Standing
    ended_at: datetime | None = None
    audited_through: datetime | None = None


def flag_state(
    facts: Mapping[str, Any], passed: bool | None, built_at: datetime | None, now: datetime
) -> FlagState:
    """Return the state of a flag.

    Args:
        facts: metadata of its check `trust`.
        passed: whether that passed; None: its run ended without an answer.
        built_at: when its bins were last built (UTC); None: they could not be.
        now: the time (UTC).
    """
    return FlagState(
        standing=_standing(facts, passed, now),
        ended_at=None if passed is None else built_at,
        audited_through=instant(facts.get("audited_through")),
    )


def _standing(facts: Mapping[str, Any], passed: bool | None, now: datetime) -> Standing:
    until = instant(facts.get("fresh_until"))
    if passed is False:
        return "blocked"
    if passed is None or facts.get("verdict") == "not_checked" or (until is not None and until <= now):
        return "not_checked"
    if facts.get("waived_by"):
        return "waived"
    return "warned" if facts.get("failing") else "trusted"


def last_ended(flags: Iterable[FlagState]) -> datetime | None:
    """Return when an audit last ended with an answer about any flag (UTC)."""
    return max((flag.ended_at for flag in flags if flag.ended_at is not None), default=None)


def overdue(last: datetime | None, since: datetime, within: timedelta, now: datetime) -> str:
    """Return the sentence that no audit ended in time, "" when one did.

    Args:
        last: when an audit last ended with an answer (UTC), None: never.
        since: from when on audits are expected (UTC), where none ended yet.
        within: how long there may be none.
        now: the time (UTC).
    """
    idle = now - (last or since)
    if idle < within:
        return ""
    before = f"the last at {last:%Y-%m-%d %H:%M} UTC" if last else "none since this is watched"
    return (
        f"No audit has ended for {duration(idle)} ({before}), and one is due every {duration(within)}. "
        "See whether the daemon runs, the schedule is on, and how the last run of the audit job ended."
    )


def samples(
    flags: Iterable[FlagState],
    state: AlertState,
    totals: Totals,
    *,
    late: bool,
    healthy: bool,
    audit_seconds: float | None,
    now: datetime,
) -> list[Sample]:
    """Return everything measured at `now`.

    Args:
        flags: every flag of the fleet.
        state: of the alert sensor.
        totals: of its deliveries so far.
        late: whether no audit ended in time.
        healthy: whether audits end and messages are delivered.
        audit_seconds: duration of the last run of the audit job, None when there was none.
        now: the time (UTC).
    """
    flags = list(flags)
    counted = Counter(flag.standing for flag in flags)
    newest = max((flag.audited_through for flag in flags if flag.audited_through), default=None)
    found = [Sample("exd.flags", counted[name], {"standing": name}) for name in STANDINGS]
    found += [
        Sample("exd.flags.judged", len(flags) - counted["not_checked"]),
        Sample("exd.audit.overdue", float(late)),
        Sample("exd.incidents", len(state.incidents)),
        Sample("exd.alerting.healthy", float(healthy)),
    ]
    ages = {"exd.audit.age": last_ended(flags), "exd.newest_hour.age": newest}
    found += [Sample(name, (now - at).total_seconds()) for name, at in ages.items() if at is not None]
    if audit_seconds is not None:
        found.append(Sample("exd.audit.duration", audit_seconds))
    return [*found, *_outbox(state, now), *deliveries_of(totals)]


def _outbox(state: AlertState, now: datetime) -> list[Sample]:
    due = [entry for entry in state.outbox if entry.held_until is None]
    waiting = Counter(
        (entry.destination, "due" if entry.held_until is None else "held") for entry in state.outbox
    )
    oldest = max(((now - begun(entry)).total_seconds() for entry in due), default=0.0)
    found = [
        Sample("exd.outbox", count, {"destination": name, "state": how})
        for (name, how), count in sorted(waiting.items())
    ]
    return [
        *(found or [Sample("exd.outbox", 0, {"destination": "", "state": "due"})]),
        Sample("exd.outbox.age", oldest),
    ]


def deliveries_of(totals: Totals) -> list[Sample]:
    """Return the counters of deliveries."""
    found = []
    for name in totals.destinations:
        to = {"destination": name}
        found += [
            Sample("exd.deliveries", totals.sent.get(name, 0), {**to, "status": "sent"}),
            Sample("exd.deliveries", totals.dead.get(name, 0), {**to, "status": "dead"}),
            Sample("exd.delivery.failures", totals.failures.get(name, 0), to),
            Sample("exd.delivery.wait", totals.seconds.get(name, 0.0), to),
        ]
    return found
