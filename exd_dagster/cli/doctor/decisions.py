"""Diagnose decisions in force: do they match existing flags and checks?"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from exd_dagster.alerts.messages.words import count
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.cli.doctor.diagnosis import Diagnosis, ok, warn
from exd_dagster.config import FlagId
from exd_dagster.definitions.decisions.asset import idle_parts

_FIX = "record it again with the right name (exd-dagster decide), or let it expire"


def diagnose_decisions(
    decisions: Sequence[Decision], flags: Iterable[FlagId], now: datetime, reports: Sequence[str] = ()
) -> list[Diagnosis]:
    """Report decisions in force without effect, because their flag or check is gone or misspelt.

    Args:
        decisions: every decision recorded about the flags of a fleet.
        flags: those of the fleet, and those that failed when they left it.
        now: the clock (UTC).
        reports: names of the checks of reports.
    """
    known, held = list(flags), [decision for decision in decisions if decision.holds(now)]
    found = [
        warn("decisions", f"{d.kind} by {d.by} until {d.until:%Y-%m-%d %H:%M} UTC: {' '.join(idle)}", _FIX)
        for d in held
        if (idle := idle_parts(d, known, reports))
    ]
    return found or ([ok("decisions", f"{count(len(held), 'decision')} in force")] if held else [])
