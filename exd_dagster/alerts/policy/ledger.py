"""What became of incidents: how fast they were found, answered and ended, and what they were. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from statistics import median

from exd_dagster.alerts.messages import words
from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.past import PastAlert, PastIncident
from exd_dagster.alerts.policy.decisions import VERDICTS, Decision
from exd_dagster.alerts.policy.incidents import summary_of
from exd_dagster.config import FlagId
from exd_dagster.stats.methods.intervals import clopper_pearson

POOR_PRECISION = 0.5
"""A check is named when less than this share of its answered failures was real, ..."""
POOR_FROM = 2
"""... and at least so many were not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One check of one incident. Every instant is UTC.

    Attributes:
        incident: id of the incident.
        flag: the flag.
        check: the check that failed.
        opened_at: evaluation of the check that first failed.
        bad_from: begin of the fault in the data; None where the check gives none.
        audited_through: end of the last hour judged when it last failed.
        delivered_at: when a message about the incident was first delivered.
        acknowledged_at: when a person first answered in any way.
        resolved_at: when the incident was closed; None while it is open.
        blocked: whether the check blocked reports.
        verdict: what a person said that it was: real, false, expected; "" while nobody did.
        cause: in that person's words.
        answered_by: who said so.
        note: why the incident was closed.
    """

    incident: str
    flag: FlagId
    check: str
    opened_at: datetime
    bad_from: datetime | None = None
    audited_through: datetime | None = None
    delivered_at: datetime | None = None
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None
    blocked: bool = False
    verdict: str = ""
    cause: str = ""
    answered_by: str = ""
    note: str = ""

    @property
    def detected_after(self) -> timedelta | None:
        """From the begin of the fault in the data to the evaluation that failed."""
        return None if self.bad_from is None else self.opened_at - self.bad_from

    @property
    def acknowledged_after(self) -> timedelta | None:
        """From that evaluation to the first answer of a person."""
        return None if self.acknowledged_at is None else self.acknowledged_at - self.opened_at

    @property
    def resolved_after(self) -> timedelta | None:
        """From that evaluation to the end of the incident."""
        return None if self.resolved_at is None else self.resolved_at - self.opened_at


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLearned:
    """What the incidents of one check were.

    Attributes:
        check: its name.
        incidents: how many.
        real: how many of them a person called real.
        false: likewise false.
        expected: likewise expected.
        low: lower end of the 95 % interval of the precision (Clopper-Pearson).
        high: upper end.
        detected_after: median time to detect.
        acknowledged_after: median time to acknowledge.
        resolved_after: median time to resolve.
        causes: incidents by cause, the most frequent first.
    """

    check: str
    incidents: int
    real: int
    false: int
    expected: int
    low: float
    high: float
    detected_after: timedelta | None
    acknowledged_after: timedelta | None
    resolved_after: timedelta | None
    causes: Mapping[str, int]

    @property
    def precision(self) -> float | None:
        """Share of real ones among those called real or false; None without any."""
        judged = self.real + self.false
        return self.real / judged if judged else None

    @property
    def unanswered(self) -> int:
        """How many nobody has said anything of."""
        return self.incidents - self.real - self.false - self.expected

    @property
    def poor(self) -> bool:
        """Whether the check failed for nothing too often."""
        return self.false >= POOR_FROM and (self.precision or 0.0) < POOR_PRECISION


def known_incidents(states: Iterable[AlertState]) -> list[PastIncident]:
    """Return every incident that the alerting states know and that were reported, by id."""
    found: dict[str, PastIncident] = {}
    for state in states:
        found.update({past.id: past for past in state.past})
        for incident in (*state.unmonitored.values(), *state.incidents.values()):
            if incident.reported:
                found[incident.id] = summary_of(incident, state.alerts)
    return list(found.values())


def ledger_rows(incidents: Sequence[PastIncident], decisions: Sequence[Decision]) -> list[LedgerRow]:
    """Return one row per incident and check, oldest first.

    Args:
        incidents: those that are known.
        decisions: every decision people recorded. A `close` that names no incident is about the latest one
            of its flags and checks at that time; of several answers the newest holds.
    """
    ordered = sorted(decisions, key=lambda decision: decision.made_at)
    by_flag: dict[FlagId, list[tuple[PastIncident, PastAlert]]] = {}
    for incident in incidents:
        by_flag.setdefault(incident.flag, []).extend((incident, alert) for alert in incident.alerts)
    about = _by_flag(ordered, by_flag)
    rows = [
        _row(incident, alert, pairs, about[flag])
        for flag, pairs in by_flag.items()
        for incident, alert in pairs
    ]
    return sorted(rows, key=lambda row: (row.opened_at, row.incident, row.check))


def _by_flag(decisions: Sequence[Decision], flags: Iterable[FlagId]) -> dict[FlagId, list[Decision]]:
    """Return the decisions about each flag, oldest first; those that name one flag are looked up by name."""
    named: dict[str, list[tuple[int, Decision]]] = {}
    patterns: list[tuple[int, Decision]] = []
    for place, decision in enumerate(decisions):
        plain = not set(decision.flags) & set("*?[,")
        (named.setdefault(decision.flags, []) if plain else patterns).append((place, decision))
    found = {}
    for flag in flags:
        mine = {place: d for name in (flag.key, str(flag)) for place, d in named.get(name, ())}
        mine |= {place: d for place, d in patterns if d.covers(flag)}
        found[flag] = [mine[place] for place in sorted(mine)]
    return found


def _row(
    incident: PastIncident,
    alert: PastAlert,
    pairs: Sequence[tuple[PastIncident, PastAlert]],
    decisions: Sequence[Decision],
) -> LedgerRow:
    """Return one row."""
    about = [d for d in decisions if d.made_at >= alert.opened_at and fnmatchcase(alert.check, d.checks)]
    closes = [d for d in about if d.kind == "close" and _means(d, incident, alert, pairs)]
    answers = [d for d in about if d.kind != "close" and d.made_at <= (incident.resolved_at or d.made_at)]
    first = min((d.made_at for d in (*answers, *closes)), default=None)
    said = closes[-1] if closes else None
    return LedgerRow(
        incident=incident.id,
        flag=incident.flag,
        check=alert.check,
        opened_at=alert.opened_at,
        bad_from=alert.bad_from,
        audited_through=alert.audited_through,
        delivered_at=incident.delivered_at,
        acknowledged_at=first,
        resolved_at=incident.resolved_at,
        blocked=alert.blocked,
        verdict=said.verdict if said else "",
        cause=said.cause if said else "",
        answered_by=said.by if said else "",
        note=incident.note,
    )


def _means(
    decision: Decision,
    incident: PastIncident,
    alert: PastAlert,
    pairs: Sequence[tuple[PastIncident, PastAlert]],
) -> bool:
    """Return whether a `close` is about this check of this incident."""
    if decision.incident:
        return decision.incident == incident.id
    return not any(
        other.check == alert.check and alert.opened_at < other.opened_at <= decision.made_at
        for _, other in pairs
    )


def by_check(rows: Iterable[LedgerRow]) -> list[CheckLearned]:
    """Return what was learned of each check, the least precise first, then by incidents."""
    grouped: dict[str, list[LedgerRow]] = {}
    for row in rows:
        grouped.setdefault(row.check, []).append(row)
    learned = [_learned(check, found) for check, found in grouped.items()]
    return sorted(learned, key=lambda c: (not c.poor, -c.incidents, c.check))


def _learned(check: str, rows: Sequence[LedgerRow]) -> CheckLearned:
    said = Counter(row.verdict for row in rows)
    low, high = clopper_pearson(said["real"], said["real"] + said["false"])
    causes = Counter(row.cause for row in rows if row.cause)
    return CheckLearned(
        check=check,
        incidents=len(rows),
        real=said["real"],
        false=said["false"],
        expected=said["expected"],
        low=low,
        high=high,
        detected_after=_median(rows, lambda row: row.detected_after),
        acknowledged_after=_median(rows, lambda row: row.acknowledged_after),
        resolved_after=_median(rows, lambda row: row.resolved_after),
        causes=dict(causes.most_common()),
    )


def _median(rows: Iterable[LedgerRow], of: Callable[[LedgerRow], timedelta | None]) -> timedelta | None:
    spans = [span.total_seconds() for row in rows if (span := of(row)) is not None]
    return timedelta(seconds=median(spans)) if spans else None


def noisiest(rows: Iterable[LedgerRow]) -> list[tuple[FlagId, int, int]]:
    """Return (flag, incidents, false ones) of each flag, those that failed for nothing most often first."""
    incidents: dict[FlagId, set[str]] = {}
    false: dict[FlagId, set[str]] = {}
    for row in rows:
        incidents.setdefault(row.flag, set()).add(row.incident)
        if row.verdict == "false":
            false.setdefault(row.flag, set()).add(row.incident)
    counted = [(flag, len(found), len(false.get(flag, ()))) for flag, found in incidents.items()]
    return sorted(counted, key=lambda each: (-each[2], -each[1], each[0]))


def sentences(rows: Sequence[LedgerRow]) -> list[str]:
    """Return one line per check about what its incidents were, and one about those nobody answered.

    Args:
        rows: of one period of time.
    """
    said = [_sentence(learned) for learned in by_check(rows)]
    waiting = len({row.incident for row in rows if row.resolved_at and not row.verdict})
    if waiting:
        what = words.count(waiting, "closed incident")
        said.append(f"{what} without an answer: exd-dagster decide close --verdict real|false|expected")
    return said


def _sentence(learned: CheckLearned) -> str:
    parts = [words.count(learned.incidents, "incident")]
    parts += [f"{n} {name}" for name in VERDICTS if (n := getattr(learned, name))]
    if learned.precision is not None:
        parts.append(f"precision {precision_words(learned)}")
    parts += [f"mostly {next(iter(learned.causes))}"] if learned.causes else []
    poor = "; failed for nothing too often, see the ledger" if learned.poor else ""
    return f"{learned.check}: {', '.join(parts)}{poor}"


def precision_words(learned: CheckLearned) -> str:
    """Return the precision with its interval: "50 % (95 %: 7 % to 93 %)"; "" while nobody answered."""
    if learned.precision is None:
        return ""
    share, low, high = (f"{value:.0%}"[:-1] for value in (learned.precision, learned.low, learned.high))
    return f"{share} % (95 %: {low} % to {high} %)"
