"""A flag's row of `flag_trust`: from the verdict of its `trust` check, or for want of one."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from exd_dagster.audit.trust import TrustVerdict
from exd_dagster.audit.trust_page import TrustRow
from exd_dagster.audit.trust_table import TrustEntry
from exd_dagster.config import FlagAudit, floor_hour
from exd_dagster.stats.window import iteration_begun


def trust_row(flag: FlagAudit, verdict: TrustVerdict, picture: str = "") -> TrustRow:
    """Return the flag's row from its `trust` verdict.

    Args:
        flag: the flag.
        verdict: its one answer.
        picture: SVG of the failing check, "" for none.
    """
    through = verdict.audited_through
    trusted = None if verdict.verdict == "not_checked" else verdict.trusted
    return TrustRow(
        flag=flag.id,
        iteration_start=iteration_start(flag, through),
        trusted=trusted,
        sentence=verdict.sentence,
        mode=flag.mode,
        failing=verdict.failing,
        usable_without=verdict.usable_without,
        since=verdict.bad_from or through,
        usable_until=verdict.usable_until or (through if trusted else None),
        audited_through=through,
        contained=verdict.state == "contained",
        waived_by=verdict.waived_by,
        waived_until=verdict.waived_until,
        owners=flag.owners,
        picture=picture,
    )


def iteration_start(flag: FlagAudit, through: datetime | None) -> datetime:
    """Return the first hour (UTC) of the iteration that contains `through`."""
    return floor_hour(flag.iterations[-1] if through is None else iteration_begun(flag, through))


def not_checked_entry(
    flag: FlagAudit, entries: Sequence[TrustEntry], *, reason: str, run_id: str, at: datetime
) -> TrustEntry:
    """Return the flag's newest row as "not checked": what was known before stays, the answer does not.

    Args:
        flag: the flag.
        entries: its rows, by iteration.
        reason: why there is no answer.
        run_id: the run that gave none.
        at: when that was (UTC).
    """
    first = TrustRow(flag=flag.id, iteration_start=floor_hour(flag.start), trusted=None, sentence=reason)
    row = replace(
        entries[-1].row if entries else first,
        trusted=None,
        sentence=reason,
        mode=flag.mode,
        failing=(),
        usable_without=(),
        since=at,
        waived_by=None,
        waived_until=None,
        owners=flag.owners,
        picture="",
    )
    return TrustEntry(row, run_id)
