"""What one tick decided to tell, before it is known to whom."""

from dataclasses import dataclass

from exd_dagster.alerts.model import Alert, AlertState, Reason
from exd_dagster.config import FlagId


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """One thing to tell about one flag, before it is known to whom."""

    reason: Reason
    flag: FlagId
    incident: str = ""
    alerts: tuple[Alert, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What one tick decided.

    Attributes:
        state: what is remembered from now on.
        events: what to tell, in order of flag.
        quiet: events left to the digest: a first audit with many failures, hours older than 48 h.
    """

    state: AlertState
    events: tuple[AlertEvent, ...] = ()
    quiet: tuple[AlertEvent, ...] = ()
