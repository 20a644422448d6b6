"""How long an answer may be used: without a limit, a stopped schedule leaves the last one green for ever."""

from datetime import datetime, timedelta

from exd_dagster.config import FlagAudit, floor_hour
from exd_dagster.stats import words
from exd_dagster.stats.verdict import Verdict


def fresh_until(flag: FlagAudit, audited_through: datetime, max_age: timedelta | None) -> datetime | None:
    """Return the first instant (UTC) at which an answer is too old to be used.

    Args:
        flag: whose answer it is.
        audited_through: end of the last hour covered (UTC).
        max_age: how old that hour may be; None: any age.

    Returns:
        None without a limit, and for a flag that has ended and was audited to its end: its result remains
            valid.
    """
    over = flag.end is not None and audited_through >= floor_hour(flag.end)
    return None if max_age is None or over else audited_through + max_age


def stale_verdict(audited_through: datetime, until: datetime | None, now: datetime) -> Verdict | None:
    """Return the failure of an answer that is too old, None while it is fresh.

    Args:
        audited_through: end of the last hour covered (UTC).
        until: from `fresh_until`.
        now: the time (UTC).
    """
    if until is None or now < until:
        return None
    return Verdict(
        check="freshness",
        verdict="fail",
        severity="ERROR",
        reason="stale",
        sentence=stale_sentence(audited_through, until),
        usable_until=audited_through,
        audited_through=audited_through,
    )


def stale_sentence(audited_through: datetime, until: datetime) -> str:
    """Return what is said of an answer that could be used until `until` (UTC)."""
    through, last = map(words.instant, (audited_through, until))
    ask = "is the schedule running, and do records arrive?"
    return f"Stale: audited through {through}, to be used until {last}; {ask}"
