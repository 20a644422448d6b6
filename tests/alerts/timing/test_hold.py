"""Quiet hours, caps and summaries: nothing is lost, nothing is told twice, nothing comes when it must not."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from exd_dagster.alerts.model import AlertState, OutboxEntry
from exd_dagster.alerts.policy.outcome import record_outcome
from exd_dagster.alerts.policy.retry import LIFETIME, Outcome
from exd_dagster.alerts.policy.timing.active_time import read_interval
from exd_dagster.alerts.policy.timing.hold import SUMMARIZED, URGENT, DeliveryRules, time_entries
from tests.alerts.make import NOW, alert

OFFICE = DeliveryRules(active_time=(read_interval("Mon-Fri 08:00-18:00"),), zone="Europe/Berlin")
NIGHT = NOW.replace(hour=2)  # Thursday 03:00 in Berlin
MORNING = NOW.replace(hour=7)  # 08:00 there
SENT = Outcome(status="sent")
FAILED = Outcome(status="retry")


def entry(number: int, reason: str = "fire", severity: str = "WARN", **changes) -> OutboxEntry:
    values = {"destination": "a", "channel": "email", "created_at": NIGHT, "next_attempt_at": NIGHT}
    named = (f"{severity}-{number}",)
    return OutboxEntry(id=f"{number}", reason=reason, alerts=named, **{**values, **changes})


def holding(*entries: OutboxEntry) -> AlertState:
    alerts = {name: alert(id=name, severity=name.partition("-")[0]) for e in entries for name in e.alerts}
    return AlertState(outbox=entries, alerts=alerts)


def due(state: AlertState) -> list[OutboxEntry]:
    return [entry for entry in state.outbox if entry.held_until is None]


def told(entry: OutboxEntry) -> list[tuple[str, str]]:
    """Reason and alert of everything a message says."""
    parts = [(reason, name) for reason, name, _ in entry.summarized]
    return parts or [(entry.reason, name) for name in entry.alerts]


def test_at_night_only_what_blocks_goes_out_and_the_rest_waits_for_the_morning():
    state = holding(entry(1), entry(2, severity="ERROR"), entry(3, "resolve", "ERROR"), entry(4, "digest"))
    timed = time_entries(state, {"a": OFFICE}, NIGHT)
    assert [e.id for e in due(timed)] == ["2"]
    assert {e.held_until for e in timed.outbox if e.id != "2"} == {MORNING}


def test_what_breaks_through_is_for_the_user_to_say():
    rule = replace(OFFICE, break_through=())
    assert not due(time_entries(holding(entry(1, severity="ERROR")), {"a": rule}, NIGHT))
    rule = replace(OFFICE, break_through=("ERROR", "WARN"))
    assert due(time_entries(holding(entry(1)), {"a": rule}, NIGHT))


def test_in_the_morning_held_messages_come_as_one_and_a_digest_by_itself():
    night = time_entries(
        holding(entry(1), entry(2), entry(3, "resolve"), entry(4, "digest")), {"a": OFFICE}, NIGHT
    )
    morning = due(time_entries(night, {"a": OFFICE}, MORNING))
    assert sorted(e.reason for e in morning) == ["digest", "summary"]
    (summary,) = [e for e in morning if e.reason == "summary"]
    assert summary.summarized == (("fire", "WARN-1", ""), ("fire", "WARN-2", ""), ("resolve", "WARN-3", ""))


def test_one_held_message_comes_as_it_is():
    night = time_entries(holding(entry(1)), {"a": OFFICE}, NIGHT)
    assert [e.id for e in due(time_entries(night, {"a": OFFICE}, MORNING))] == ["1"]


def test_a_program_gets_each_held_payload_by_itself():
    rules = {"a": replace(OFFICE, summarizes=False)}
    morning = time_entries(time_entries(holding(*map(entry, range(3))), rules, NIGHT), rules, MORNING)
    assert {e.id for e in due(morning)} == {"0", "1", "2"}


def test_a_message_that_failed_before_the_evening_waits_too_and_is_not_summarized():
    state = holding(entry(1, attempts=1), entry(2), entry(3))
    night = time_entries(state, {"a": OFFICE}, NIGHT)
    assert not due(night)
    assert {e.id for e in due(time_entries(night, {"a": OFFICE}, MORNING))} >= {"1"}


def test_the_age_of_a_held_message_counts_from_its_release():
    """Over a weekend it would be given up at its first refusal on Monday."""
    night = time_entries(holding(entry(1, created_at=NIGHT - timedelta(days=3))), {"a": OFFICE}, NIGHT)
    morning = time_entries(night, {"a": OFFICE}, MORNING)
    tried = record_outcome(morning, morning.outbox[0], FAILED, MORNING)
    assert [e.attempts for e in tried.outbox] == [1]
    nearly = replace(tried.outbox[0], attempts=9)
    again = record_outcome(tried, nearly, FAILED, MORNING + LIFETIME - timedelta(minutes=5))
    assert [e.next_attempt_at for e in again.outbox] == [MORNING + LIFETIME]
    late = MORNING + LIFETIME
    assert not record_outcome(tried, tried.outbox[0], FAILED, late).outbox


def test_of_too_many_messages_the_worst_go_alone_and_one_stands_for_the_rest():
    state = holding(*(entry(i) for i in range(5)), entry(9, severity="ERROR"))
    going = due(time_entries(state, {"a": DeliveryRules(max_per_hour=3)}, NIGHT))
    assert [(e.id if e.reason != "summary" else len(e.summarized)) for e in going] == ["9", "0", 4]


def test_when_the_hour_is_full_messages_wait_for_its_end_and_then_come_as_one():
    rules = {"a": DeliveryRules(max_per_hour=1)}
    first = time_entries(holding(entry(1)), rules, NIGHT)
    sent = record_outcome(first, first.outbox[0], SENT, NIGHT)
    more = replace(holding(entry(2), entry(3)), receipts=sent.receipts)
    full = time_entries(more, rules, NIGHT + timedelta(minutes=30))
    assert not due(full)
    assert {e.held_until for e in full.outbox} == {NIGHT + timedelta(hours=1)}
    assert [e.reason for e in due(time_entries(full, rules, NIGHT + timedelta(hours=1)))] == ["summary"]


def test_an_outbox_without_rules_is_left_alone():
    state = holding(entry(1), entry(2))
    assert time_entries(state, {"b": OFFICE}, NIGHT) is state


@dataclass
class Life:
    """Messages come in at any time, attempts succeed or fail, the clock goes on and now and then back."""

    rule: DeliveryRules
    now: datetime = NIGHT
    state: AlertState = field(default_factory=AlertState)
    came: list[tuple[str, str]] = field(default_factory=list)
    sent: list[tuple[datetime, OutboxEntry]] = field(default_factory=list)

    def add(self, reason: str, severity: str) -> None:
        number = len(self.came)
        new = entry(number, reason, severity, created_at=self.now, next_attempt_at=self.now)
        alerts = {**self.state.alerts, **holding(new).alerts}
        self.state = replace(self.state, outbox=(*self.state.outbox, new), alerts=alerts)
        self.came += told(new)

    def tick(self, refused: Iterator[bool]) -> None:
        self.state = time_entries(self.state, {"a": self.rule}, self.now).bump()
        for entry in due(self.state):
            if entry.next_attempt_at > self.now:
                continue
            bad = next(refused, False)
            if not bad:
                self.sent.append((self.now, entry))
            self.state = record_outcome(self.state, entry, FAILED if bad else SENT, self.now).bump()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.sampled_from([*SUMMARIZED[:-1], "digest"]), st.sampled_from(["ERROR", "WARN"])),
                max_size=6,
            ),
            st.integers(-30, 300),
        ),
        max_size=25,
    ),
    st.sampled_from([(), ("Mon-Fri 08:00-18:00",), ("22:00-06:00", "Sun 12:00-13:00")]),
    st.sampled_from([None, 1, 2, 5]),
    st.booleans(),
    st.lists(st.booleans(), max_size=40),
)
def test_every_message_is_told_exactly_once_in_its_time_and_within_the_cap(
    steps, intervals, most, summarizes, refused
):
    rule = DeliveryRules(
        active_time=tuple(map(read_interval, intervals)),
        zone="America/New_York",
        max_per_hour=most,
        summarizes=summarizes,
    )
    life, answers = Life(rule), iter(refused)
    for arrivals, minutes in steps:
        for reason, severity in arrivals:
            life.add(reason, severity)
        life.tick(answers)
        life.now += timedelta(minutes=minutes)
    for _ in range(3000):
        if not life.state.outbox:
            break
        life.tick(iter(()))
        life.now += timedelta(minutes=20)
    assert Counter(part for _, sent in life.sent for part in told(sent)) == Counter(life.came)
    assert len({sent.id for _, sent in life.sent}) == len(life.sent)
    for at, sent in life.sent:
        urgent = any(reason in URGENT and name.startswith("ERROR") for reason, name in told(sent))
        assert rule.is_active(at) or urgent
    if most is not None and all(minutes >= 0 for _, minutes in steps):
        for at, _ in life.sent:
            assert sum(at - timedelta(hours=1) < other <= at for other, _ in life.sent) <= most


def test_a_summary_that_waits_takes_in_what_comes_meanwhile():
    rules = {"a": DeliveryRules(max_per_hour=1)}
    state = holding(entry(0))
    state = record_outcome(time_entries(state, rules, NIGHT), state.outbox[0], SENT, NIGHT)
    for minute, number in enumerate((1, 2, 3, 4)):
        new = holding(entry(number))
        state = replace(state, outbox=(*state.outbox, *new.outbox), alerts={**state.alerts, **new.alerts})
        state = time_entries(state, rules, NIGHT + timedelta(minutes=minute)).bump()
    (summary,) = due(time_entries(state, rules, NIGHT + timedelta(hours=1)))
    assert [name for _, name, _ in summary.summarized] == ["WARN-1", "WARN-2", "WARN-3", "WARN-4"]
