"""What one tick decided to send, before routing."""

from dataclasses import dataclass

from exd_dagster.alerts.model import Alert, AlertState, Reason
from exd_dagster.config import FlagId


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """One notification about one flag, before routing."""

    reason: Reason
    flag: FlagId
    incident: str = ""
    alerts: tuple[Alert, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What one tick decided.

    Attributes:
        state: the new state.
        events: what to send, in order of flag.
        digest_only: events left to the digest: a first audit with many failures, hours older than 48 h.
    """

    state: AlertState
    events: tuple[AlertEvent, ...] = ()
    digest_only: tuple[AlertEvent, ...] = ()
