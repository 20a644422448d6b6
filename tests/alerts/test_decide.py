"""What is reported, and what is not: the state found against what was last reported."""

from datetime import timedelta

import pytest

from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.policy.decide import decide
from exd_dagster.alerts.policy.decisions import Decision
from tests.alerts.make import HOUR, NOW, Story, check, flag, watching

DAY = timedelta(hours=24)


def decision(kind: str, **changes) -> Decision:
    values = {"flags": "checkout", "reason": "known", "by": "ana", "made_at": NOW, "until": NOW + DAY}
    return Decision(kind=kind, **{**values, **changes})


def test_a_failure_is_reported_once_however_often_it_is_found():
    story = Story()
    assert story.tick(check()) == [("fire", "checkout", ("srm",))]
    assert story.tick(check()) == []
    assert story.tick(check(at=NOW + HOUR)) == []


def test_checks_that_fail_together_open_one_incident():
    story = Story()
    assert story.tick(check("srm"), check("sequential_srm")) == [
        ("fire", "checkout", ("srm", "sequential_srm"))
    ]
    assert len(story.state.incidents) == 1


def test_a_check_that_fails_later_joins_the_open_incident():
    story = Story()
    story.tick(check("srm"), check("sequential_srm", "pass"))
    assert story.tick(check("srm"), check("sequential_srm")) == [("fire", "checkout", ("sequential_srm",))]
    (incident,) = story.state.incidents.values()
    assert sorted(incident.alerts) == ["sequential_srm", "srm"]


def test_one_notice_closes_the_incident_when_the_last_check_passes():
    story = Story()
    story.tick(check("srm"), check("sequential_srm"))
    assert story.tick(check("srm", "pass"), check("sequential_srm")) == []
    assert story.tick(check("srm", "pass"), check("sequential_srm", "pass")) == [
        ("resolve", "checkout", ("srm", "sequential_srm"))
    ]
    assert story.state.incidents == {}


@pytest.mark.parametrize("verdict", ["insufficient", "skipped", "not_checked"])
def test_an_answer_that_says_nothing_never_closes_an_incident(verdict):
    """Scenario 10."""
    story = Story()
    story.tick(check())
    assert ("resolve", "checkout", ("srm",)) not in story.tick(check(verdict=verdict))
    assert "checkout" in story.state.incidents


@pytest.mark.parametrize("verdict", ["insufficient", "skipped", "pass"])
def test_an_answer_that_is_no_failure_opens_nothing(verdict):
    assert Story().tick(check(verdict=verdict)) == []


def test_not_checked_is_reported_once_as_itself_and_again_after_an_answer():
    story = Story()
    assert story.tick(check(verdict="not_checked")) == [("not_checked", "checkout", ("srm",))]
    assert story.tick(check(verdict="not_checked")) == []
    assert story.tick(check(verdict="pass")) == []
    assert story.tick(check(verdict="not_checked")) == [("not_checked", "checkout", ("srm",))]


def test_a_flag_without_a_closed_hour_yet_is_not_reported_as_not_checked():
    assert Story().tick(check(verdict="not_checked", reason="no_closed_hour")) == []


def test_a_warning_waits_for_the_digest():
    assert Story().tick(check(severity="WARN")) == []


def test_a_blocking_failure_is_reminded_of_once_after_24_hours():
    story = Story()
    reported = [event for _ in range(60) for event in story.tick(check())]
    assert reported == [("fire", "checkout", ("srm",)), ("remind", "checkout", ("srm",))]


def test_the_reminder_is_due_24_hours_after_the_message_and_not_before():
    story = Story()
    story.tick(check(), after=DAY - timedelta(seconds=1))
    assert story.tick(check(), after=timedelta(seconds=1)) == []
    assert story.tick(check()) == [("remind", "checkout", ("srm",))]


def test_a_failure_that_blocks_nothing_is_not_reminded_of():
    story = Story()
    reported = [event for _ in range(60) for event in story.tick(check(mode="warn"))]
    assert reported == [("fire", "checkout", ("srm",))]


def test_a_clock_that_jumps_forward_a_year_reminds_once():
    """Scenario 34."""
    story = Story()
    story.tick(check(), after=timedelta(days=365))
    assert story.tick(check()) == [("remind", "checkout", ("srm",))]
    assert story.tick(check()) == []


def test_a_clock_that_jumps_back_tells_nothing_again():
    """Scenario 34."""
    story = Story()
    story.tick(check(), after=timedelta(days=-2))
    assert story.tick(check()) == []


def test_contained_is_reported_once_and_does_not_close_the_incident():
    story = Story()
    story.tick(check())
    contained = check(state="contained", bad_until="2026-03-05T01:00:00Z")
    assert story.tick(contained) == [("contained", "checkout", ("srm",))]
    assert story.tick(contained) == []
    assert "checkout" in story.state.incidents


