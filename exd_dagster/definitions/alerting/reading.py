"""The latest state of every monitored check, read again on each tick: only what was executed since."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import dagster as dg

from exd_dagster.alerts.model import CheckState, instant
from exd_dagster.audit.freshness import stale_sentence
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.internals import (
    CheckRecord,
    active_runs,
    checks_since,
    latest_checks,
    newest_execution,
    same_instance,
)
from exd_dagster.stats.verdict import plain

REPEATS = frozenset({"trust"})
"""Checks that only combine others; the only notification about them is that they are too old."""
LONGEST_FACT = 2000
ANEW = timedelta(minutes=10)
"""After this everything is read again, as by a process that has just begun: history may have been wiped."""


@dataclass(slots=True)
class CheckReader:
    """Reads the latest state of checks, and remembers it for the next tick of the same process.

    Reading thousands of checks costs seconds, nearly all to decode Dagster's events, and most ticks find
    nothing new. A check is read again if it was executed since the last tick but one, or if its run had not
    ended when it was read: a retried step replaces its answer in place.
    """

    _of: Any = None
    _at: datetime | None = None
    _marks: tuple[int, int] = (0, 0)
    _known: dict[dg.AssetCheckKey, CheckState | CheckRecord] = field(default_factory=dict)
    _unsettled: frozenset[dg.AssetCheckKey] = frozenset()
    _lock: Lock = field(default_factory=Lock)

    def read(
        self, instance: dg.DagsterInstance, monitored: Mapping[dg.AssetCheckKey, FlagAudit], now: datetime
    ) -> tuple[list[CheckState], bool]:
        """Return the latest state of every check that ever ran, and whether one is being executed now.

        Args:
            instance: the Dagster instance.
            monitored: every check and the flag it belongs to; the same in every call.
            now: the time (UTC).
        """
        with self._lock:
            mark = newest_execution(instance)
            wanted = self._wanted(instance, monitored, mark, now)
            records, running = latest_checks(instance, list(wanted))
            for key in wanted:
                self._known.pop(key, None)
            for record in records:
                repeats = record.key.name in REPEATS
                self._known[record.key] = record if repeats else _state(record, monitored[record.key])
            active = active_runs(instance, {record.run_id for record in records if record.run_id})
            self._unsettled = running | {record.key for record in records if record.run_id in active}
            self._marks = (self._marks[1], mark or 0)
            found = [self._known[key] for key in monitored if key in self._known]
        states = [state for state in found if isinstance(state, CheckState)]
        records = [record for record in found if isinstance(record, CheckRecord)]
        ages = (_age(record, monitored[record.key], now) for record in records)
        return [*states, *(age for age in ages if age is not None)], bool(running)

    def _wanted(
        self,
        instance: dg.DagsterInstance,
        monitored: Mapping[dg.AssetCheckKey, FlagAudit],
        mark: int | None,
        now: datetime,
    ) -> Collection[dg.AssetCheckKey]:
        """Return which checks are read; all of them in a storage that does not count executions."""
        fresh = self._at is not None and timedelta(0) <= now - self._at < ANEW
        if mark is None or not fresh or not same_instance(self._of, instance) or mark < self._marks[1]:
            self._of, self._at, self._marks = instance, now, (mark or 0, mark or 0)
            self._known.clear()
            return monitored
        return (checks_since(instance, self._marks[0]) & monitored.keys()) | self._unsettled


def _age(record: CheckRecord, flag: FlagAudit, now: datetime) -> CheckState | None:
    """Return whether a result is fresh, None without a limit. This detects a schedule that stopped."""
    until, through = (instant(record.metadata.get(name)) for name in ("fresh_until", "audited_through"))
    if until is None or through is None:
        return None
    state = _state(record, flag)
    if now < until:
        return replace(state, verdict="pass", severity=None)
    return replace(
        state,
        verdict="not_checked",
        severity=None,
        sentence=stale_sentence(through, until),
        facts={"reason": "stale"},
    )


def _state(record: CheckRecord, flag: FlagAudit) -> CheckState:
    facts = {name: value for name, value in record.metadata.items() if _fits(value)}
    verdict = facts.get("verdict", "pass" if record.passed else "fail")
    sentence = str(facts.pop("sentence", "") or record.description.partition("\n")[0])
    if record.passed is None:
        verdict, facts = "not_checked", {"reason": "the run ended without an answer"}
    elif record.key.name == "bins_built" and not record.passed:
        verdict, facts = "not_checked", {**facts, "reason": "the bins could not be built"}
    if flag.end is not None:
        facts["flag_end"] = plain(flag.end)
    severity: Any = facts.get("severity") or record.severity or "ERROR"
    return CheckState(
        flag=flag.id,
        check=record.key.name,
        verdict=verdict,
        severity=severity if verdict == "fail" else None,
        sentence=sentence,
        at=record.at,
        run_id=record.run_id,
        facts=facts,
        mode=flag.mode,
        block_on=flag.block_on,
        owners=flag.owners,
        asset=tuple(record.key.asset_key.path),
    )


def _fits(value: object) -> bool:
    """The alerting state stores the facts of messages only; long values remain in Dagster's record."""
    return not isinstance(value, (str, list, dict)) or len(str(value)) <= LONGEST_FACT
