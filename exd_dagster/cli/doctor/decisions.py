"""Do the decisions in force speak of flags and checks that there are?"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.cli.doctor.diagnosis import Diagnosis, counted, ok, warn
from exd_dagster.config import FlagId
from exd_dagster.definitions.decisions.asset import idle_parts

_FIX = "record it anew with the right name, exd-dagster decide, or leave it to its end"


def diagnose_decisions(
    decisions: Sequence[Decision], flags: Iterable[FlagId], now: datetime
) -> list[Diagnosis]:
    """Say which decisions in force change nothing, because what they speak of is gone or misspelt.

    Args:
        decisions: every decision recorded about the flags of a fleet.
        flags: those of the fleet, and those that failed when they left it.
        now: the clock (UTC).
    """
    known, held = list(flags), [decision for decision in decisions if decision.holds(now)]
    found = [
        warn("decisions", f"{d.kind} by {d.by} until {d.until:%Y-%m-%d %H:%M} UTC: {' '.join(idle)}", _FIX)
        for d in held
        if (idle := idle_parts(d, known))
    ]
    return found or ([ok("decisions", f"{counted(len(held), 'decision')} in force")] if held else [])
