"""Up to when a flag may be used that is not trusted."""

from datetime import datetime, timezone

from exd_dagster.audit.trust import trust_verdict
from exd_dagster.stats.verdict import Verdict

FAULT = datetime(2026, 3, 3, 14, tzinfo=timezone.utc)
DATED = Verdict(check="srm", verdict="fail", severity="ERROR", usable_until=FAULT)
UNDATED = Verdict(check="variant_integrity", verdict="fail", severity="ERROR")


def test_it_is_the_begin_of_the_fault() -> None:
    assert trust_verdict([DATED], "block").usable_until == FAULT


def test_it_is_unknown_where_one_check_that_blocks_cannot_date_its_fault() -> None:
    assert trust_verdict([DATED, UNDATED], "block").usable_until is None