def test_a_new_iteration_closes_the_incident_and_may_open_another():
    story = Story()
    story.tick(check())
    again = check(iteration_start="2026-03-04T00:00:00Z")
    assert story.tick(again) == [("resolve", "checkout", ("srm",)), ("fire", "checkout", ("srm",))]
    assert story.note == "A new iteration began at 2026-03-04T00:00:00Z"


def test_flapping_is_reported_again_at_most_once_in_6_hours():
    """Scenario 42: fail, pass, fail every hour."""
    story = Story()
    reported = [
        (reason, hour)
        for hour in range(13)
        for reason, *_ in story.tick(check() if hour % 2 == 0 else check(verdict="pass"))
    ]
    assert reported == [("fire", 0), ("resolve", 1), ("fire", 6), ("resolve", 7), ("fire", 12)]


@pytest.mark.parametrize(
    ("gap", "note"), [(6 * HOUR, ""), (6 * HOUR - timedelta(seconds=1), "failing again")]
)
def test_a_failure_6_hours_after_the_resolution_is_a_new_incident(gap, note):
    story = Story()
    story.tick(check())
    story.tick(check(verdict="pass"), after=gap)
    story.tick(check())
    assert story.note == note


def test_a_failure_held_back_while_flapping_is_reported_when_it_stays():
    story = Story()
    story.tick(check())
    story.tick(check(verdict="pass"))
    reported = [reason for _ in range(8) for reason, *_ in story.tick(check())]
    assert reported == ["fire"]


def test_a_failure_held_back_is_reported_6_hours_after_it_was_reported_before():
    story = Story()
    story.tick(check())
    story.tick(check(verdict="pass"), after=5 * HOUR - timedelta(seconds=1))
    assert story.tick(check(), after=timedelta(seconds=1)) == []
    assert story.tick(check()) == [("fire", "checkout", ("srm",))]


def test_a_drop_in_traffic_mutes_a_split_that_broke_within_its_hours():
    """Scenario 21."""
    drop = check("traffic_drop", bad_from="2026-03-04T20:00:00Z")
    inside = check("srm", bad_from="2026-03-04T21:00:00Z")
    assert Story().tick(drop, inside) == [("fire", "checkout", ("traffic_drop",))]


def test_a_split_that_broke_before_the_drop_is_not_muted():
    drop = check("traffic_drop", bad_from="2026-03-04T20:00:00Z")
    earlier = check("srm", bad_from="2026-03-04T10:00:00Z")
    assert Story().tick(drop, earlier) == [("fire", "checkout", ("traffic_drop", "srm"))]


def test_a_muted_split_is_reported_when_the_drop_is_over():
    story = Story()
    inside = check("srm", bad_from="2026-03-04T21:00:00Z")
    story.tick(check("traffic_drop", bad_from="2026-03-04T20:00:00Z"), inside)
    assert story.tick(check("traffic_drop", "pass"), inside) == [("fire", "checkout", ("srm",))]


def test_a_silenced_failure_is_reported_when_the_silence_ends():
    story = Story(decision("silence"))
    assert story.tick(check(), after=DAY) == []
    assert story.tick(check()) == [("fire", "checkout", ("srm",))]


def test_a_silence_of_one_check_leaves_the_others_heard():
    story = Story(decision("silence", checks="srm"))
    assert story.tick(check("srm"), check("sequential_srm")) == [("fire", "checkout", ("sequential_srm",))]


def test_a_waiver_closes_the_incident_and_says_who_and_until_when():
    story = Story()
    story.tick(check())
    waived = check(severity="WARN", waived_by="ana", waived_until="2026-04-01T00:00:00Z")
    assert story.tick(waived) == [("resolve", "checkout", ("srm",))]
    assert story.note == "Waived by ana until 2026-04-01T00:00:00Z; reports run"


def test_a_failure_is_reported_again_when_its_waiver_has_ended():
    story = Story()
    story.tick(check())
    story.tick(check(severity="WARN", waived_by="ana"), after=DAY)
    assert story.tick(check()) == [("fire", "checkout", ("srm",))]


def test_the_end_of_an_audit_closes_its_incident_and_opens_none():
    story = Story()
    story.tick(check())
    story.decisions = (decision("end", until=NOW + 9 * DAY),)
    assert story.tick(check()) == [("resolve", "checkout", ("srm",))]
    assert story.note == "The audit of this flag was ended by ana: known"
    assert story.tick(check()) == []


def test_a_first_audit_with_more_than_ten_failing_flags_pages_nobody():
    found = [check(key=f"flag-{i:02d}") for i in range(11)]
    decided = decide(AlertState(), found, watching(*(c.flag for c in found)), NOW)
    assert decided.events == ()
    assert len(decided.digest_only) == 11
    assert len(decided.state.incidents) == 11


