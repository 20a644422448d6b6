"""The data model of alerting.

`CheckState` is one check as read by a tick; an `Alert` is one episode of one failing check; an `Incident`
groups the open alerts of one flag; an `OutboxEntry` is a message queued for one destination; a `Receipt` is
its result; a `PastIncident` is what is kept of one that is over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from exd_dagster.alerts.past import PastIncident
from exd_dagster.config import FlagId, Mode
from exd_dagster.stats.checks import blocks, check_of
from exd_dagster.stats.verdict import Answer, Severity, State

Reason: TypeAlias = Literal[
    "fire",
    "outage",
    "remind",
    "escalate",
    "acknowledge",
    "summary",
    "contained",
    "resolve",
    "not_monitored",
    "not_checked",
    "digest",
    "dead_letter",
    "shutoff",
    "test",
]
Status: TypeAlias = Literal["sent", "already_sent", "pending", "dead"]
Facts: TypeAlias = Mapping[str, Any]
Subject: TypeAlias = tuple[str, str, str, str, str]
"""Namespace, environment, flag, check and alert type: what a receipt stores of an alert."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A kind of destination and its limits, declared beside its sender.

    Attributes:
        name: slack, email, ...: in deliveries, and `type` in YAML.
        read_by_people: alerts of one owner share a message, and it gets the digest by default. The others get
            one payload per alert.
        attempts: a message is given up after so many; None: when it is 23 h old.
        can_suspend: it may be `on_shutoff`.
        acknowledges: it is notified when a person acknowledges an incident.
    """

    name: str
    read_by_people: bool = False
    attempts: int | None = None
    can_suspend: bool = False
    acknowledges: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState:
    """One monitored check as read by a tick.

    Attributes:
        flag: the flag it belongs to.
        check: its name: srm, sequential_srm, traffic_drop, bins_built, ...
        verdict: its latest verdict; "not_checked" also when its run ended without one.
        severity: of a failure.
        sentence: the verdict in one sentence.
        at: when the check was evaluated (UTC), as its record says.
        run_id: the Dagster run that evaluated it.
        facts: the verdict's metadata, strict JSON.
        mode: what a failure does.
        block_on: the further checks that the flag lets block.
        owners: who owns the flag.
        asset: path of the asset the check belongs to.
    """

    flag: FlagId
    check: str
    verdict: Answer
    severity: Severity | None = None
    sentence: str = ""
    at: datetime
    run_id: str = ""
    facts: Facts = field(default_factory=dict)
    mode: Mode = "block"
    block_on: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    asset: tuple[str, ...] = ()

    @property
    def pages(self) -> bool:
        """True for a failure that is sent at once: one that blocks, would in mode warn, or is of a fleet."""
        if check_of(self.check).sent:
            return self.verdict == "fail" and self.mode != "observe"
        urgent = self.severity == "ERROR" or (self.mode == "warn" and self.would_block)
        return self.verdict == "fail" and urgent and blocks(self.check, self.block_on)

    @property
    def would_block(self) -> bool:
        """True for a failure that blocks in mode block and is a warning in the flag's mode."""
        return bool(self.facts.get("would_block"))

    @property
    def state(self) -> State | None:
        """Of a failure: "ongoing" or "contained"."""
        return self.facts.get("state")

    def instant(self, name: str) -> datetime | None:
        """Return a fact that is an instant, such as `bad_from` (UTC), or None."""
        return instant(self.facts.get(name))


def instant(value: object) -> datetime | None:
    """Read an RFC 3339 instant out of facts; None where there is none."""
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else None
    except ValueError:
        return None


