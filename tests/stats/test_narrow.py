"""Within a failing segment: which value of a second dimension explains it, if one does."""

import json
from datetime import datetime, timedelta, timezone

from exd_dagster.config import FlagAudit, Phase
from exd_dagster.stats.segments.narrow import LONGEST, hours_within, look_within
from exd_dagster.stats.segments.verdict import SegmentSrmVerdict

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SPLIT = {"control": 0.5, "treatment": 0.5}
FAILING = SegmentSrmVerdict(
    check="segment_srm",
    verdict="fail",
    sentence="It broke.",
    segment="sdk_version = 4.2.0",
    dimension="sdk_version",
    value="4.2.0",
    bad_from=START + 100 * HOUR,
    audited_through=START + 120 * HOUR,
)


def look(**units):
    return look_within(FAILING, units, SPLIT, START, START + 20 * HOUR)


def both(control, treatment):
    return {"control": control, "treatment": treatment}


def test_the_value_without_which_the_segment_is_as_declared_is_named():
    verdict = look(
        browser={"Safari": both(200, 0), "Firefox": both(300, 304), "Chrome": both(401, 395)},
        country={"de": both(450, 350), "fr": both(451, 349)},
    )
    assert verdict.within.explains
    assert [(cause.dimension, cause.value) for cause in verdict.within.named] == [("browser", "Safari")]
    assert verdict.sentence == (
        "It broke. Within it only browser = Safari: treatment 0 % of 200 units, elsewhere in it 49.9 % "
        "(exploratory, 5 values of browser, country compared)."
    )


def test_two_values_of_one_dimension_explain_it_together():
    verdict = look(
        browser={
            "Safari": both(200, 0),
            "iOS": both(150, 10),
            "Firefox": both(300, 304),
            "Edge": both(99, 101),
        }
    )
    assert [cause.value for cause in verdict.within.named] == ["Safari", "iOS"]
    assert verdict.within.explains


def test_a_fault_of_the_whole_segment_is_told_as_that():
    verdict = look(browser={"Safari": both(200, 66), "Firefox": both(310, 104), "Chrome": both(402, 133)})
    assert verdict.within.named == ()
    assert verdict.sentence.endswith(
        "no value of browser stands out: it is all of sdk_version = 4.2.0 (exploratory)."
    )


def test_a_value_is_not_said_to_explain_what_the_rest_is_too_small_to_show():
    verdict = look(browser={"Safari": both(400, 40), "Firefox": both(6, 7)})
    assert not verdict.within.explains
    assert "off too or too small to tell" in verdict.sentence


def test_a_segment_that_no_other_dimension_divides_is_not_looked_into():
    verdict = look(browser={"Safari": both(200, 0)})
    assert verdict.sentence == "It broke."
    assert (
        verdict.within.sentence == "Not looked into further: no other dimension divides sdk_version = 4.2.0."
    )


def test_the_last_three_days_of_a_fault_are_looked_at_under_one_split():
    flag = FlagAudit(key="f", split=SPLIT, start=START)
    assert hours_within(flag, FAILING)[1:] == (START + 100 * HOUR, START + 120 * HOUR)
    long = SegmentSrmVerdict(
        check="segment_srm",
        verdict="fail",
        value="x",
        bad_from=START,
        audited_through=START + 120 * HOUR,
        sentence="",
    )
    assert hours_within(flag, long)[1] == START + 120 * HOUR - LONGEST
    ramp = FlagAudit(
        key="f",
        split=SPLIT,
        start=START,
        phases=(Phase(start=START + 110 * HOUR, split={"control": 0.9, "treatment": 0.1}),),
    )
    phase, since, _ = hours_within(ramp, long)
    assert phase.split["control"] == 0.9
    assert since >= START + 110 * HOUR


def test_what_was_found_is_strict_json_with_names_and_the_numbers_of_the_first() -> None:
    verdict = look(browser={"Safari": both(200, 0), "Firefox": both(300, 304)})
    found = verdict.as_metadata()["within"]
    assert (found["named"], found["explains"], found["units"]) == (["browser = Safari"], True, 200)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
