"""A failure nobody watches any more: told once as that, never as resolved; told again when it is back."""

import json
from datetime import timedelta

import pytest

from exd_dagster.alerts.channels.callback import Callback
from exd_dagster.alerts.model import AlertState, Incident, OutboxEntry
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.state import VERSION, StateStore, prune
from tests.alerts.alerting import Office, Storage
from tests.alerts.make import NOW, Story, check, flag, watching

OTHER = check("srm", "pass", key="other")
GONE = watching(flag("other"))
BOTH = watching(flag("other"), flag("checkout"))
TOLD_GONE = [("not_monitored", "checkout", ("srm",))]
FIRED = [("fire", "checkout", ("srm",))]
FLAG = {"namespace": "", "environment": "", "key": "checkout"}


def gone_story(*decisions: Decision, **facts) -> Story:
    story = Story(*decisions)
    story.tick(check(**facts), OTHER)
    return story


def decision(kind: str, until: timedelta = timedelta(days=1)) -> Decision:
    return Decision(kind=kind, flags="checkout", reason="over", by="ana", made_at=NOW, until=NOW + until)


def test_a_failing_flag_that_leaves_the_project_is_reported_once_and_not_as_resolved():
    """Scenario 14."""
    story = gone_story()
    assert story.tick(OTHER, monitored=GONE) == TOLD_GONE
    assert "not corrected" in story.note
    assert story.state.incidents == {}
    assert [story.tick(OTHER, monitored=GONE) for _ in range(3)] == [[], [], []]


def test_its_return_still_failing_is_reported_at_once_in_the_same_incident_with_when_it_was_reported_before():
    story = gone_story()
    before = story.state.incidents["checkout"].id
    story.tick(OTHER, monitored=GONE)
    assert story.tick(check(), OTHER) == FIRED
    assert "previously sent on 2026-03-05 03:00 UTC" in story.note
    assert story.state.incidents["checkout"].id == before
    assert story.tick(check(), OTHER) == []


def test_its_return_long_after_is_reported_and_reminded_of_as_anew():
    story = gone_story()
    story.tick(OTHER, monitored=GONE, after=timedelta(days=9))
    assert story.tick(check(), OTHER, after=timedelta(days=2)) == FIRED
    assert story.tick(check(), OTHER) == [("remind", "checkout", ("srm",))]


def test_its_return_without_an_answer_waits_for_one():
    story = gone_story()
    story.tick(OTHER, monitored=GONE)
    assert story.tick(check(verdict="insufficient"), OTHER) == []
    assert story.tick(OTHER, monitored=BOTH) == []
    assert story.tick(check(), OTHER) == FIRED


def test_its_return_passing_is_what_is_reported_as_resolved():
    story = gone_story()
    story.tick(OTHER, monitored=GONE)
    assert story.tick(check(verdict="pass"), OTHER) == [("resolve", "checkout", ("srm",))]


def test_a_flag_taken_out_again_before_its_return_was_reported_says_nothing_more():
    story = gone_story()
    story.tick(OTHER, monitored=GONE)
    story.decisions = (decision("silence", timedelta(hours=3)),)
    assert story.tick(check(), OTHER) == []
    story.decisions = ()
    assert story.tick(OTHER, monitored=GONE) == []
    assert story.tick(check(), OTHER) == FIRED


def test_a_monitored_flag_whose_record_is_not_there_yet_stays_open():
    """A bins asset that got another key has no answer until its next audit."""
    story = gone_story()
    assert story.tick(OTHER, monitored=BOTH) == []
    assert "checkout" in story.state.incidents


def test_a_check_that_is_dropped_is_reported_while_the_others_stay_open():
    story = Story()
    story.tick(check("srm"), check("traffic_drop", bad_from="2026-03-05T01:00:00Z"))
    watched = {flag(): ("traffic_drop",)}
    drop = check("traffic_drop", bad_from="2026-03-05T01:00:00Z")
    assert story.tick(drop, monitored=watched) == TOLD_GONE
    assert story.tick(check("traffic_drop", "pass"), monitored=watched) == [
        ("resolve", "checkout", ("traffic_drop",))
    ]


def test_a_dropped_check_never_lets_the_rest_of_its_incident_be_reported_as_resolved():
    story = Story()
    story.tick(check("srm"), check("sequential_srm"))
    watched = {flag(): ("sequential_srm",)}
    assert story.tick(check("sequential_srm", "pass"), monitored=watched) == TOLD_GONE
    assert story.state.incidents == {}


def test_a_failing_flag_put_into_mode_observe_is_reported_as_only_observed_and_back_in_block_as_failing():
    story = gone_story()
    observed = check(severity="WARN", mode="observe", would_block=True)
    assert story.tick(observed, OTHER) == TOLD_GONE
    assert "mode observe" in story.note
    assert story.tick(observed, OTHER) == []
    assert story.tick(check(), OTHER) == FIRED


def test_a_silenced_flag_that_leaves_is_reported_when_the_silence_ends():
    story = gone_story()
    story.decisions = (decision("silence", timedelta(hours=3)),)
    assert story.tick(OTHER, monitored=GONE) == []
    assert story.tick(OTHER, monitored=GONE) == []
    assert story.tick(OTHER, monitored=GONE) == TOLD_GONE


def test_a_person_ends_the_incident_of_a_flag_that_is_gone():
    story = gone_story()
    story.tick(OTHER, monitored=GONE)
    story.decisions = (decision("end"),)
    assert story.tick(OTHER, monitored=GONE) == [("resolve", "checkout", ("srm",))]
    assert story.note == "The audit of this flag was ended by ana: over"
    assert story.tick(OTHER, monitored=GONE) == []