def test_a_first_audit_with_ten_failing_flags_pages():
    found = [check(key=f"flag-{i:02d}") for i in range(10)]
    assert len(decide(AlertState(), found, watching(*(c.flag for c in found)), NOW).events) == 10


def test_a_fault_of_hours_more_than_48_hours_before_the_newest_data_does_not_page():
    """Scenario 41: verdicts of a backfill go to the digest."""
    old = check(state="contained", bad_until="2026-03-02T00:00:00Z")
    decided = decide(AlertState(started=True), [old], watching(old.flag), NOW)
    assert (len(decided.events), len(decided.digest_only)) == (0, 1)


@pytest.mark.parametrize(("until", "paged"), [("2026-03-03T02:00:00Z", 1), ("2026-03-03T01:00:00Z", 0)])
def test_a_fault_that_ended_48_hours_before_the_newest_data_pages_and_an_older_one_does_not(until, paged):
    over = check(state="contained", bad_until=until, audited_through="2026-03-05T02:00:00Z")
    assert len(decide(AlertState(started=True), [over], watching(over.flag), NOW).events) == paged


@pytest.mark.parametrize(
    ("flag_end", "paged"), [(None, 1), ("2026-03-09T00:00:00Z", 1), ("2026-03-01T00:00:00Z", 0)]
)
def test_an_ongoing_fault_pages_however_late_its_log_is_unless_the_flag_has_ended(flag_end, paged):
    late = check(audited_through="2026-03-01T00:00:00Z", flag_end=flag_end)
    newest = check("srm", "pass", key="other")
    decided = decide(AlertState(started=True), [late, newest], watching(late.flag, newest.flag), NOW)
    assert len(decided.events) == paged


def test_the_same_state_found_twice_gives_the_same_alert_ids():
    """A tick killed before it was saved decides the same again."""
    first = decide(AlertState(started=True), [check()], watching(flag()), NOW)
    again = decide(AlertState(started=True), [check()], watching(flag()), NOW + HOUR)
    assert first.events[0].alerts[0].id == again.events[0].alerts[0].id
    assert first.events[0].incident == again.events[0].incident


def test_a_repeated_run_is_the_same_alert():
    story = Story()
    story.tick(check())
    assert story.tick(check(run_id="run-2", at=NOW + HOUR)) == []


def drops(*keys: str, verdict: str = "fail") -> list:
    return [check("traffic_drop", verdict, key=key) for key in keys]


def test_three_flags_and_a_fifth_of_all_down_at_once_are_an_outage_of_the_source():
    story = Story()
    well = drops(*(f"well-{i}" for i in range(12)), verdict="pass")
    assert story.tick(*drops("a", "b", "c"), *well) == [
        ("outage", key, ("traffic_drop",)) for key in ("a", "b", "c")
    ]
    assert story.state.incidents == {}
    assert story.tick(*drops("a", "b", "c"), *well) == []


@pytest.mark.parametrize(("down", "well"), [(2, 2), (3, 13)])
def test_fewer_flags_down_are_reported_each_for_itself(down, well):
    found = drops(*(f"down-{i}" for i in range(down))) + drops(
        *(f"well-{i}" for i in range(well)), verdict="pass"
    )
    assert [reason for reason, *_ in Story().tick(*found)] == ["fire"] * down


def test_the_end_of_an_outage_is_reported_and_what_is_still_down_is_reported_for_itself():
    story = Story()
    story.tick(*drops("a", "b", "c"))
    reported = story.tick(*drops("a", "b", verdict="pass"), *drops("c"))
    assert reported == [
        ("fire", "c", ("traffic_drop",)),
        ("resolve", "a", ("traffic_drop",)),
        ("resolve", "b", ("traffic_drop",)),
    ]
    assert story.tick(*drops("a", "b", verdict="pass"), *drops("c")) == []


def test_a_split_that_broke_before_the_outage_is_reported_while_it_lasts():
    story = Story()
    split = check("srm", key="a", bad_from="2026-03-02T00:00:00Z")
    assert ("fire", "a", ("srm",)) in story.tick(*drops("a", "b", "c"), split)


def test_a_drop_reported_before_the_outage_keeps_its_incident():
    story = Story()
    story.tick(*drops("a"), *drops("b", "c", verdict="pass"))
    assert story.tick(*drops("a", "b", "c")) == [
        ("outage", "b", ("traffic_drop",)),
        ("outage", "c", ("traffic_drop",)),
    ]
    assert "a" in story.state.incidents


def test_silenced_flags_make_no_outage():
    story = Story(decision("silence", flags="*"))
    assert story.tick(*drops("a", "b", "c")) == []
