"""Small factories shared by the tests of alerting."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from exd_dagster.alerts.model import Alert, AlertState, CheckState
from exd_dagster.alerts.policy.decide import decide
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.policy.incidents import Decided
from exd_dagster.config import FlagId

NOW = datetime(2026, 3, 5, 3, 0, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
PAGING = ("srm", "sequential_srm", "traffic_drop")
SPLIT_FACTS = {
    "verdict": "fail",
    "reason": "ratio_mismatch",
    "state": "ongoing",
    "expected": {"off": 0.5, "on": 0.5},
    "observed": {"off": 4700, "on": 5300},
    "n": 10000,
    "chi_square": 36.0,
    "p_value": 1.97e-9,
    "threshold": 0.001,
    "code": "T001",
    "bad_from": "2026-03-04T14:00:00Z",
    "usable_until": "2026-03-04T14:00:00Z",
    "audited_through": "2026-03-05T02:00:00Z",
    "iteration_start": "2026-03-01T00:00:00Z",
}
SPLIT_SENTENCE = "on got 53.0 % of 10,000 units where 50 % were declared."


def flag(key: str = "checkout", namespace: str = "", environment: str = "") -> FlagId:
    return FlagId(namespace, environment, key)


def check(name: str = "srm", verdict: str = "fail", key: str = "checkout", **changes: Any) -> CheckState:
    """A check as a tick finds it; a failure blocks unless said otherwise. Unknown names change its facts."""
    known = set(CheckState.__dataclass_fields__)
    facts = {**SPLIT_FACTS, "verdict": verdict, **{k: v for k, v in changes.items() if k not in known}}
    state = CheckState(
        flag=flag(key),
        check=name,
        verdict=verdict,
        severity="ERROR" if verdict == "fail" else None,
        sentence=SPLIT_SENTENCE if verdict == "fail" else "",
        at=NOW,
        run_id="run-1",
        facts=facts
        if verdict == "fail"
        else {k: v for k, v in facts.items() if k not in ("state", "bad_from")},
        owners=("team:growth",),
        asset=("experiments", f"{key}_bins"),
    )
    return replace(state, **{k: v for k, v in changes.items() if k in known})


def alert(name: str = "srm", key: str = "checkout", **changes: Any) -> Alert:
    known = set(Alert.__dataclass_fields__)
    types = {"srm": "SRM_SHUTOFF_TRIGGERED", "sequential_srm": "SEQUENTIAL_SRM_TRIGGERED"}
    made = Alert(
        id=f"{key}-{name}",
        flag=flag(key),
        check=name,
        alert_type=types.get(name, "TRAFFIC_DROP_ANOMALY"),
        severity="ERROR",
        sentence=SPLIT_SENTENCE,
        opened_at=NOW,
        facts={**SPLIT_FACTS, **{k: v for k, v in changes.items() if k not in known}},
        owners=("team:growth",),
        asset=("experiments", f"{key}_bins"),
        run_id="0b1c",
    )
    return replace(made, **{k: v for k, v in changes.items() if k in known})


def watching(*flags: FlagId) -> dict[FlagId, Collection[str]]:
    """Every check that pages, of these flags."""
    return dict.fromkeys(sorted(set(flags)), PAGING)


class Story:
    """Ticks one after another; remembers the state and collects what was reported."""

    def __init__(self, *decisions: Decision) -> None:
        self.state = AlertState(started=True)
        self.now = NOW
        self.decisions = decisions
        self.last: Decided | None = None

    def tick(
        self,
        *found: CheckState,
        after: timedelta = HOUR,
        monitored: Mapping[FlagId, Collection[str]] | None = None,
    ) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return (reason, flag, checks) of every notice of this tick."""
        watched = watching(*(c.flag for c in found)) if monitored is None else monitored
        self.last = decide(self.state, found, watched, self.now, decisions=self.decisions)
        self.state = self.last.state.bump()
        self.now += after
        return [(n.reason, n.flag.key, tuple(a.check for a in n.alerts)) for n in self.last.events]

    @property
    def note(self) -> str:
        """Note of the first notice of the last tick."""
        assert self.last is not None
        return self.last.events[0].note
