"""What must not page and goes to the digest: a first audit with many failures, and hours long past. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from exd_dagster.alerts.model import Alert, instant
from exd_dagster.alerts.notice import Notice

BACKFILL_AGE = timedelta(hours=48)
FIRST_AUDIT_PAGES = 10


def set_apart(
    notices: Sequence[Notice], *, first: bool, watermark: datetime | None
) -> tuple[tuple[Notice, ...], tuple[Notice, ...]]:
    """Return the notices to tell now, and those left to the digest.

    Args:
        notices: what was decided.
        first: True for the first audit that is told of.
        watermark: end of the newest audited hour of any flag (UTC).
    """
    fires = [notice for notice in notices if notice.reason == "fire"]
    storm = first and len({str(notice.flag) for notice in fires}) > FIRST_AUDIT_PAGES
    quiet = [notice for notice in fires if storm or _old(notice, watermark)]
    return tuple(notice for notice in notices if notice not in quiet), tuple(quiet)


def _old(notice: Notice, watermark: datetime | None) -> bool:
    """True when every alert speaks only of hours more than 48 h before the newest data."""
    ends = [_last_bad_hour(alert) for alert in notice.alerts]
    return watermark is not None and all(end is not None and watermark - end > BACKFILL_AGE for end in ends)


def _last_bad_hour(alert: Alert) -> datetime | None:
    """Return the end of the last hour at fault (UTC); None while hours to come may be at fault too.

    A flag whose log is merely late is ongoing; one that has ended is over with its last audited hour.
    """
    until, through = instant(alert.facts.get("bad_until")), instant(alert.facts.get("audited_through"))
    end = instant(alert.facts.get("flag_end"))
    over = end is not None and through is not None and through >= end
    return until or (through if over else None)
