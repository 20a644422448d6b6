"""What became of incidents, and what people said that they were."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from scipy.stats import binom, binomtest

from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.past import PastAlert, PastIncident
from exd_dagster.alerts.policy import digest
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.policy.ledger import by_check, ledger_rows, noisiest, sentences
from exd_dagster.config import FlagId
from exd_dagster.stats.methods.intervals import clopper_pearson
from tests.alerts.make import check
from tests.logs import HOUR, START

DAY = timedelta(days=1)


def incident(name: str, at: datetime, *checks: str, flag: str = "checkout", hours: int = 5) -> PastIncident:
    """An incident that opened 3 h after its fault began, and was over after some hours."""
    return PastIncident(
        id=name,
        flag=FlagId("", "", flag),
        opened_at=at,
        resolved_at=at + hours * HOUR,
        alerts=tuple(PastAlert(check=c, opened_at=at, bad_from=at - 3 * HOUR) for c in checks or ("srm",)),
    )


def decision(kind: str, at: datetime, **fields: Any) -> Decision:
    known = {"flags": "checkout", "reason": "", "by": "ana", "until": at + 30 * DAY, "made_at": at}
    return Decision(**{**known, "kind": kind, **fields})


def closed(at: datetime, verdict: str, **fields: Any) -> Decision:
    return decision("close", at, verdict=verdict, **fields)


def verdicts(incidents: Sequence[PastIncident], *decisions: Decision) -> dict[str, str]:
    return {row.incident: row.verdict for row in ledger_rows(incidents, decisions)}


FIRST, SECOND = incident("one", START), incident("two", START + DAY)


def test_a_close_is_about_the_latest_incident_of_its_time() -> None:
    told = closed(START + 2 * HOUR, "real"), closed(START + 2 * DAY, "false")
    assert verdicts([FIRST, SECOND], *told) == {"one": "real", "two": "false"}


def test_a_close_that_names_an_incident_is_about_that_one() -> None:
    assert verdicts([FIRST, SECOND], closed(START + 2 * DAY, "false", incident="one")) == {
        "one": "false",
        "two": "",
    }


@pytest.mark.parametrize("flags", ["checkout", "check*", "search,checkout", "*", "[c]heckout"])
def test_a_close_may_name_its_flags_in_every_way_that_a_decision_may(flags: str) -> None:
    assert verdicts([FIRST], closed(START + HOUR, "real", flags=flags)) == {"one": "real"}


def test_of_several_answers_the_newest_holds() -> None:
    told = closed(START + 2 * HOUR, "real"), closed(START + 3 * HOUR, "false", cause="cache")
    (row,) = ledger_rows([FIRST], told)
    assert (row.verdict, row.cause, row.answered_by) == ("false", "cache", "ana")


def test_a_close_of_another_flag_check_or_time_says_nothing() -> None:
    told = (
        closed(START + HOUR, "real", flags="search"),
        closed(START + HOUR, "real", checks="traffic_drop"),
        closed(START - HOUR, "real"),
    )
    assert verdicts([FIRST], *told) == {"one": ""}


def test_the_times_to_detect_acknowledge_and_resolve() -> None:
    (row,) = ledger_rows(
        [FIRST], [decision("acknowledge", START + 2 * HOUR), closed(START + 9 * HOUR, "real")]
    )
    times = (row.detected_after, row.acknowledged_after, row.resolved_after)
    assert times == (3 * HOUR, 2 * HOUR, 5 * HOUR)


def test_each_check_of_an_incident_counts_and_the_precision_leaves_out_what_was_expected() -> None:
    incidents = [incident(str(n), START + n * DAY, "srm", "traffic_drop") for n in range(4)]
    said = zip(("real", "false", "expected", "real"), range(4), strict=True)
    decisions = [closed(START + n * DAY + HOUR, verdict, cause="cache") for verdict, n in said]
    for learned in by_check(ledger_rows(incidents, decisions)):
        assert (learned.incidents, learned.real, learned.false, learned.expected) == (4, 2, 1, 1)
        assert learned.precision == pytest.approx(2 / 3)
        assert learned.causes == {"cache": 4}


@pytest.mark.parametrize(
    ("real", "false", "poor"), [(0, 1, False), (0, 2, True), (2, 2, False), (1, 2, True)]
)
def test_a_check_is_poor_when_it_failed_for_nothing_twice_and_more_often_than_not(
    real: int, false: int, poor: bool
) -> None:
    told = ["real"] * real + ["false"] * false
    incidents = [incident(str(n), START + n * DAY) for n in range(len(told))]
    decisions = [closed(START + n * DAY + HOUR, verdict) for n, verdict in enumerate(told)]
    (learned,) = by_check(ledger_rows(incidents, decisions))
    assert learned.poor is poor


def test_the_flags_that_fail_for_nothing_come_first() -> None:
    incidents = [FIRST, incident("a", START, flag="search"), incident("b", START + DAY, flag="search")]
    rows = ledger_rows(incidents, [closed(START + HOUR, "false")])
    assert [(flag.key, count, false) for flag, count, false in noisiest(rows)] == [
        ("checkout", 1, 1),
        ("search", 2, 0),
    ]


def test_the_sentences_name_what_was_learned_and_what_waits_for_an_answer() -> None:
    rows = ledger_rows([FIRST, SECOND], [closed(START + HOUR, "real", cause="cache")])
    assert sentences(rows) == [
        "srm: 2 incidents, 1 real, precision 100 % (95 %: 3 % to 100 %), mostly cache",
        "1 closed incident without an answer: exd-dagster decide close --verdict real|false|expected",
    ]


def test_the_digest_tells_what_was_learned_this_month_and_not_before() -> None:
    march, state = closed(START + HOUR, "real"), AlertState(past=(FIRST,))
    found = {
        month: [lines[0] for lines in digest.lines(state, [check("srm", "pass")], [march], now)]
        for month, now in {"march": START + 3 * DAY, "april": START + 40 * DAY}.items()
    }
    assert found == {"march": ["Learned this month"], "april": ["No failures"]}


@pytest.mark.parametrize("n", [1, 7, 40])
def test_the_interval_agrees_with_scipy(n: int) -> None:
    for hits in range(n + 1):
        other = binomtest(hits, n).proportion_ci(0.95, method="exact")
        assert clopper_pearson(hits, n) == pytest.approx((other.low, other.high), abs=1e-9)


def test_without_a_case_nothing_is_known() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("n", [3, 10, 30])
def test_the_interval_covers_every_share_at_least_as_often_as_it_says(n: int) -> None:
    """Exact: the probability of all counts whose interval holds the share, summed."""
    ends = [clopper_pearson(hits, n) for hits in range(n + 1)]
    for share in (0.01, 0.1, 0.3, 0.5, 0.77, 0.95):
        covered = sum(binom.pmf(h, n, share) for h, (low, high) in enumerate(ends) if low <= share <= high)
        assert covered >= 0.95 - 1e-9
