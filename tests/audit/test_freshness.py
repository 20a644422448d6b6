"""From which instant an answer is too old."""

from datetime import timedelta

from exd_dagster.audit.freshness import stale_verdict
from tests.logs import HOUR, START


def test_an_answer_is_stale_from_the_instant_it_could_be_used_until() -> None:
    until = START + HOUR
    assert stale_verdict(START, until, until - timedelta(microseconds=1)) is None
    found = stale_verdict(START, until, until)
    assert found is not None
    assert (found.reason, found.severity, found.usable_until) == ("stale", "ERROR", START)