def test_a_flag_whose_end_has_passed_is_over_when_it_leaves():
    story = gone_story(flag_end="2026-03-05T02:00:00Z")
    assert story.tick(OTHER, monitored=GONE) == [("resolve", "checkout", ("srm",))]
    assert story.note.startswith("The flag ended at 2026-03-05 02:00 UTC")


def test_a_flag_of_an_outage_that_leaves_is_reported_too():
    story = Story()
    down = [check("traffic_drop", key=key) for key in ("a", "b", "c")]
    story.tick(*down)
    reported = story.tick(*down[1:], monitored=watching(flag("b"), flag("c")))
    assert ("not_monitored", "a", ("traffic_drop",)) in reported


def test_what_is_not_monitored_is_remembered_for_a_month():
    story = gone_story()
    story.tick(OTHER, monitored=GONE)
    assert "checkout" in prune(story.state, story.now + timedelta(days=29)).unmonitored
    forgotten = prune(story.state, story.now + timedelta(days=31))
    assert (forgotten.unmonitored, forgotten.alerts) == ({}, {})


def test_programs_and_people_read_another_status_than_resolved():
    reported = []
    office = Office(Callback(name="hook", function=reported.append))
    office.tick(check(), OTHER)
    office.tick(OTHER)
    office.tick(check(), OTHER)
    office.tick(check(verdict="pass"), OTHER)
    assert [note.message.status for note in reported] == ["firing", "not_monitored", "firing", "resolved"]
    assert reported[1].message.headline == "No longer monitored: checkout"
    assert "exd-dagster decide end --flag checkout" in reported[1].text
    assert "previously sent on 2026-03-05 03:00 UTC" in reported[2].message.lead
    assert len({note.message.threads for note in reported}) == 1


def v1_state(**more) -> str:
    """A state as version 1 wrote it, an incident of `checkout` open."""
    incident = {
        "id": "inc", "flag": FLAG, "opened_at": "2026-03-05T01:00:00Z", "iteration": "",
        "alerts": {"srm": "al"}, "healed": [], "notified_at": "2026-03-05T01:00:00Z",
        "fired_at": "2026-03-05T01:00:00Z", "contained": False, "reminded": False, "shutoff": "",
        "threads": {},
    }  # fmt: skip
    alert = {
        "id": "al", "flag": FLAG, "check": "srm", "alert_type": "SRM_SHUTOFF_TRIGGERED",
        "severity": "ERROR", "sentence": "SRM.", "opened_at": "2026-03-05T01:00:00Z", "facts": {"n": 1},
        "mode": "block", "owners": [], "asset": [], "run_id": "r",
    }  # fmt: skip
    state = {
        "version": 1, "revision": 7, "home": "", "started": True, "incidents": {"checkout": incident},
        "closed": {}, "alerts": {"al": alert}, "unchecked": {}, "outage": {}, "outbox": [], "receipts": [],
        "paused": {}, "digest_through": None, "replayed": None,
    }  # fmt: skip
    return json.dumps({**state, **more})


def test_a_state_of_version_1_is_taken_over_with_its_open_incidents():
    story = Story()
    story.state = load(v1_state())
    assert (story.state.version, story.state.revision) == (VERSION, 7)
    assert story.tick(OTHER, monitored=GONE) == TOLD_GONE
    assert story.tick(check(), OTHER) == FIRED


def test_what_version_1_had_still_to_say_of_a_flag_that_left_is_said_as_it_is_now():
    entry = {
        "id": "p", "destination": "hook", "channel": "callback", "reason": "resolve", "alerts": ["al"],
        "incidents": ["inc"], "note": "This flag is no longer monitored", "lines": [],
        "created_at": "2026-03-05T02:00:00Z", "attempts": 1, "next_attempt_at": "2026-03-05T02:01:00Z",
        "last_error": "HTTP 503", "recipients": [],
    }  # fmt: skip
    state = load(
        v1_state(outbox=[entry, {**entry, "id": "q", "note": "The corrected bins pass every check"}])
    )
    assert [entry.reason for entry in state.outbox] == ["not_monitored", "resolve"]


def load(text: str) -> AlertState:
    storage = Storage()
    store = StateStore(storage, "test")
    storage.set_cursor_values({store.key: text})
    state = store.load()
    assert state is not None
    return state


@pytest.mark.parametrize("checks", [("srm",), ("srm", "sequential_srm")])
def test_a_checks_own_return_joins_or_opens_the_incident_again(checks):
    story = Story()
    failing = [check(name) for name in checks]
    story.tick(*failing)
    story.tick(*failing[1:], monitored={flag(): checks[1:]})
    assert ("fire", "checkout", ("srm",)) in story.tick(*failing)


def test_a_state_of_version_5_keeps_what_it_knew_under_earlier_names():
    entry = OutboxEntry(
        id="s", destination="mail", channel="email", reason="summary", created_at=NOW, next_attempt_at=NOW,
        summarized=(("fire", "al", ""),),
    )  # fmt: skip
    incident = Incident(id="inc", flag=flag(), opened_at=NOW, alerts={"srm": "al"}, recovered=("srm",))
    state = AlertState(incidents={"checkout": incident}, outbox=(entry,))
    storage = Storage()
    store = StateStore(storage, "s")
    store.save(state)
    text = storage.values[store.key].replace(f'"version":{VERSION}', '"version":5', 1)
    storage.values[store.key] = text.replace('"recovered"', '"healed"').replace('"summarized"', '"folded"')
    assert store.load() == state
