"""What is kept of an incident that is over, for the ledger."""

from dataclasses import dataclass
from datetime import datetime

from exd_dagster.config import FlagId


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAlert:
    """One check of an incident.

    Attributes:
        check: its name.
        opened_at: when the check was evaluated that first failed (UTC).
        bad_from: begin of the fault in the data (UTC), None where the check gives none.
        audited_through: end of the last hour that the check had judged when it last failed (UTC).
        blocked: whether it blocked reports.
    """

    check: str
    opened_at: datetime
    bad_from: datetime | None = None
    audited_through: datetime | None = None
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PastIncident:
    """An incident of one flag from its first failing check to its end.

    Attributes:
        id: as while it was open.
        flag: the flag.
        opened_at: evaluation of the check that opened it (UTC).
        delivered_at: when a message about it was first delivered (UTC), None where none was.
        resolved_at: when it was closed (UTC), None while it is open.
        note: why it was closed.
        alerts: its checks.
    """

    id: str
    flag: FlagId
    opened_at: datetime
    delivered_at: datetime | None = None
    resolved_at: datetime | None = None
    note: str = ""
    alerts: tuple[PastAlert, ...] = ()
