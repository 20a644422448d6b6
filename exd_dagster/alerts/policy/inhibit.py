"""Inhibition: a first audit with many failures, old hours, flags within a source outage. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from exd_dagster.alerts.model import Alert, CheckState
from exd_dagster.alerts.policy.incidents import AlertEvent
from exd_dagster.stats.fleet import FEWEST_FLAGS, SOURCE_SHARE

BACKFILL_AGE = timedelta(hours=48)
FIRST_AUDIT_PAGES = 10
DROP = "traffic_drop"


def inhibit(
    events: Sequence[AlertEvent], *, first: bool, watermark: datetime | None
) -> tuple[tuple[AlertEvent, ...], tuple[AlertEvent, ...]]:
    """Return the events to send now, and those for the digest only.

    Args:
        events: what was decided.
        first: True for the first audit that is sent.
        watermark: end of the newest audited hour of any flag (UTC).
    """
    fires = [event for event in events if event.reason == "fire"]
    storm = first and len({str(event.flag) for event in fires}) > FIRST_AUDIT_PAGES
    digest_only = [event for event in fires if storm or _old(event, watermark)]
    return tuple(event for event in events if event not in digest_only), tuple(digest_only)


def _old(event: AlertEvent, watermark: datetime | None) -> bool:
    """True when every alert covers only hours more than 48 h before the newest data."""
    ends = [_last_bad_hour(alert) for alert in event.alerts]
    return watermark is not None and all(end is not None and watermark - end > BACKFILL_AGE for end in ends)


def _last_bad_hour(alert: Alert) -> datetime | None:
    """Return the end of the last hour at fault (UTC); None while the fault is ongoing."""
    # A flag whose log is late is ongoing; one that has ended is over with its last audited hour.
    until, through = alert.instant("bad_until"), alert.instant("audited_through")
    end = alert.instant("flag_end")
    over = end is not None and through is not None and through >= end
    return until or (through if over else None)


def flags_down(found: Sequence[CheckState]) -> Mapping[str, CheckState]:
    """Return the ongoing drops by flag when they are an outage of the source, else nothing.

    It is one from 3 flags and 20 % of those whose traffic was tested, as `stats.fleet.source_outage` has it.

    Args:
        found: the latest state of every monitored check.
    """
    tested = [check for check in found if check.check == DROP and check.verdict in ("pass", "fail")]
    down = {str(check.flag): check for check in tested if check.pages and check.state != "contained"}
    return down if len(down) >= max(FEWEST_FLAGS, SOURCE_SHARE * len(tested)) else {}