def change_hour(facts: Facts) -> datetime | None:
    """Return the hour the split most likely broke (UTC): `change_point`, or its `hour`; None without one."""
    found = facts.get("change_point")
    return instant(found.get("hour") if isinstance(found, Mapping) else found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One episode of one check of one flag; passed to callbacks.

    Attributes:
        id: `<fingerprint>-<opened_at>`: the same for the same episode, whoever computes it.
        flag: the failing flag.
        check: the failing check.
        alert_type: the check's, such as SRM_SHUTOFF_TRIGGERED, or NOT_CHECKED.
        severity: of the failure.
        sentence: the verdict in one sentence.
        opened_at: evaluation of the check that opened the episode (UTC).
        facts: the numbers of the verdict, strict JSON.
        mode: what the failure does.
        owners: who owns the flag.
        asset: path of the asset the check belongs to.
        run_id: the Dagster run that evaluated the check last.
    """

    id: str
    flag: FlagId
    check: str
    alert_type: str
    severity: str
    sentence: str
    opened_at: datetime
    facts: Facts = field(default_factory=dict)
    mode: Mode = "block"
    owners: tuple[str, ...] = ()
    asset: tuple[str, ...] = ()
    run_id: str = ""

    @property
    def contained(self) -> bool:
        """True when the recent hours agree again and only past ones are at fault."""
        return self.facts.get("state") == "contained"

    def instant(self, name: str) -> datetime | None:
        """Return a fact that is an instant, such as `bad_from` (UTC), or None."""
        return instant(self.facts.get(name))

    @property
    def blocks(self) -> bool:
        """True when the failure blocks reports."""
        return self.mode == "block" and self.severity == "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """The open alerts of one flag: one thread, closed by one notification.

    Attributes:
        id: derived from the flag and from the evaluation that opened it.
        flag: the flag.
        opened_at: evaluation of the check that opened it (UTC).
        iteration: start of the experiment iteration, as in the verdict.
        alerts: ids of its alerts by check.
        recovered: checks that pass again while others still fail.
        notified_at: time of the last notification (clock of the tick, UTC); None while it is inhibited.
        fired_at: time of the last "failing" notification (UTC).
        contained: True once `contained` was sent.
        reminded: True once the reminder was sent.
        shutoff: "" (not asked), "asked", or "suspended" after the hook answered 2xx.
        threads: by destination, what the channel needs to post in the same thread.
        delivered_at: when a message about its failure was first delivered to any destination (UTC).
        reminded_at: time of the last reminder (UTC).
        escalated_at: when it was escalated because nobody acknowledged it (UTC).
        acknowledged: True once `acknowledge` was sent.
        digest_only: True when its failure went to a digest only: long past, or one of many at first.
        unmonitored_at: when `not_monitored` was sent while it failed (UTC); None while it is monitored.
    """

    id: str
    flag: FlagId
    opened_at: datetime
    iteration: str = ""
    alerts: Mapping[str, str] = field(default_factory=dict)
    recovered: tuple[str, ...] = ()
    notified_at: datetime | None = None
    fired_at: datetime | None = None
    contained: bool = False
    reminded: bool = False
    shutoff: Literal["", "asked", "suspended"] = ""
    threads: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    delivered_at: datetime | None = None
    reminded_at: datetime | None = None
    escalated_at: datetime | None = None
    acknowledged: bool = False
    digest_only: bool = False
    unmonitored_at: datetime | None = None

    @property
    def reported(self) -> bool:
        """True once it was sent to anybody, if only in a digest."""
        return self.notified_at is not None or self.fired_at is not None or self.digest_only


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """One message queued for one destination.

    Attributes:
        id: derived from incidents, reason, alerts and destination, so a repeated decision is the same entry.
        destination: name of the destination.
        channel: name of its channel.
        reason: why it is sent.
        alerts: ids of its alerts.
        incidents: ids of their incidents.
        note: additional text: the cause of a resolution, the reason of a dead letter.
        lines: the contents of a digest or dead letter.
        created_at: when it was decided (UTC).
        attempts: how often it was tried.
        next_attempt_at: not tried before this (UTC).
        last_error: redacted response of the last attempt.
        recipients: those not reached yet after a partial success; empty: all.
        held_until: not sent now, because of quiet hours or the cap; expected release (UTC).
        capped: True when only the cap holds it.
        released_at: when it was released; its age counts from then (UTC).
        summarized: of a summary, (reason, alert, note) of each message it replaces.
    """

    id: str
    destination: str
    channel: str
    reason: Reason
    alerts: tuple[str, ...] = ()
    incidents: tuple[str, ...] = ()
    note: str = ""
    lines: tuple[tuple[str, ...], ...] = ()
    created_at: datetime
    attempts: int = 0
    next_attempt_at: datetime
    last_error: str = ""
    recipients: tuple[str, ...] = ()
    held_until: datetime | None = None
    capped: bool = False
    released_at: datetime | None = None
    summarized: tuple[tuple[Reason, str, str], ...] = ()

    @property
    def parts(self) -> tuple[tuple[Reason, str, str], ...]:
        """(reason, alert, note) of everything it says; of a summary those of each message it replaces."""
        return self.summarized or tuple((self.reason, alert, self.note) for alert in self.alerts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The result of an entry: sent, or given up as a dead letter.

    Attributes:
        entry: the entry at its last attempt; without contents once sent.
        status: "sent" or "dead".
        at: when (UTC).
        provider_id: the id at the destination: Slack's ts, the Message-ID of the e-mail, the webhook-id.
        place: where it is there: Slack's id of the channel; "" where there is one place.
        detail: the redacted response; of a dead letter, why it was given up.
        subjects: (namespace, environment, flag, check, alert_type) of each alert.
        unreported: True for a dead letter not yet reported elsewhere.
    """

    entry: OutboxEntry
    status: Literal["sent", "dead"]
    at: datetime
    provider_id: str = ""
    detail: str = ""
    subjects: tuple[Subject, ...] = ()
    unreported: bool = False
    place: str = ""

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reason each of `subjects` was sent for."""
        reasons = tuple(reason for reason, _, _ in self.entry.summarized)
        return reasons or (self.entry.reason,) * len(self.subjects)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """All state kept between ticks; one versioned JSON value in the instance's storage.

    Attributes:
        version: of this layout.
        revision: counts the saves.
        home: code location whose sensor writes this state.
        started: True once a first audit was sent.
        incidents: open incidents by flag (`str(FlagId)`).
        closed: incidents closed within the damping window, by flag.
        unmonitored: incidents that were open when their flag was no longer monitored, by flag.
        alerts: alerts that incidents or entries refer to, by id.
        unchecked: by `<flag>:<check>`, the reason sent for `not_checked`.
        outage: by flag, the drop sent as part of a source outage that still lasts.
        outbox: entries not sent yet, oldest first.
        receipts: results of the others, newest last.
        paused: by destination, no attempt before this instant (UTC).
        digest_through: data time covered by the last digest (UTC).
        replayed: the last request to queue dead letters again that was handled (UTC).
        past: incidents that are over, oldest first: what the ledger reads.
    """

    version: int = 6
    revision: int = 0
    home: str = ""
    started: bool = False
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    closed: Mapping[str, Incident] = field(default_factory=dict)
    unmonitored: Mapping[str, Incident] = field(default_factory=dict)
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    unchecked: Mapping[str, str] = field(default_factory=dict)
    outage: Mapping[str, str] = field(default_factory=dict)
    outbox: tuple[OutboxEntry, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    paused: Mapping[str, datetime] = field(default_factory=dict)
    digest_through: datetime | None = None
    replayed: datetime | None = None
    past: tuple[PastIncident, ...] = ()

    def incident(self, incident_id: str) -> Incident | None:
        """Return the open, just closed or no longer monitored incident of that id."""
        known = (*self.incidents.values(), *self.closed.values(), *self.unmonitored.values())
        return next((incident for incident in known if incident.id == incident_id), None)

    def bump(self) -> "AlertState":
        """Return the state with the next revision."""
        return replace(self, revision=self.revision + 1)


def subject(alert: Alert) -> Subject:
    """Return what a receipt stores of an alert."""
    flag = alert.flag
    return flag.namespace, flag.environment, flag.key, alert.check, alert.alert_type
